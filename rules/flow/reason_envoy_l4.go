package flow

// Reasons of rules/envoy from the listener to the network filters, and of clusters and endpoints.
const (
	envoyL4First           = reasonEnvoyL4 + iota
	WhyNotRead             // this part of the configuration was not read. Args: part, name
	WhyNotModelled         // meshtop does not model it. Args: what it is
	WhyAssumedPass         // taken as passing unchanged. Args: what
	WhyOpaque              // it may do anything. Args: kind
	WhyService             // a service outside decides. Args: kind
	WhyPasses              // does not change the path. Args: kind
	WhyListenerAccepts     // its socket takes the connection. Args: address
	WhyListenerNamed       // named by the trace or by an internal address
	WhyNoListener          // no listener has a socket there. Args: address
	WhyAdmin               // Envoy's admin interface. Args: address
	WhyListenerLimit       // the runtime allows no connection. Args: runtime key
	WhyBelowLimit          // fewer connections are open than that. Args: what limits, limit
	WhyFilterDisabled      // filter_disabled fits. Args: destination port
	WhyFilterConfigMissing // ECDS brought no configuration: connections are closed
	WhyTLSSeen             // a ClientHello was seen. Args: SNI, ALPN
	WhyNotTLS              // no ClientHello
	WhyPayloadTLS          // the payload looks like TLS
	WhyHTTPSeen            // first bytes are HTTP. Args: ALPN set
	WhyNotHTTP             // first bytes are no HTTP
	WhyInspectorSkipped    // transport protocol is known already. Args: protocol
	WhyWaitsForEver        // waits for bytes that never come, without timeout
	WhyFilterTimeout       // waits, then closes. Args: timeout
	WhyContinueOnTimeout   // waits, then the rest of the filters is skipped. Args: timeout
	WhyRestored            // the original destination is restored. Args: address
	WhyNoOriginal          // there is no original destination
	WhyOriginalSrc         // the upstream socket binds to the client's address. Args: mark
	WhyProxyHeader         // a PROXY header was read. Args: source, destination
	WhyNoProxyHeader       // the client sends no PROXY header
	WhyBucket              // a token bucket that has tokens. Args: max tokens, tokens per fill, fill interval
	WhyBucketEmpty         // a token bucket that is empty. Args: as WhyBucket
	WhyBucketHasTokens     // the bucket's state is not in a snapshot
	WhyRuntimeOff          // switched off by runtime. Args: key
	WhyConnectionLimit     // fewer than that many connections. Args: limit
	WhyNotRestored         // no listener filter restored the destination
	WhyNoHandoff           // no listener owns the destination. Args: address, wildcard address
	WhyHandoffExact        // a listener owns the destination. Args: address
	WhyHandoffWildcard     // a listener owns the wildcard address. Args: wildcard address, address
	WhyChainMatched        // the most specific chain. Args: its fields
	WhyChainDefault        // no other chain matched
	WhyChainMatcher        // named by filter_chain_matcher. Args: name
	WhyChainUnknownName    // filter_chain_matcher names a chain that does not exist. Args: name
	WhyKeepMatching        // Envoy crashes on keep_matching
	WhyNoChain             // no chain matched
	WhyChainField          // a field does not fit. Args: field, wanted, had
	WhyChainLessSpecific   // it fits, but another is more specific. Args: field, key taken
	WhyChainDeadEnd        // it fits, but the more specific branch ended before it. Args: field
	WhyConnectionHas       // what the connection shows. Args: value
	WhyPlainSocket         // plain text
	WhyTLSPassed           // TLS is passed through
	WhyTLSTerminated       // TLS is terminated. Args: SNI, negotiated ALPN, certificates presented
	WhyTLSExpected         // the client speaks plain text to a TLS chain
	WhyHandshakeWaits      // both sides wait
	WhyClientCertMissing   // the client has no certificate
	WhyClientCertUntrusted // no authority that the chain trusts signed the client's. Args: names of the client's
	WhyClientCertNames     // it has no name that is asked for. Args: names wanted, names of the client's
	WhyClientCertPin       // it is none of those listed by hash
	WhySecretAwaited       // a secret of the TLS context did not come by SDS. Args: its name
	WhyHandshakeEnd        // how the client sees that its certificate was refused
	WhySecretTaken         // a secret of the TLS context is nowhere in the dump, and is taken as supplied. Args: its name
	WhyAssumedCert         // the client is taken as presenting a certificate that is accepted
	WhyAssumedNoCert       // the client is taken as presenting no certificate
	WhyAssumedTrusted      // its certificate is taken as signed by a trusted authority
	WhyAssumedNames        // its certificate is taken as having a name that is asked for. Args: names wanted
	WhyAssumedPin          // its certificate is taken as one of those listed by hash
	WhyAssumedDated        // its certificate is taken as not ended. Args: when it ends
	WhyNamesUnsaid         // nobody said what names its certificate has
	WhyTLSToPlainHTTP      // the client speaks TLS to a plain HTTP chain
	WhyNoSocket            // no transport socket: plain text
	WhySocketMatch         // transport_socket_matches chose it. Args: name
	WhyTLSOffers           // the protocols that the proxy's ClientHello offers. Args: ALPN
	WhyTLSUpstream         // TLS to the endpoint. Args: SNI, names expected of its certificate, certificate presented
	WhyNoFilters           // the chain has no filters
	WhyNoTerminal          // no terminal filter
	WhySNICluster          // cluster by SNI. Args: SNI
	WhySetState            // sets filter state
	WhyDirectBytes         // answers with fixed bytes and closes
	WhyEcho                // sends back what it gets
	WhyTCPProxy            // as configured. Args: cluster
	WhyStateCluster        // filter state names the cluster. Args: cluster, key
	WhyStateUnknown        // filter state that is not known. Args: key
	WhyWeighted            // drawn by weight. Args: cluster, weight
	WhyDrawn               // one of several by chance. Args: what
	WhyTunnel              // bytes travel in an HTTP request. Args: method, host
	WhyOnDemand            // the cluster is fetched on demand. Args: cluster
	WhyNetRBACAllows       // network rbac lets it through. Args: policy
	WhyNetRBACDenies       // network rbac closes. Args: policy
	WhyNetRBACNoRules      // network rbac has no rules
	WhyCluster             // found. Args: type
	WhyNoCluster           // there is no such cluster
	WhyClusterWarming      // it is still warming
	WhyOverflow            // a circuit breaker of 0. Args: threshold
	WhyMaintenance         // upstream.maintenance_mode. Args: percent
	WhyDropOverload        // drop_overloads. Args: category
	WhyAggregate           // the aggregate's part that is used. Args: aggregate
	WhyNoHosts             // the cluster has no hosts
	WhyNoHealthy           // no host can be used. Args: number of hosts, what is wrong with the first
	WhyNoSubset            // no subset and no fallback. Args: criteria
	WhyDNS                 // a name that Envoy resolves. Args: names
	WhyEndpoint            // chosen among the hosts that can be used. Args: policy, their number, subset
	WhyHostUnhealthy       // not healthy. Args: why
	WhyHostLoses           // healthy, but traffic goes elsewhere. Args: priority
	WhyOriginalDst         // where the connection wanted to go. Args: address
	WhyOriginalHeader      // a request header says. Args: header, address
	WhyOriginalState       // filter state says. Args: address
	WhyForward             // the request's authority. Args: authority
	WhyListenerPort        // owns the address at another port. Args: its address, port asked for
	WhyListenerAddress     // owns the port at another address. Args: its address, address asked for
	WhyHostSubset          // its metadata is not that of the subset. Args: metadata
	WhyBreakerFull         // as many as a circuit breaker allows. Args: threshold, limit, now
	WhyBreakerFree         // a circuit breaker was full in the snapshot, and has room. Args: as WhyBreakerFull
	WhyClusterAlike        // a cluster of a similar name. Args: name
	WhyNoInternal          // the internal listener is not there. Args: name
	WhyUpdateRejected      // Envoy refused a newer version, this one serves. Args: its error
	WhyUpdateWarming       // a newer version is warming, this one serves
	WhyVersionDrains       // an older version drains, with the connections that it has. Args: when it was loaded
	WhyListenerDrains      // a listener of this address drains, and takes none. Args: name, when it was loaded
	WhyListenerWarms       // a listener of this address is warming, and takes none yet. Args: name
	WhyWrongKind           // an object that no Envoy writes so: a field of a wrong kind. Args: where and what
	WhyNewWord             // an object that a newer Envoy may write so: a word that is not known. Args: where and what
	envoyL4End
)

// EnvoyL4Reasons are all reasons of this file, for the test of rules/render.
func EnvoyL4Reasons() (from, to ReasonKind) { return envoyL4First + 1, envoyL4End }

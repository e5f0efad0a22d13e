package render

import "github.com/meshtop/meshtop/rules/flow"

// envoyL4Words words the reasons of flow/reason_envoy_l4.go; empty for a kind that is not its own.
func envoyL4Words(k flow.ReasonKind, a [3]string) string {
	for _, words := range []func(flow.ReasonKind, [3]string) string{listenerWords, filterWords, chainWords, socketWords, networkWords, clusterWords, alikeWords} {
		if s := words(k, a); s != "" {
			return s
		}
	}
	return ""
}

// alikeWords words where an ORIGINAL_DST cluster goes, what was nearly chosen, and what live counters say.
func alikeWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyListenerPort:
		return "listens at " + a[0] + ": the destination's port is " + a[1]
	case flow.WhyListenerAddress:
		return "listens at " + a[0] + ": the destination's address is " + a[1]
	case flow.WhyHostSubset:
		return "not in the subset: its metadata is " + a[0]
	case flow.WhyBreakerFull:
		return "circuit breaker: " + a[0] + " is " + a[1] + ", and " + a[2] + " were open in the snapshot"
	case flow.WhyBreakerFree:
		return "circuit breaker: " + a[0] + " is " + a[1] + "; " + a[2] + " were open in the snapshot, one has ended since"
	case flow.WhyOriginalDst:
		return "the original destination " + a[0]
	case flow.WhyOriginalHeader:
		return "header " + a[0] + " says " + a[1]
	case flow.WhyOriginalState:
		return "filter state says " + a[0]
	case flow.WhyForward:
		return "the request's authority " + a[0]
	case flow.WhyClusterAlike:
		return "there is a cluster " + a[0]
	}
	return ""
}

// named is what followed by s; nothing where s is empty.
func named(what, s string) string {
	if s == "" {
		return ""
	}
	return what + s
}

func mark(s string) string {
	if s == "" || s == "0" {
		return ""
	}
	return " and mark " + s
}

// bucket is a token bucket in words. Args: max tokens, tokens per fill, fill interval.
func bucket(a [3]string) string {
	return "of " + a[0] + " tokens, " + a[1] + " more every " + a[2]
}

func listenerWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNotRead:
		return "the " + a[0] + " " + a[1] + " was not read"
	case flow.WhyNotModelled:
		return "meshtop does not model " + a[0]
	case flow.WhyAssumedPass:
		return a[0] + " is taken as passing the request on unchanged"
	case flow.WhyOpaque:
		return "a " + a[0] + " filter may do anything"
	case flow.WhyService:
		return a[0] + " asks a service outside"
	case flow.WhyPasses:
		return "a " + a[0] + " filter does not change the path"
	case flow.WhyListenerAccepts:
		return "takes connections to " + a[0]
	case flow.WhyListenerNamed:
		return "named as the listener that takes the connection"
	case flow.WhyNoListener:
		return "no listener of Envoy takes connections to " + a[0]
	case flow.WhyAdmin:
		return "Envoy's admin interface listens at " + a[0]
	case flow.WhyListenerLimit:
		return "runtime " + a[0] + " is 0: every connection is closed"
	case flow.WhyBelowLimit:
		return "fewer connections are open than " + a[0] + " " + a[1] + " allows"
	case flow.WhyFilterDisabled:
		return "filter_disabled fits destination port " + a[0]
	case flow.WhyFilterConfigMissing:
		return "its configuration comes by ECDS and has not come: connections are closed"
	case flow.WhyTLSSeen:
		return "sees a ClientHello, server name " + or(a[0], "absent") + ", ALPN " + or(a[1], "absent")
	case flow.WhyNotTLS:
		return "sees no ClientHello"
	case flow.WhyPayloadTLS:
		return "the payload begins like TLS; what it says is not known"
	case flow.WhyHTTPSeen:
		return "sees HTTP: " + a[0]
	case flow.WhyNotHTTP:
		return "sees no HTTP"
	case flow.WhyInspectorSkipped:
		return "skipped: the transport protocol is " + a[0] + " already"
	case flow.WhyWaitsForEver:
		return "waits for the client's first bytes, without a timeout, while the client waits too"
	case flow.WhyFilterTimeout:
		return "waits " + a[0] + " for the client's first bytes, then closes"
	case flow.WhyContinueOnTimeout:
		return "waits " + a[0] + " for the client's first bytes, then the listener goes on without the remaining filters"
	}
	return ""
}

func filterWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyRestored:
		return "restores the original destination " + a[0]
	case flow.WhyNoOriginal:
		return "the kernel knows no original destination"
	case flow.WhyOriginalSrc:
		return "the upstream connection gets the client's address" + mark(a[0])
	case flow.WhyProxyHeader:
		return "the PROXY header says from " + a[0] + " to " + a[1]
	case flow.WhyNoProxyHeader:
		return "the client sends no PROXY header"
	case flow.WhyBucket:
		return "rate limit " + bucket(a) + ": has a token"
	case flow.WhyBucketEmpty:
		return "rate limit " + bucket(a) + ": the bucket is empty"
	case flow.WhyBucketHasTokens:
		return "the bucket has a token"
	case flow.WhyRuntimeOff:
		return "switched off by runtime " + a[0]
	case flow.WhyConnectionLimit:
		return "at most " + a[0] + " connections at a time"
	case flow.WhyNotRestored:
		return "no hand-off: the destination was not restored"
	case flow.WhyNoHandoff:
		return "no hand-off: no listener owns " + a[0] + " or " + a[1]
	case flow.WhyHandoffExact:
		return "handed to the listener of " + a[0]
	case flow.WhyHandoffWildcard:
		return "handed to the listener of " + a[0] + ": none owns " + a[1]
	}
	return ""
}

func chainWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyChainMatched:
		return "most specific match: " + or(a[0], "a chain that takes everything")
	case flow.WhyChainDefault:
		return "default filter chain: no other chain takes the connection"
	case flow.WhyChainMatcher:
		return "filter_chain_matcher names " + a[0]
	case flow.WhyChainUnknownName:
		return "filter_chain_matcher names " + a[0] + ", which does not exist: the connection is closed"
	case flow.WhyKeepMatching:
		return "keep_matching in a filter_chain_matcher: Envoy 1.40.0 crashes here"
	case flow.WhyNoChain:
		return "no filter chain takes the connection: it is closed"
	case flow.WhyChainField:
		return a[0] + " " + a[1] + ": the connection has " + or(a[2], "none")
	case flow.WhyChainLessSpecific:
		return "fits, but " + a[0] + " " + or(a[1], "unset") + " is more specific"
	case flow.WhyChainDeadEnd:
		return "fits, but a more specific branch was entered, and it has nothing for this connection at " + a[0]
	case flow.WhyConnectionHas:
		return "the connection has " + or(a[0], "none")
	}
	return ""
}

// socketWords are those of transport sockets and certificates, on both sides.
func socketWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyPlainSocket:
		return "plain text"
	case flow.WhyTLSPassed:
		return "plain socket: the client's TLS is passed through"
	case flow.WhyTLSTerminated:
		return "terminates TLS" + named(", server name ", a[0]) + named(", ALPN ", a[1]) + named(", presents ", a[2])
	case flow.WhyTLSExpected:
		return "expects TLS, the client speaks plain text: the handshake fails"
	case flow.WhyHandshakeWaits:
		return "waits for a ClientHello while the client waits too"
	case flow.WhyClientCertMissing:
		return "requires a client certificate that is accepted, and the client has none: the handshake fails"
	case flow.WhyClientCertUntrusted:
		return "trusts no authority that signed the client's certificate" + named(", for ", a[0]) + ": the handshake fails"
	case flow.WhyClientCertNames:
		return "asks for a client certificate with the name " + a[0] + ", the client's has " + or(a[1], "none") + ": the handshake fails"
	case flow.WhyClientCertPin:
		return "takes only client certificates that it lists by hash, and not the client's: the handshake fails"
	case flow.WhySecretAwaited:
		return "waits for the secret " + a[0] + ", which SDS has not brought: until then Envoy closes every connection of this TLS context"
	case flow.WhySecretTaken:
		return "SDS has brought the secret " + a[0] + ", which is nowhere in this dump"
	case flow.WhyHandshakeEnd:
		return "with TLS 1.2 the client's handshake fails; with TLS 1.3 it succeeds, and the alert comes in place of the answer"
	case flow.WhyAssumedCert:
		return "the client presents a certificate that this chain accepts"
	case flow.WhyAssumedNoCert:
		return "the client presents no certificate, and none is required"
	case flow.WhyAssumedTrusted:
		return "an authority that this chain trusts signed the client's certificate"
	case flow.WhyAssumedNames:
		return "the client's certificate has a name that is asked for: " + a[0]
	case flow.WhyAssumedPin:
		return "the client's certificate is one that this chain lists by hash"
	case flow.WhyAssumedDated:
		return "the client's certificate is valid now; it ends " + a[0]
	case flow.WhyNamesUnsaid:
		return "the names in the client's certificate are not known"
	case flow.WhyTLSToPlainHTTP:
		return "HTTP without TLS is expected, the client speaks TLS"
	case flow.WhyNoSocket:
		return "plain text to the endpoint"
	case flow.WhySocketMatch:
		return "transport socket match " + a[0]
	case flow.WhyTLSOffers:
		return "offers the protocols (ALPN) " + or(a[0], "none")
	case flow.WhyTLSUpstream:
		return "TLS to the endpoint" + named(", server name ", a[0]) + named(", expects a certificate for ", a[1]) + named(", presents ", a[2])
	}
	return ""
}

// networkWords are those of a chain's filters.
func networkWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNoFilters:
		return "the filter chain has no filters: the connection is closed"
	case flow.WhyNoTerminal:
		return "the filter chain has no terminal filter"
	case flow.WhySNICluster:
		return "takes the server name " + or(a[0], "(none)") + " as cluster"
	case flow.WhySetState:
		return "sets filter state"
	case flow.WhyDirectBytes:
		return "answers with fixed bytes and closes"
	case flow.WhyEcho:
		return "sends back what it gets"
	}
	return ""
}

func clusterWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyTCPProxy:
		return "to cluster " + a[0]
	case flow.WhyStateCluster:
		return "to cluster " + a[0] + ", named by filter state " + a[1]
	case flow.WhyStateUnknown:
		return "filter state " + a[0] + " decides, and its value is not known"
	case flow.WhyWeighted:
		return "drawn cluster " + a[0] + " of weight " + a[1]
	case flow.WhyDrawn:
		return "chance decides: " + a[0] + " is taken"
	case flow.WhyTunnel:
		return "in a tunnel: " + a[0] + " " + a[1]
	case flow.WhyOnDemand:
		return "cluster " + a[0] + " is fetched on demand"
	case flow.WhyNetRBACAllows:
		return "allowed" + named(" by policy ", a[0])
	case flow.WhyNetRBACDenies:
		return "denied: " + or(named("by policy ", a[0]), "no policy allows it")
	case flow.WhyNetRBACNoRules:
		return "no rules: allows everything"
	case flow.WhyCluster:
		return "cluster of type " + a[0]
	case flow.WhyNoCluster:
		return "there is no cluster of this name"
	case flow.WhyClusterWarming:
		return "still warming: traffic does not see it"
	case flow.WhyOverflow:
		return "circuit breaker: " + a[0] + " is 0"
	case flow.WhyNoInternal:
		return "there is no internal listener " + a[0] + " to connect to"
	case flow.WhyUpdateRejected:
		return "this version serves: Envoy rejected a newer one" + named(": ", a[0])
	case flow.WhyUpdateWarming:
		return "this version serves: a newer one is still warming"
	case flow.WhyWrongKind:
		return "cannot be read: " + a[0] + ", and no Envoy writes that there"
	case flow.WhyNewWord:
		return "cannot be read: " + a[0] + "; a newer Envoy may write it"
	case flow.WhyVersionDrains:
		return "the connection is new: an older version" + named(", loaded ", a[0]) + ", drains, and connections from before keep it"
	case flow.WhyListenerDrains:
		return "listener " + or(a[0], "without a name") + " of this address" + named(", loaded ", a[1]) + ", drains: it takes no new connection, and those from before keep it"
	case flow.WhyListenerWarms:
		return "listener " + or(a[0], "without a name") + " of this address is still warming: it takes no connection yet"
	case flow.WhyMaintenance:
		return "maintenance mode by runtime, " + a[0] + " percent"
	case flow.WhyDropOverload:
		return "dropped by drop_overloads" + named(" category ", a[0])
	case flow.WhyAggregate:
		return "used by aggregate " + a[0]
	}
	return hostWords(k, a)
}

// hostWords are those of a cluster's hosts.
func hostWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNoHosts:
		return "the cluster has no hosts"
	case flow.WhyNoHealthy:
		return "none of " + a[0] + " hosts can be used" + named(": ", a[1])
	case flow.WhyNoSubset:
		return "no subset has " + or(a[0], "no criteria") + ", and there is no fallback"
	case flow.WhyDNS:
		return "Envoy resolves " + a[0] + ", the addresses are not known"
	case flow.WhyEndpoint:
		return "one of " + a[1] + " by " + a[0] + named(", subset ", a[2])
	case flow.WhyHostUnhealthy:
		return "not healthy: " + a[0]
	case flow.WhyHostLoses:
		return "of priority " + a[0] + ", which gets no traffic, or not in the subset or locality"
	}
	return ""
}

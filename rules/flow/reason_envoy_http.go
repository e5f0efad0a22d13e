package flow

// Reasons of rules/envoy inside the HTTP connection manager.
const (
	envoyHTTPFirst = reasonEnvoyHTTP + iota

	// What a request has, beside a condition.
	WhyPathIs            // Args: path
	WhyNoPath            // the request has no :path
	WhyHeaderIs          // Args: name, value
	WhyNoHeader          // Args: name
	WhyHeaderNotKnown    // the header's value cannot be known. Args: name
	WhyQueryIs           // Args: name, value
	WhyNoQuery           // Args: name
	WhyCookieIs          // Args: name, value
	WhyNoCookie          // Args: name
	WhyClientCertificate // Args: presented, validated
	WhyFraction          // Args: share of requests
	WhyStateIs           // filter state or metadata. Args: key, value
	WhyNoState           // Args: key
	WhyPluginNoRoute     // it matches, but its cluster specifier plugin is unknown to Envoy and optional
	WhyNotTaken          // whether it matches is not known; this variant takes it that it does not
	WhyAssumedMatch      // whether it matches is not known; this variant takes it that it does. Args: what is not modelled

	// The codec and the connection manager, before any route.
	WhyNoRequest      // what arrives is not HTTP. Args: what it is
	WhyClientSilent   // the client sends nothing
	WhyEarlyAnswer    // the connection manager answers before any route. Args: code, details
	WhyPathNormalized // Args: from, to
	WhyHostNormalized // Args: from, to
	WhyHeaderDropped  // headers_with_underscores_action: DROP_HEADER. Args: name

	// Route table and virtual host.
	WhyInlineTable   // in the connection manager itself. Args: name, number of virtual hosts
	WhyRDSTable      // Args: name, number of virtual hosts
	WhyNoTable       // never received: nothing matches. Args: name
	WhyScopedTable   // Args: scope key, table
	WhyNoScope       // no scope has the key. Args: key
	WhyNoScopeKey    // the request has no scope key. Args: header
	WhyDomainExact   // Args: host, domain
	WhyDomainSuffix  // Args: host, domain
	WhyDomainPrefix  // Args: host, domain
	WhyDomainAny     // Args: host
	WhyDomainOnlyAny // the table has only a * host: the host is not looked at
	WhyNoDomain      // Args: host
	WhyDomainsAre    // a host passed over: its domains. Args: domains
	WhyVHDS          // virtual hosts come on demand: this one may not have been asked for yet. Args: host
	WhyNoProto       // X-Forwarded-Proto is empty: no route is looked for
	WhyTLSRequired   // Args: require_tls, scheme the request claims, location

	// Routes.
	WhyRouteCluster       // Args: cluster, timeout, retries
	WhyRouteWeighted      // Args: cluster, weight, sum of weights
	WhyRouteWeightedValue // by a header's value. Args: cluster, header, value
	WhyRouteHeader        // cluster_header. Args: cluster, header
	WhyRouteNoCluster     // no cluster is named: a header is missing, or no matcher matches. Args: what
	WhyRoutePlugin        // a cluster specifier plugin that is not modelled. Args: name
	WhyRouteRedirects     // Args: code
	WhyRouteAnswers       // Args: code
	WhyRouteNothing       // it forwards nowhere (filter_action, non_forwarding_action)
	WhyNoRouteMatches     // Args: number of routes
	WhyTreeNoRoute        // the virtual host's matcher tree gives no route
	WhyTreeRouteFails     // the tree gives a route whose own match fails. Args: route

	WhyRouteLimits   // beside a route's reason. Args: timeout, retries
	WhyTryTimeout    // of one try. Args: timeout
	WhyStreamLimit   // from the first byte to the last of the answer. Args: limit
	WhyStreamOver    // that limit leaves no time at all. Args: who sets it
	WhyLimitsChanged // filters or header changes made other limits than the route's step tells. Args: timeout, retries

	// What a route makes of the answer's headers.
	WhyAnswerHas     // one value. Args: name, value, when (AnswerAlways, AnswerLate)
	WhyAnswerAdds    // one value, beside what the endpoint sends. Args: name, value, when (AnswerAlways and its like)
	WhyAnswerLoses   // Args: name
	WhyAnswerMore    // more headers change. Args: number
	WhyAnswerChanged // by a filter. Args: name
	WhyAnswerMaybe   // a filter may change these. Args: filter, names (Envoy's own words, with ", " between; empty: any)

	WhyTaken // one of several ways was taken. Args: choice, value

	// HTTP filters.
	WhyFilterPasses    // cannot stop this request. Args: kind
	WhyHTTPFilterOff   // Args: where that is said
	WhyFilterOpaque    // may do anything. Args: kind, what is known of it
	WhyFilterNoConfig  // its configuration never came (ECDS): 500. Args: name
	WhyRBACNoRules     // no rules are enforced
	WhyRBACAllows      // Args: action, policy
	WhyRBACDenies      // Args: action, policy
	WhyLimitOff        // the local rate limit is not enabled or not enforced. Args: filter_enabled, filter_enforced
	WhyLimitTokens     // a token is left. Args: max_tokens, tokens_per_fill, fill_interval
	WhyLimitEmpty      // Args: status, tokens_per_fill, fill_interval
	WhyFaultAborts     // Args: status, share
	WhyFaultPasses     // Args: what does not match, or share
	WhyFaultDelays     // Args: delay, share
	WhyPreflight       // CORS preflight answered. Args: origin
	WhyNoPreflight     // Args: why
	WhyOriginMatches   // CSRF. Args: origin, target
	WhyOriginMismatch  // CSRF. Args: origin, target
	WhyCSRFOff         // Args: why
	WhyHealthCheck     // Args: code
	WhyNoHealthCheck   // the headers are not those of a health check
	WhyLuaNoRequest    // the script has no envoy_on_request
	WhyLuaNone         // no script
	WhyHeadersChanged  // Args: names
	WhyBodyTooLarge    // only a body larger than this is refused. Args: bytes
	WhyBodyOver        // the body is larger than what is taken. Args: bytes, most
	WhyBodyFrames      // the same, unless it comes in one frame of HTTP/2. Args: bytes, most
	WhyJWTNoRule       // no rule asks for a token here
	WhyJWTRequires     // Args: provider
	WhyAskOutside      // an outside service decides. Args: service, on error
	WhyForwardIdle     // dynamic_forward_proxy: the route's cluster is of another kind
	WhyForwardHost     // the request's host names the endpoint. Args: host
	WhyOnDemandIdle    // nothing is to be fetched for this request
	WhyCustomResponse  // answers may be replaced
	WhyCustomReplaces  // custom_response answers in place of this. Args: filter, status
	WhyCustomFetches   // custom_response fetches another answer in place of this. Args: status
	WhyDisabledPerPath // disabled for this route. Args: level

	// The router.
	WhyRouterNotFound  // 404
	WhyRouterRedirect  // Args: code, location
	WhyRouterAnswers   // Args: code
	WhyRouterNoCluster // the cluster does not exist. Args: cluster, code
	WhyRouterForwards  // what the endpoint receives. Args: method and path, host
	WhyUpgradeRefused  // no upgrade configuration for it. Args: upgrade
	WhyLocalReplyMap   // local_reply_config may change the status. Args: code
	WhyRouteAgain      // the route is chosen again for what a filter changed. Args: filter
	WhyVersionTaken    // what Envoy does is taken to be what the measured versions do. Args: its own version, empty where it is not known, the oldest and the newest measured one
	envoyHTTPEnd
)

// EnvoyHTTPReasons are all reasons of this file, for the test of rules/render.
func EnvoyHTTPReasons() (from, to ReasonKind) { return envoyHTTPFirst + 1, envoyHTTPEnd }

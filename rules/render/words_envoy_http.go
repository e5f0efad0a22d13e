package render

import "github.com/meshtop/meshtop/rules/flow"

// envoyHTTPWords words the reasons of flow/reason_envoy_http.go; empty for a kind that is not its own.
func envoyHTTPWords(k flow.ReasonKind, a [3]string) string {
	for _, words := range []func(flow.ReasonKind, [3]string) string{conditionWords, managerWords, tableWords, httpRouteWords, answerWords, httpFilterWords, decisionWords, httpRouterWords} {
		if s := words(k, a); s != "" {
			return s
		}
	}
	return ""
}

func conditionWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyPathIs:
		return "the path is " + a[0]
	case flow.WhyNoPath:
		return "the request has no path"
	case flow.WhyHeaderIs:
		return "header " + a[0] + " is " + or(a[1], "empty")
	case flow.WhyNoHeader:
		return "there is no header " + a[0]
	case flow.WhyHeaderNotKnown:
		return "the value of header " + a[0] + " cannot be known"
	case flow.WhyQueryIs:
		return "query parameter " + a[0] + " is " + or(a[1], "empty")
	case flow.WhyNoQuery:
		return "there is no query parameter " + a[0]
	case flow.WhyCookieIs:
		return "cookie " + a[0] + " is " + or(a[1], "empty")
	case flow.WhyNoCookie:
		return "there is no cookie " + a[0]
	case flow.WhyClientCertificate:
		return "client certificate presented: " + a[0] + ", validated: " + a[1]
	case flow.WhyFraction:
		return "holds for " + a[0] + " of requests"
	case flow.WhyStateIs:
		return "filter state " + a[0] + " is " + a[1]
	case flow.WhyNoState:
		return "no filter has set " + or(a[0], "this metadata") + " yet"
	case flow.WhyPluginNoRoute:
		return "it matches, but its optional cluster specifier plugin is unknown to Envoy"
	case flow.WhyNotTaken:
		return "whether it matches is not known; here it is taken not to"
	case flow.WhyAssumedMatch:
		return "taken as matching, which is not known: " + a[0]
	}
	return ""
}

func managerWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNoRequest:
		return "what arrives is " + a[0] + ", not the HTTP that is spoken here"
	case flow.WhyClientSilent:
		return "the client sends nothing: the connection waits"
	case flow.WhyEarlyAnswer:
		return "answered with " + a[0] + " before any route: " + a[1]
	case flow.WhyPathNormalized:
		return "the path " + a[0] + " becomes " + a[1]
	case flow.WhyHostNormalized:
		return "the host " + a[0] + " becomes " + a[1]
	case flow.WhyHeaderDropped:
		return "header " + a[0] + " is dropped for its underscore"
	case flow.WhyLocalReplyMap:
		return "local_reply_config may change status " + a[0]
	case flow.WhyRouteAgain:
		return "has the route chosen again, once it is asked for"
	case flow.WhyVersionTaken:
		return "Envoy does what " + a[1] + " to " + a[2] + " do, the versions that are measured: its own version is " + or(a[0], "not known")
	}
	return ""
}

func tableWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyInlineTable:
		return "a route table of the listener itself with " + some(a[1], "virtual host")
	case flow.WhyRDSTable:
		return "a route table by RDS with " + some(a[1], "virtual host")
	case flow.WhyNoTable:
		return "route table " + or(a[0], "(none)") + " was never received: nothing matches"
	case flow.WhyScopedTable:
		return "scope " + a[0] + " names table " + or(a[1], "(inline)")
	case flow.WhyNoScope:
		return "no scope has the key " + a[0]
	case flow.WhyNoScopeKey:
		return "the request has no scope key: header " + a[0]
	case flow.WhyDomainExact:
		return "host " + a[0] + " is its domain"
	case flow.WhyDomainSuffix, flow.WhyDomainPrefix:
		return "host " + a[0] + " fits its domain " + a[1]
	case flow.WhyDomainAny:
		return "no other domain fits host " + or(a[0], "(empty)") + ": domain * takes the rest"
	case flow.WhyDomainOnlyAny:
		return "the table has only domain *: the host is not looked at"
	case flow.WhyNoDomain:
		return "no domain fits host " + or(a[0], "(none)")
	case flow.WhyDomainsAre:
		return "its domains are " + a[0]
	case flow.WhyVHDS:
		return "virtual hosts come on demand: one for " + a[0] + " may not have been asked for yet"
	case flow.WhyNoProto:
		return "X-Forwarded-Proto is empty: no route is looked for"
	case flow.WhyTLSRequired:
		return "require_tls " + a[0] + " and the request claims " + or(a[1], "no scheme") + ": redirected to " + a[2]
	}
	return ""
}

func httpRouteWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyRouteCluster:
		return "matches, forwards to cluster " + or(a[0], "(none)") + "; timeout " + a[1] + ", retries " + a[2]
	case flow.WhyRouteWeighted:
		return "matches, cluster " + a[0] + " by weight " + a[1] + " of " + a[2]
	case flow.WhyRouteWeightedValue:
		return "matches, cluster " + a[0] + " by the weights and header " + a[1] + " = " + a[2]
	case flow.WhyRouteHeader:
		return "matches, cluster " + or(a[0], "(empty)") + " is named by header " + a[1]
	case flow.WhyRouteNoCluster:
		return "matches, but no cluster is named: no " + a[0] + " says one"
	case flow.WhyRoutePlugin:
		return "matches; its cluster specifier plugin " + a[0] + " is not modelled"
	case flow.WhyRouteRedirects:
		return "matches, redirects with " + a[0]
	case flow.WhyRouteAnswers:
		return "matches, answers with " + a[0]
	case flow.WhyRouteNothing:
		return "matches, but forwards nowhere"
	case flow.WhyNoRouteMatches:
		return "none of " + a[0] + " routes matches"
	case flow.WhyTreeNoRoute:
		return "the matcher tree of the virtual host gives no route"
	case flow.WhyTreeRouteFails:
		return "the matcher tree gives route " + a[0] + ", whose own match fails"
	case flow.WhyRouteLimits:
		return "timeout " + a[0] + ", retries " + a[1]
	case flow.WhyTryTimeout:
		return "timeout of each try " + a[0]
	case flow.WhyStreamLimit:
		return "ended when it has taken " + a[0] + " from its first byte to the last of the answer"
	case flow.WhyStreamOver:
		return "ended at once: " + a[0] + " leaves no time"
	case flow.WhyLimitsChanged:
		return "changed headers make it timeout " + a[0] + ", retries " + a[1]
	case flow.WhyTaken:
		return a[0] + ": " + a[1] + " is taken"
	}
	return ""
}

func answerWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyAnswerHas:
		return "the answer has header " + a[0] + ": " + answerValue(a[1], a[2])
	case flow.WhyAnswerAdds:
		return "the answer gets header " + a[0] + ": " + answerValue(a[1], a[2])
	case flow.WhyAnswerLoses:
		return "the answer loses header " + a[0]
	case flow.WhyAnswerMore:
		return "and " + some(a[0], "more header") + " of the answer change"
	case flow.WhyAnswerChanged:
		return "changes header " + a[0] + " of the answer too"
	case flow.WhyAnswerMaybe:
		return a[0] + " may change headers of the answer: " + or(a[1], "any")
	}
	return ""
}

// answerValue words a value that the answer gets, and on what that hangs.
func answerValue(value, when string) string {
	switch when {
	case flow.AnswerLate:
		return or(value, "a raw value") + ", as it is when the answer comes"
	case flow.AnswerIfNone:
		return value + ", where the endpoint sends none"
	case flow.AnswerInPlace:
		return value + ", in place of the endpoint's"
	}
	return value
}

func httpFilterWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyFilterPasses:
		return a[0] + " lets it pass"
	case flow.WhyHTTPFilterOff:
		return "switched off by the " + a[0]
	case flow.WhyFilterOpaque:
		return a[0] + " may do anything" + aside(a[1])
	case flow.WhyFilterNoConfig:
		return "its configuration never came: answered with 500"
	case flow.WhyHeadersChanged:
		return "changes headers " + a[0]
	case flow.WhyBodyTooLarge:
		return "refuses only bodies larger than " + a[0] + " bytes"
	case flow.WhyBodyOver:
		return "refuses the body of " + a[0] + " bytes: it takes " + a[1]
	case flow.WhyBodyFrames:
		return "refuses the body of " + a[0] + " bytes if it comes in more than one frame: it takes " + a[1]
	case flow.WhyLuaNoRequest:
		return "the script has no envoy_on_request"
	case flow.WhyLuaNone:
		return "there is no script"
	case flow.WhyForwardIdle:
		return "does nothing: the route's cluster is no dynamic forward proxy"
	case flow.WhyForwardHost:
		return "the request's host names the endpoint: Envoy resolves " + a[0]
	case flow.WhyOnDemandIdle:
		return "asks for nothing: no virtual host of this table comes on demand"
	case flow.WhyCustomResponse:
		return "lets it pass; an answer that its matcher picks is replaced by another"
	case flow.WhyCustomReplaces:
		return "HTTP filter " + a[0] + " puts status " + a[1] + " in its place"
	case flow.WhyCustomFetches:
		return "fetches another answer in place of status " + a[0] + ", which is not modelled"
	case flow.WhyJWTNoRule:
		return "no rule asks for a token"
	case flow.WhyJWTRequires:
		return "asks for a token of " + or(a[0], "anyone")
	case flow.WhyAskOutside:
		return "service " + a[0] + " decides" + aside(a[1])
	case flow.WhyDisabledPerPath:
		return "switched off by the " + a[0]
	}
	return ""
}

func decisionWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyRBACNoRules:
		return "rbac enforces no rules here"
	case flow.WhyRBACAllows:
		return "rbac " + a[0] + " lets it pass: policy " + or(a[1], "none") + " matches"
	case flow.WhyRBACDenies:
		return "rbac " + a[0] + " denies it: policy " + or(a[1], "none") + " matches"
	case flow.WhyLimitOff:
		return "the local rate limit is off: enabled for " + a[0] + ", enforced for " + a[1]
	case flow.WhyLimitTokens:
		return "taken as having a token left: " + a[0] + " at most, " + a[1] + " more every " + a[2]
	case flow.WhyLimitEmpty:
		return "the bucket is empty: answered with " + a[0] + "; " + a[1] + " more every " + a[2]
	case flow.WhyFaultAborts:
		return "fault injection aborts with " + a[0] + ", for " + a[1] + " of requests"
	case flow.WhyFaultPasses:
		return "no fault is injected: " + a[0]
	case flow.WhyFaultDelays:
		return "fault injection delays it by " + a[0] + ", for " + a[1] + " of requests"
	case flow.WhyPreflight:
		return "the preflight of origin " + a[0] + " is answered"
	case flow.WhyNoPreflight:
		return "no preflight to answer: " + a[0]
	case flow.WhyOriginMatches:
		return "origin " + a[0] + " may change " + a[1]
	case flow.WhyOriginMismatch:
		return "origin " + or(a[0], "(none)") + " is not the target " + a[1]
	case flow.WhyCSRFOff:
		return "no origin is asked for: " + a[0]
	case flow.WhyHealthCheck:
		return "a health check, answered with " + a[0]
	case flow.WhyNoHealthCheck:
		return "not a health check"
	}
	return ""
}

func httpRouterWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyRouterNotFound:
		return "no route: answered with 404"
	case flow.WhyRouterRedirect:
		return "redirected with " + a[0] + " to " + or(a[1], "a place that cannot be told")
	case flow.WhyRouterAnswers:
		return "answered with " + a[0] + " as configured"
	case flow.WhyRouterNoCluster:
		return "cluster " + or(a[0], "(none)") + " takes no request: answered with " + a[1] + aside(a[2])
	case flow.WhyRouterForwards:
		return "forwarded as " + a[0] + " to host " + a[1]
	case flow.WhyUpgradeRefused:
		return "no upgrade configuration allows " + a[0]
	}
	return ""
}

// aside is s in parentheses, or nothing.
func aside(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

package envoy

import "testing"

// switchGaps are filters that the runtime switches off.
func switchGaps() []gap {
	never := M{"default_value": M{"numerator": 0}, "runtime_key": "k.fraction"}
	off := M{"default_value": false, "runtime_key": "k.flag"}
	rc := oneRoute(routeTo("c1", everything, M{"rate_limits": A{M{"actions": A{M{"remote_address": M{}}}}}}))
	http := func(kind string, m M) func(M) M {
		return web(rc, M{"http_filters": A{ext("f", filterNS+"http."+kind, m), router()}})
	}
	service := M{"envoy_grpc": M{"cluster_name": "c.dead"}}
	authz := func(more M) func(M) M {
		m := M{"grpc_service": M{"envoy_grpc": service["envoy_grpc"], "timeout": "0.3s"}, "filter_enabled": never}
		for k, v := range more {
			m[k] = v
		}
		return http("ext_authz.v3.ExtAuthz", m)
	}
	deny := M{"default_value": true, "runtime_key": "k.deny"}
	bucket := M{"max_tokens": 1, "fill_interval": "3600s"}
	listened := func(l M) M {
		l["listener_filters"] = A{ext("rl", filterNS+"listener.local_ratelimit.v3.LocalRateLimit", M{"stat_prefix": "s", "token_bucket": bucket, "runtime_enabled": off})}
		return web(rc, nil)(l)
	}
	network := func(kind string, m M) func(M) M {
		return func(l M) M {
			l = web(rc, nil)(l)
			chain := l["filter_chains"].(A)[0].(M)
			chain["filters"] = append(A{ext("n", filterNS+"network."+kind, m)}, chain["filters"].(A)...)
			return l
		}
	}
	ask := get("a.test", "/")
	return []gap{
		{name: "ext_authz off", listener: authz(nil), request: ask, want: `"c1"`},
		{name: "ext_authz off, which denies", listener: authz(M{"deny_at_disable": deny}), request: ask, want: `"code":403`},
		{name: "ext_authz off, which denies in its own way", listener: authz(M{"deny_at_disable": deny, "status_on_error": M{"code": "Locked"}}), request: ask, want: `"code":423`},
		{name: "ext_authz off, which does not deny", listener: authz(M{"deny_at_disable": off}), request: ask, want: `"c1"`},
		{name: "ratelimit off", listener: http("ratelimit.v3.RateLimit", M{"domain": "d", "failure_mode_deny": true, "filter_enabled": never,
			"rate_limit_service": M{"transport_api_version": "V3", "grpc_service": service}}), request: ask, want: `"c1"`},
		{name: "admission_control off", listener: http("admission_control.v3.AdmissionControl", M{"enabled": off, "success_criteria": M{"http_criteria": M{"http_success_status": A{M{"start": 100, "end": 400}}}}}), request: ask, want: `"c1"`},
		{name: "a listener's bucket off", listener: listened, request: ask, want: `"c1"`},
		{name: "a chain's bucket off", listener: network("local_ratelimit.v3.LocalRateLimit", M{"stat_prefix": "s", "token_bucket": bucket, "runtime_enabled": off}), request: ask, want: `"c1"`},
		{name: "connection_limit off", listener: network("connection_limit.v3.ConnectionLimit", M{"stat_prefix": "s", "max_connections": 1, "runtime_enabled": off}), request: ask, want: `"c1"`},
	}
}

// Filters that are switched off, in a real Envoy, leave nothing open.
func TestSwitchedOff(t *testing.T) {
	if !Isolated(t) {
		return
	}
	runGaps(t, switchGaps())
}

package envoy

import "fmt"

// Types of HTTP filters and of their per-route configuration.
const (
	typeRBAC         = filterNS + "http.rbac.v3.RBAC"
	typeRBACPerRoute = filterNS + "http.rbac.v3.RBACPerRoute"
	typeRateLimit    = filterNS + "http.local_ratelimit.v3.LocalRateLimit"
	typeFault        = filterNS + "http.fault.v3.HTTPFault"
	typeLua          = filterNS + "http.lua.v3.Lua"
	typeLuaPerRoute  = filterNS + "http.lua.v3.LuaPerRoute"
	typeCORS         = filterNS + "http.cors.v3.Cors"
	typeCORSPolicy   = filterNS + "http.cors.v3.CorsPolicy"
	typeMutation     = filterNS + "http.header_mutation.v3.HeaderMutation"
	typeCSRF         = filterNS + "http.csrf.v3.CsrfPolicy"
	typeHealthCheck  = filterNS + "http.health_check.v3.HealthCheck"
	typeFilterConfig = "envoy.config.route.v3.FilterConfig"
)

// httpFilter is one of a listener's filters, for the per-route configuration.
type httpFilter struct{ name, kind string }

// chainGen collects the HTTP filters of one listener.
type chainGen struct {
	*dice
	json  A
	known []httpFilter
	// stateful: a token bucket's state decides, too.
	stateful bool
}

func (g *chainGen) add(kind, typ string, m M) {
	f := ext(fmt.Sprintf("%s%d", kind, len(g.known)), typ, m)
	if g.chance(0.15) {
		f["disabled"] = true
	}
	g.json = append(g.json, f)
	g.known = append(g.known, httpFilter{f["name"].(string), kind})
}

// httpFilters are up to three filters and the router.
func (d *dice) httpFilters() *chainGen {
	g := &chainGen{dice: d}
	for range d.IntN(4) {
		g.addOne()
	}
	r := router()
	if d.chance(0.08) {
		r["typed_config"].(M)[pick(d, "suppress_envoy_headers", "respect_expected_rq_timeout")] = true
	}
	g.json = append(g.json, r)
	return g
}

func (g *chainGen) addOne() {
	switch n := g.IntN(9); {
	case n < 3 || n == 5 && g.chance(0.6):
		g.add("rbac", typeRBAC, g.httpRBAC())
	case n == 3:
		g.add("lrl", typeRateLimit, g.rateLimit("lr"))
		g.stateful = true
	case n == 4:
		g.add("fault", typeFault, g.fault())
	case n == 5:
		g.add("lua", typeLua, M{"default_source_code": M{"inline_string": pick(g.dice,
			"function envoy_on_request(h) h:headers():replace('x-a','lua') end",
			"function envoy_on_request(h) if h:headers():get('x-b') then h:respond({[':status']='432'},'lua') end end",
			"function envoy_on_response(h) end")}})
	case n == 6:
		g.add("cors", typeCORS, nil)
	case n == 7:
		add := A{M{"append": g.headerValue(pick(g.dice, "x-a", "x-mut"), "mut")}}
		g.add("hmut", typeMutation, M{"mutations": M{"request_mutations": add}})
	case g.chance(0.5):
		g.add("csrf", typeCSRF, M{"filter_enabled": percent(pick(g.dice, 100, 0))})
	default:
		path := M{"name": ":path", "string_match": M{"exact": pick(g.dice, "/x", "/api")}}
		g.add("hc", typeHealthCheck, M{"pass_through_mode": g.chance(0.3), "headers": A{path}})
	}
}

func percent(n int) M { return M{"default_value": M{"numerator": n}} }

// rateLimit has a bucket that is empty after one request, or never.
func (d *dice) rateLimit(prefix string) M {
	m := M{"stat_prefix": prefix, "token_bucket": M{"max_tokens": pick(d, 1, 100000), "tokens_per_fill": 1, "fill_interval": "3600s"}}
	for _, k := range []string{"filter_enabled", "filter_enforced"} {
		if d.chance(0.75) {
			m[k] = percent(pick(d, 100, 100, 0))
		}
	}
	if d.chance(0.3) {
		m["status"] = M{"code": pick(d, "ServiceUnavailable", "Forbidden")}
	}
	return m
}

func (d *dice) fault() M {
	m := M{"abort": M{"http_status": pick(d, 418, 503, 555), "percentage": M{"numerator": pick(d, 100, 100, 0)}}}
	if d.chance(0.5) {
		h, _ := d.headerMatcher()
		m["headers"] = A{h}
	}
	if d.chance(0.2) {
		m["upstream_cluster"] = pick(d, "c0", "c1", "c2")
	}
	return m
}

// perRoute gives a table, virtual host or route configuration of its own for some filters.
func (g *chainGen) perRoute(o M, p float64) {
	if len(g.known) == 0 || !g.chance(p) {
		return
	}
	m := M{}
	for _, f := range some(g.dice, 1+g.IntN(2), g.known) {
		own := g.ownConfig(f.kind)
		switch {
		case own == nil || g.chance(0.25):
			m[f.name] = typed(typeFilterConfig, M{"disabled": true})
		case g.chance(0.3):
			m[f.name] = typed(typeFilterConfig, M{"config": own})
		default:
			m[f.name] = own
		}
	}
	o["typed_per_filter_config"] = m
}

func (g *chainGen) ownConfig(kind string) M {
	switch kind {
	case "rbac":
		return pick(g.dice, typed(typeRBACPerRoute, M{"rbac": g.httpRBAC()}), typed(typeRBACPerRoute, nil))
	case "lrl":
		return typed(typeRateLimit, g.rateLimit("pr"))
	case "fault":
		return typed(typeFault, g.fault())
	case "lua":
		return typed(typeLuaPerRoute, M{"disabled": true})
	case "cors":
		return typed(typeCORSPolicy, M{"allow_origin_string_match": A{M{"exact": "https://ok.test"}}, "allow_methods": "GET,POST",
			"filter_enabled": percent(pick(g.dice, 100, 0))})
	case "csrf":
		return typed(typeCSRF, M{"filter_enabled": percent(100)})
	}
	return nil
}

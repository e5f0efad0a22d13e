package envoy

import (
	"fmt"
	"maps"
	"testing"
)

// againGaps are filters that have the route chosen again.
func againGaps() (g headerRows) {
	const stateKey = "k.again"
	state := func(clear bool, value string) M {
		return ext("state", filterNS+"http.set_filter_state.v3.Config", M{"clear_route_cache": clear, "on_request_headers": A{M{"object_key": stateKey, "factory_key": "envoy.string",
			"format_string": M{"text_format_source": M{"inline_string": value}}}}})
	}
	change := func(name string) M {
		return ext(name, typeMutation, M{"mutations": M{"request_mutations": A{M{"append": add("x-tier", "gold", overwrites)}}}})
	}
	byState := M{"prefix": "/", "filter_state": A{M{"key": stateKey, "string_match": M{"exact": "b"}}}}
	byHeader := M{"prefix": "/", "headers": A{M{"name": "x-tier", "string_match": M{"exact": "gold"}}}}
	chain := func(filters ...any) M {
		return M{"http_filters": append(A(filters), router()), "use_remote_address": true}
	}
	two := func(match M, more M) M {
		r := routeTo("c2", match, nil)
		maps.Copy(r, more)
		return oneRoute(r, routeTo("c1", everything, nil))
	}
	g.row("filter state alone changes no route", `"c1"`, plainGet, two(byState, nil), chain(state(false, "b")))
	g.row("filter state, chosen again", `"c2"`, plainGet, two(byState, nil), chain(state(true, "b")))
	g.row("other filter state, chosen again", `"c1"`, plainGet, two(byState, nil), chain(state(true, "a")))
	g.row("a mutation alone changes no route", `"c1"`, plainGet, two(byHeader, nil), chain(change("change")))
	g.row("a mutation, then chosen again", `"c2"`, plainGet, two(byHeader, nil), chain(change("change"), state(true, "b")))
	g.row("chosen again, but asked for after a mutation", `"c2"`, plainGet, two(byHeader, nil), chain(state(true, "b"), change("change")))
	g.row("chosen again, asked for before a mutation", `"c1"`, plainGet, two(byHeader, nil), chain(state(true, "b"), ext("cors", filterNS+"http.cors.v3.Cors", nil), change("change")))
	g.row("chosen again to an answer", `"code":418`, plainGet, oneRoute(M{"name": "tea", "match": byState, "direct_response": M{"status": 418}}, routeTo("c1", everything, nil)), chain(state(true, "b")))
	g.row("chosen again to none", `"code":404`, plainGet, oneRoute(routeTo("c1", M{"prefix": "/", "headers": A{M{"name": "x-tier", "present_match": true, "invert_match": true}}}, nil)), chain(change("change"), state(true, "b")))
	// The first route's headers of the answer go with it; those that a filter changed before stay.
	sets := func(value string) M { return M{"response_headers_to_add": A{add("x-set", value, overwrites)}} }
	answers := two(byState, nil)
	maps.Copy(answers["virtual_hosts"].(A)[0].(M)["routes"].(A)[1].(M), sets("1"))
	g.row("chosen again, without a header of the answer", `"c2"`, plainGet, answers, chain(state(true, "b")))
	g.row("not chosen again, with a header of the answer", `"x-set":"1"`, plainGet, answers, chain(state(false, "b")))
	takes := ext("takes", typeMutation, M{"mutations": M{"response_mutations": A{M{"remove": "X-Set"}}}})
	g.row("a filter takes away what the route chosen again sets", `"c2"`, plainGet, two(byState, sets("2")), chain(takes, state(true, "b")))
	reply := chain()
	reply["local_reply_config"] = M{"mappers": A{M{"filter": M{"status_code_filter": M{"comparison": M{"op": "GE", "value": M{"default_value": 400, "runtime_key": "no"}}}}, "headers_to_add": A{add("X-Set", "2", overwrites)}}}}
	tea := M{"name": "tea", "match": everything, "direct_response": M{"status": 418}}
	maps.Copy(tea, sets("1"))
	g.row("local_reply_config sets what the route sets", `"x-set":"2"`, plainGet, oneRoute(tea), reply)
	late := ext("late", typeLua, M{"default_source_code": M{"inline_string": "function envoy_on_response(h) h:headers():replace('x-set', 'lua') end"}})
	g.row("a script changes what the route sets", `"x-set":"lua"`, plainGet, two(everything, sets("1")), chain(late))
	off := M{"typed_per_filter_config": M{"fault": typed("envoy.config.route.v3.FilterConfig", M{"disabled": true})}}
	abort := ext("fault", filterNS+"http.fault.v3.HTTPFault", M{"abort": M{"http_status": 503, "percentage": M{"numerator": 100}}})
	own := M{"typed_per_filter_config": M{"fault": typed(filterNS+"http.fault.v3.HTTPFault", M{"abort": M{"http_status": 418, "percentage": M{"numerator": 100}}})}}
	g.row("a filter that the new route switches off runs", `"code":503`, plainGet, two(byState, off), chain(state(true, "b"), abort))
	g.row("a filter as the new route has it", `"code":418`, plainGet, two(byState, own), chain(state(true, "b"), abort))
	first := two(byState, nil)
	first["virtual_hosts"].(A)[0].(M)["routes"].(A)[1].(M)["typed_per_filter_config"] = off["typed_per_filter_config"]
	g.row("a filter that the first route switches off", `"c2"`, plainGet, first, chain(state(true, "b"), abort))

	tagging := func(more M, tags ...any) M {
		m := M{"request_type": "BOTH", "ip_tags": A(tags)}
		maps.Copy(m, more)
		return ext("tags", filterNS+"http.ip_tagging.v3.IPTagging", m)
	}
	tag := func(name string, nets ...string) M {
		return M{"ip_tag_name": name, "ip_list": cidrs(nets)}
	}
	tagged := func(header string) M {
		return M{"prefix": "/", "headers": A{M{"name": header, "string_match": M{"exact": "lo"}}}}
	}
	lo, far := tag("lo", "127.0.0.0/8"), tag("far", "10.0.0.0/8")
	own1 := M{"ip_tag_header": M{"header": "x-net"}}
	own2 := M{"ip_tag_header": M{"header": "x-net", "action": "APPEND_IF_EXISTS_OR_ADD"}}
	g.row("tagged", `"x-envoy-ip-tags","lo"`, plainGet, two(tagged("x-envoy-ip-tags"), nil), chain(tagging(nil, lo, far)))
	g.row("tagged, another route", `"c2"`, plainGet, two(tagged("x-envoy-ip-tags"), nil), chain(tagging(nil, lo, far)))
	g.row("not tagged", `"c1"`, plainGet, two(tagged("x-envoy-ip-tags"), nil), chain(tagging(nil, far)))
	g.row("tagged by another header", `"x-net","lo"`, with("x-net", "mine"), two(tagged("x-net"), nil), chain(tagging(own1, lo)))
	g.row("another header is taken away", `"c1"`, with("x-net", "lo"), two(tagged("x-net"), nil), chain(tagging(own1, far)))
	g.row("another header is added to", `"x-net","mine,lo"`, with("x-net", "mine"), two(tagged("x-net"), nil), chain(tagging(own2, lo)))
	g.row("another header stays", `"c2"`, with("x-net", "lo"), two(tagged("x-net"), nil), chain(tagging(own2, far)))
	g.row("two tags", `"c1"`, plainGet, two(tagged("x-no"), nil), chain(tagging(nil, lo, tag("all", "0.0.0.0/0"))))
	g.row("tagged twice", `"x-envoy-ip-tags"`, plainGet, two(tagged("x-no"), nil), chain(tagging(nil, lo), tagging(nil, tag("lo2", "127.0.0.0/8"))))
	for _, kind := range []string{"INTERNAL", "EXTERNAL"} {
		for _, inside := range []bool{true, false} {
			options := chain(tagging(M{"request_type": kind}, lo))
			if inside {
				maps.Copy(options, insiders)
			}
			g.row(fmt.Sprintf("tagged where %s, inside %v", kind, inside), `"upstream"`, plainGet, two(tagged("x-no"), nil), options)
		}
	}
	return g
}

// A route is chosen again as a real Envoy does it.
func TestRouteAgain(t *testing.T) {
	if !Isolated(t) {
		return
	}
	runGaps(t, againGaps())
}

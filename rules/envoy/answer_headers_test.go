package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What the route's step tells of the answer's headers; TestAnswerHeaders of e2e/envoy judges
// it by a real Envoy.
func TestAnswerHeaders(t *testing.T) {
	add := func(name, value, action string) string {
		return fmt.Sprintf(`{"header":{"key":%q,"value":%q},"append_action":%q}`, name, value, action)
	}
	const appends, absent, over, ifThere = "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
	const forward, direct = `"route":{"cluster":"c"}`, `"direct_response":{"status":200}`
	for _, c := range []struct{ action, adds, more, want string }{
		{forward, add("X", "1", appends), "", "adds x 1"},
		{direct, add("X", "1", appends), "", "has x 1"},
		{forward, add("x", "1", over) + "," + add("x", "2", appends), "", "has x 1; has x 2"},
		{forward, add("x", "1", absent), "", "adds x 1 if-none"},
		{forward, add("x", "1", ifThere), "", "adds x 1 in-place"},
		{direct, add("x", "1", ifThere), "", ""},
		{forward, add("x", "%PROTOCOL%", over), "", "has x %PROTOCOL% late"},
		{forward, add("x", "", over), "", ""},
		{forward, "", `,"response_headers_to_remove":["X"]`, "loses x"},
		{forward, add("x", "a, b", over) + "," + add("x", "c (d)?", appends), "", "has x a, b; has x c (d)?"},
		{forward, add("server", "1", over), `,"response_headers_to_remove":["Date"]`, ""}, // the connection manager's own
		{direct, "", `,"response_headers_to_remove":["x"]`, ""},
	} {
		cfg := httpDump(t, fmt.Sprintf(`"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},%s,"response_headers_to_add":[%s]%s}]}]}`, c.action, c.adds, c.more))
		var got []string
		for _, f := range stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.Route).Facts {
			word := map[flow.ReasonKind]string{flow.WhyAnswerHas: "has", flow.WhyAnswerAdds: "adds", flow.WhyAnswerLoses: "loses"}[f.Kind]
			got = append(got, strings.TrimSpace(strings.TrimSpace(word+" "+f.Args[0]+" "+f.Args[1])+" "+f.Args[2]))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s %s%s: %s, want %s", c.action, c.adds, c.more, s, c.want)
		}
	}
	fault := typedFilter("f", "fault.v3.HTTPFault", `"abort":{"http_status":503,"percentage":{"numerator":100}}`)
	for action, want := range map[string]int{forward: 1, direct: 0} { // where a filter answers
		cfg := httpDump(t, withFilters(oneHost(`{"match":{"prefix":"/"},`+action+`,"response_headers_to_add":[`+add("x", "1", over)+`]}`), fault))
		if facts := stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.Route).Facts; len(facts) < want || want == 0 && len(facts) > 0 {
			t.Errorf("%s: %v", action, facts)
		}
	}
	var many []string
	for i := range maxAnswerFacts + 3 {
		many = append(many, add(fmt.Sprint("x", i), "1", over))
	}
	cfg := httpDump(t, oneHost(`{"match":{"prefix":"/"},`+direct+`,"response_headers_to_add":[`+strings.Join(many, ",")+`]}`))
	facts := stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.Route).Facts
	if n := len(facts); n != maxAnswerFacts+1 || facts[n-1] != flow.Because(flow.WhyAnswerMore, "3") {
		t.Errorf("%d facts, the last %v", n, facts[n-1])
	}
}

// What filters do to answers on their way back is said at the filter: of names as headers are told
// apart, and of any name where that is not known.
func TestAnswerOfFilters(t *testing.T) {
	const lua, mutation = "lua.v3.Lua", "header_mutation.v3.HeaderMutation"
	script := func(functions string) string {
		return fmt.Sprintf(`"default_source_code":{"inline_string":%q}`, functions)
	}
	for _, c := range []struct {
		filter string
		want   []flow.Reason
	}{
		{typedFilter("f", mutation, `"mutations":{"response_mutations":[{"remove":"X-Y"},{"append":{"header":{"key":"Z, z","value":"1"}}}]}`),
			[]flow.Reason{flow.Because(flow.WhyAnswerChanged, "x-y"), flow.Because(flow.WhyAnswerChanged, "z, z")}},
		{typedFilter("f", mutation, `"mutations":{"response_mutations":[`+strings.Repeat(`{"remove":"y"},`, maxAnswerFacts)+`{"remove":"y"}]}`), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "header_mutation")}},
		{typedFilter("f", lua, script("function envoy_on_response(h) end")), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "lua")}},
		{typedFilter("f", lua, script("function envoy_on_request(h) end")), nil},
		{typedFilter("f", lua, script("")), nil},
		{typedFilter("f", "ext_proc.v3.ExternalProcessor", `"processing_mode":{"request_header_mode":"SKIP"}`), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "ext_proc")}},
		{typedFilter("f", "wasm.v3.Wasm", ``), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "wasm")}},
		{typedFilter("f", "nobody.v3.Knows", ``), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "nobody")}},
		{typedFilter("f", "cors.v3.Cors", ``), nil}, // the route has no policy
		{typedFilter("f", "health_check.v3.HealthCheck", `"pass_through_mode":true`), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "health_check", "x-envoy-upstream-healthchecked-cluster, x-envoy-immediate-health-check-fail")}},
		{typedFilter("f", "header_to_metadata.v3.Config", `"request_rules":[]`), nil},
		{typedFilter("f", "header_to_metadata.v3.Config", `"response_rules":[{"header":"x","remove":true}]`), []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "header_to_metadata")}},
	} {
		cfg := httpDump(t, withFilters(oneHost(answering("r", `"prefix":"/"`)), c.filter))
		if s := stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.HTTPFilter); !slices.Equal(s.Facts, c.want) {
			t.Errorf("%s: %+v, want %+v", c.filter, s.Facts, c.want)
		}
	}
	cfg := httpDump(t, oneHost(answering("r", `"prefix":"/"`))+`,"local_reply_config":{"mappers":[{"headers_to_add":[{"header":{"key":"X-Set","value":"2"}}]}]}`)
	if s := stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.HTTPFilter); !slices.Equal(s.Facts, []flow.Reason{flow.Because(flow.WhyAnswerChanged, "x-set")}) {
		t.Errorf("local_reply_config: %+v", s.Facts)
	}
}

package envoy

import (
	"fmt"
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
		{forward, add("x", "1", over) + "," + add("x", "2", appends), "", "has x 1, 2"},
		{forward, add("x", "1", absent), "", "adds x 1 (where the endpoint sends none)"},
		{forward, add("x", "1", ifThere), "", "adds x 1 (in place of the endpoint's)"},
		{direct, add("x", "1", ifThere), "", ""},
		{forward, add("x", "%PROTOCOL%", over), "", "has x ?"},
		{forward, add("x", "", over), "", ""},
		{forward, "", `,"response_headers_to_remove":["Server"]`, "loses server"},
		{direct, "", `,"response_headers_to_remove":["x"]`, ""},
	} {
		cfg := httpDump(t, fmt.Sprintf(`"route_config":{"name":"rt","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"r","match":{"prefix":"/"},%s,"response_headers_to_add":[%s]%s}]}]}`, c.action, c.adds, c.more))
		var got []string
		for _, f := range stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.Route).Facts {
			word := map[flow.ReasonKind]string{flow.WhyAnswerHas: "has", flow.WhyAnswerAdds: "adds", flow.WhyAnswerLoses: "loses"}[f.Kind]
			got = append(got, strings.TrimSpace(word+" "+f.Args[0]+" "+f.Args[1]))
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
	cfg = httpDump(t, withFilters(oneHost(answering("r", `"prefix":"/"`)), typedFilter("f", "header_mutation.v3.HeaderMutation", `"mutations":{"response_mutations":[{"remove":"y"}]}`)))
	if s := stepOf(t, ask(cfg, sent("GET", "/", "a")), flow.HTTPFilter); len(s.Facts) != 1 || s.Facts[0] != flow.Because(flow.WhyAnswerChanged, "y") {
		t.Errorf("header_mutation: %+v", s)
	}
}

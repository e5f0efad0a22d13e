package check

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

const jsonl = `{"name":"v2 goes to v2","request":{"direction":"inbound","dst":"10.244.1.7:8080","http":{"authority":"a","path":"/","headers":[["version","v2"]]}},"want":{"verdict":"delivered","outcome":{"cluster":"v2","routeIndex":0}}}

{"request":{"dst":"10.0.0.1:80"},
 "want":{"netfilter":[],"to":["127.0.0.1:15001","127.0.0.1:15006"],"caller":{"code":[200,404]}}}
`

const yamlCases = `# a comment
- name: v2 goes to v2
  request:
    direction: inbound
    dst: 10.244.1.7:8080
    http: {authority: a, path: /, headers: [[version, v2]]}
  want: {verdict: delivered, outcome: {cluster: v2, routeIndex: 0}}
- request: {dst: "10.0.0.1:80"}
  want:
    netfilter: []
    to: ["127.0.0.1:15001", "127.0.0.1:15006"]
    caller: {code: [200, 404]}
`

// JSON lines, a JSON array and YAML say the same.
func TestParse(t *testing.T) {
	array := "[" + strings.Replace(strings.TrimSpace(jsonl), "\n\n", ",\n", 1) + "]"
	var first []Case
	for name, in := range map[string]string{"jsonl": jsonl, "yaml": yamlCases, "array": array, "bom": "\ufeff" + jsonl} {
		got, err := Parse([]byte(in))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range got {
			if got[i].Line == 0 {
				t.Errorf("%s: case %d has no line", name, i)
			}
			got[i].Line = 0
		}
		got[1].Name = ""
		if first == nil {
			first = got
		}
		if !reflect.DeepEqual(got, first) {
			t.Errorf("%s reads %+v, want %+v", name, got, first)
		}
	}
	w := first[1].Want
	if w.Netfilter == nil || len(w.Netfilter) != 0 || len(w.To) != 2 || !reflect.DeepEqual(w.Caller["code"], []string{"200", "404"}) {
		t.Errorf("want %+v", w)
	}
}

// A mistake is told with its line, and never read as "nothing is wanted".
func TestParseRefuses(t *testing.T) {
	req := `"request":{"dst":"10.0.0.1:80"}`
	for in, want := range map[string]string{
		"":                    "empty",
		"[]":                  "no cases",
		"a: b":                "line 1: want one JSON object a line",
		"- [x":                "neither JSON lines nor YAML",
		"{\"name\":\"x\"}\n{": "line 1: case \"x\": request is missing",
		"{" + req + `,"want":{"to":"x"}}` + "\n\n{\"name\": tru}": "line 3",
		"{" + req + "}":                                        "want is missing",
		"{" + req + `,"want":{}}`:                              "cannot fail",
		"{" + req + `,"want":{"verdict":"ok"}}`:                `verdict "ok"`,
		"{" + req + `,"want":{"verdict":"continue"}}`:          "delivered, refused",
		"{" + req + `,"want":{"outcome":{"clusters":"x"}}}`:    `no field "clusters"`,
		"{" + req + `,"want":{"outcome":{"cluster":[]}}}`:      "never met",
		"{" + req + `,"want":{"outcome":{"cluster":{}}}}`:      "a string, a number",
		"{" + req + `,"want":{"upstream":{"host":"x"}}}`:       `upstream has no field "host"`,
		"{" + req + `,"want":{"upstream":{"headers":"x"}}}`:    "an object of names",
		"{" + req + `,"want":{"caller":{"headers":{}}}}`:       "cannot fail",
		"{" + req + `,"want":{"caller":{"headers":{"a":[]}}}}`: "never met",
		"{" + req + `,"wants":{"verdict":"delivered"}}`:        `unknown field "wants"`,
		`{"name":"n","request":{"dst":"x"},"want":{"to":"y"}}`: `case "n": request: dst`,
		"- request: {dst: '10.0.0.1:80'}\n  want: {1: 2}\n":    "line 1",
	} {
		_, err := Parse([]byte(in))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", in, err, want)
		}
	}
}

func leg(to string, rules ...string) flow.Leg {
	l := flow.Leg{To: flow.Conn{Dst: netip.MustParseAddrPort(to)}}
	for _, r := range rules {
		v := flow.Continue
		if strings.HasSuffix(r, "?") {
			v = flow.Unknown
		}
		l.Steps = append(l.Steps, flow.Step{Stage: flow.Netfilter, Subject: r, Verdict: v})
	}
	return l
}

func TestJudge(t *testing.T) {
	rules := []string{"ip nat OUTPUT 2", "ip nat OUTPUT policy"}
	good := flow.Trace{Verdict: flow.Delivered, Outcome: flow.Outcome{Cluster: "v2", RouteIndex: 1}, Caller: flow.Symptom{Code: 200, TCP: flow.TCPOK},
		Legs: []flow.Leg{leg("127.0.0.1:15001", rules...)}}
	unknown := flow.Trace{Verdict: flow.Unknown, Outcome: flow.Outcome{Listener: "l", RouteIndex: -1}, Legs: []flow.Leg{leg("127.0.0.1:15001", rules...)}}
	halfway := flow.Trace{Legs: []flow.Leg{leg("10.0.0.1:80", "ip nat OUTPUT 2", "ip nat OUTPUT 3?")}}
	weights := flow.Trace{Verdict: flow.Depends, Variants: []flow.Variant{
		{Verdict: flow.Delivered, Outcome: flow.Outcome{Cluster: "v1"}}, {Verdict: flow.Delivered, Outcome: flow.Outcome{Cluster: "v2"}}}}
	cut := weights
	cut.Cut = true
	sent := good
	sent.Upstream = &flow.HTTP{Method: "GET", Authority: "b.test", Path: "/new", Headers: [][2]string{{"x-a", "1"}, {"x-a", "2"}}, Unsure: []string{"x-request-id"}}
	step := flow.Step{Stage: flow.Route, Facts: []flow.Reason{flow.Because(flow.WhyAnswerHas, "x-set", "1"), flow.Because(flow.WhyAnswerAdds, "x-more", "1"),
		flow.Because(flow.WhyAnswerAdds, "x-more", "2"), flow.Because(flow.WhyAnswerLoses, "x-gone"), flow.Because(flow.WhyAnswerHas, "x-late", "%PROTOCOL%", flow.AnswerLate),
		flow.Because(flow.WhyAnswerAdds, "x-absent", "1", flow.AnswerIfNone), flow.Because(flow.WhyAnswerHas, "x-text", "foo (bar)"), flow.Because(flow.WhyAnswerHas, "x-comma", "a, b"),
		flow.Because(flow.WhyAnswerHas, "x-ask", "?"), flow.Because(flow.WhyAnswerHas, "x-mut", "1"), flow.Because(flow.WhyAnswerChanged, "x-mut")}}
	answered := good
	answered.Caller.Location, answered.Caller.Details = "http://b/", "direct_response"
	answered.Legs = []flow.Leg{{Steps: []flow.Step{step}}}
	filtered := answered
	filtered.Legs = []flow.Leg{{Steps: []flow.Step{step, {Stage: flow.HTTPFilter, Verdict: flow.Refused}}}}
	again, scripted, mutated := answered, answered, answered
	again.Legs = []flow.Leg{{Steps: []flow.Step{step, {Stage: flow.Route, Facts: []flow.Reason{flow.Because(flow.WhyAnswerHas, "x-two", "2")}}}}}
	scripted.Legs = []flow.Leg{{Steps: []flow.Step{step, {Stage: flow.HTTPFilter, Verdict: flow.Continue, Facts: []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "lua")}}}}}
	// A filter changes the answer of whatever route is chosen after it.
	mutated.Legs = []flow.Leg{{Steps: []flow.Step{{Stage: flow.HTTPFilter, Verdict: flow.Continue, Facts: []flow.Reason{flow.Because(flow.WhyAnswerMaybe, "cors", "x-no, x-set")}}, step}}}
	header := func(name string, vs ...string) Want { return Want{Answer: map[string][]string{name: vs}} }
	gets := func(name string, vs ...string) Want { return Want{UpstreamHeaders: map[string][]string{name: vs}} }
	outcome := func(name string, vs ...string) Want { return Want{Outcome: map[string][]string{name: vs}} }
	for _, c := range []struct {
		name string
		t    flow.Trace
		w    Want
		want Status
	}{
		{"verdict", good, Want{Verdict: []string{"delivered"}}, Met},
		{"one of a list", good, Want{Verdict: []string{"refused", "delivered"}}, Met},
		{"another verdict", good, Want{Verdict: []string{"refused"}}, NotMet},
		{"cluster", good, outcome("cluster", "v2"), Met},
		{"another cluster", good, outcome("cluster", "v1"), NotMet},
		{"route number", good, outcome("routeIndex", "1"), Met},
		{"another route number", good, outcome("routeIndex", "0"), NotMet},
		{"code", good, Want{Caller: map[string][]string{"code": {"200"}, "tcp": {"ok"}}}, Met},
		{"another code", good, Want{Caller: map[string][]string{"code": {"404"}}}, NotMet},
		{"policies do not count", good, Want{Netfilter: rules[:1]}, Met},
		{"no rule", good, Want{Netfilter: []string{}}, NotMet},
		{"arrival", good, Want{To: []string{"127.0.0.1:15001"}}, Met},
		{"another arrival", good, Want{To: []string{"127.0.0.1:15006"}}, NotMet},
		// What is known of an unknown trace is judged; what is not known is unknown.
		{"unknown, known field", unknown, outcome("listener", "l"), Met},
		{"unknown, known field differs", unknown, outcome("listener", "m"), NotMet},
		{"unknown, open field", unknown, outcome("cluster", "v1"), Unknown},
		{"unknown, open number", unknown, outcome("routeIndex", "0"), Unknown},
		{"unknown, verdict", unknown, Want{Verdict: []string{"delivered"}}, Unknown},
		{"unknown wanted", unknown, Want{Verdict: []string{"unknown"}}, Met},
		{"unknown, rules known", unknown, Want{Netfilter: rules[:1], To: []string{"127.0.0.1:15001"}}, Met},
		{"halfway, may still be", halfway, Want{Netfilter: []string{"ip nat OUTPUT 2", "ip nat OUTPUT 4"}}, Unknown},
		{"halfway, cannot be", halfway, Want{Netfilter: []string{"ip nat OUTPUT 1"}}, NotMet},
		{"halfway, arrival", halfway, Want{To: []string{"127.0.0.1:15001"}}, Unknown},
		// What the endpoint gets.
		{"path after a rewrite", sent, Want{Upstream: map[string][]string{"path": {"/new"}, "authority": {"b.test"}, "method": {"GET"}}}, Met},
		{"path before it", sent, Want{Upstream: map[string][]string{"path": {"/old"}}}, NotMet},
		{"a version that is agreed on later", sent, Want{Upstream: map[string][]string{"version": {"2"}}}, Unknown},
		{"second value", sent, gets("x-a", "2"), Met},
		{"one of", sent, gets("x-a", "7", "1"), Met},
		{"no such value", sent, gets("x-a", "3"), NotMet},
		{"there, and must not be", sent, gets("x-a"), NotMet},
		{"not there", sent, gets("x-b"), Met},
		{"not there, and must be", sent, gets("x-b", "1"), NotMet},
		{"its value cannot be told", sent, gets("x-request-id", "1"), Unknown},
		{"nothing is sent", good, gets("x-b"), NotMet},
		{"nothing is sent, path", good, Want{Upstream: map[string][]string{"path": {"/"}}}, NotMet},
		{"sent, in one way or another", flow.Trace{Verdict: flow.Delivered, Outcome: flow.Outcome{Endpoint: "10.0.0.1:80"}}, gets("x-b", "1"), Unknown},
		{"unknown what is sent", unknown, gets("x-b"), Unknown},
		// What the caller gets.
		{"redirect", answered, Want{Caller: map[string][]string{"location": {"http://b/"}, "details": {"direct_response"}}}, Met},
		{"redirect elsewhere", answered, Want{Caller: map[string][]string{"location": {"http://c/"}}}, NotMet},
		{"set", answered, header("x-set", "1"), Met},
		{"set to another", answered, header("x-set", "2"), NotMet},
		{"set, and must not be there", answered, header("x-set"), NotMet},
		{"added", answered, header("x-more", "2"), Met},
		{"added, maybe beside", answered, header("x-more", "3"), Unknown},
		{"added, and must not be there", answered, header("x-more"), NotMet},
		{"removed", answered, header("x-gone"), Met},
		{"removed, and must be there", answered, header("x-gone", "1"), NotMet},
		{"known when the answer is", answered, header("x-late", "1"), Unknown},
		{"where the endpoint has none", answered, header("x-absent", "1"), Unknown},
		{"a value is not taken apart", answered, header("x-text", "foo (bar)"), Met},
		{"a value with a comma", answered, header("x-comma", "a, b"), Met},
		{"half of a value", answered, header("x-comma", "b"), NotMet},
		{"a question mark", answered, header("x-ask", "?"), Met},
		{"changed by a filter", answered, header("x-mut", "1"), Unknown},
		{"changed by a filter, and must not be there", answered, header("x-mut"), Unknown},
		{"another route is chosen", again, header("x-set", "1"), Unknown},
		{"the route chosen last", again, header("x-two", "2"), Met},
		{"a filter may change any", scripted, header("x-set", "1"), Unknown},
		{"a filter may change any, and it must not be there", scripted, header("x-gone"), Unknown},
		{"a filter before the route may change it", mutated, header("x-set", "1"), Unknown},
		{"a filter may change others", mutated, header("x-text", "foo (bar)"), Met},
		{"the endpoint's own", answered, header("x-own", "1"), Unknown},
		{"a filter answers instead", filtered, header("x-set", "1"), Unknown},
		// Chance.
		{"all variants", weights, Want{Verdict: []string{"delivered"}, Outcome: map[string][]string{"cluster": {"v1", "v2"}}}, Met},
		{"some variants", weights, outcome("cluster", "v1"), Unknown},
		{"no variant", weights, outcome("cluster", "v3"), NotMet},
		{"depends wanted", weights, Want{Verdict: []string{"depends"}}, Met},
		{"more variants than followed", cut, Want{Verdict: []string{"delivered"}}, Unknown},
		{"nothing traced", flow.Trace{}, Want{To: []string{"x"}, Netfilter: []string{"a"}}, Unknown},
	} {
		if r := Judge(Case{Want: c.w}, c.t); r.Status != c.want {
			t.Errorf("%s: %v (%+v), want %v", c.name, r.Status, r.Diffs, c.want)
		}
	}
}

// The step that is named is the one that decided the field, not the last one.
func TestDecider(t *testing.T) {
	tr := flow.Trace{Verdict: flow.Refused, Legs: []flow.Leg{{Steps: []flow.Step{
		{Stage: flow.Netfilter, Verdict: flow.Continue}, {Stage: flow.VirtualHost, Subject: "vh", Verdict: flow.Continue}, {Stage: flow.Route, Subject: "r", Verdict: flow.Refused}}}}}
	for field, want := range map[string]int{"virtualHost": 2, "route": 3, "endpoint": 3} {
		r := Judge(Case{Want: Want{Outcome: map[string][]string{field: {"other"}}}}, tr)
		if r.Status != NotMet || r.Decider.Number != want || r.Decider.Leg != 1 {
			t.Errorf("%s: %v decided by %d, want %d", field, r.Status, r.Decider.Number, want)
		}
	}
}

func TestCoverage(t *testing.T) {
	objects := []Object{{Kind: flow.Listener, Name: "a", Ref: "/l/0"}, {Kind: flow.Listener, Name: "b", Ref: "/l/1"},
		{Kind: flow.Route, Parent: "vh", Name: "", Ref: "/r/0"}, {Kind: flow.Route, Parent: "vh", Name: "", Ref: "/r/1"}, {Kind: flow.VirtualHost, Name: "vh"}, {Kind: flow.Cluster, Name: "c"}}
	tr := flow.Trace{Legs: []flow.Leg{{Steps: []flow.Step{{Stage: flow.Listener, Subject: "b", Evidence: []flow.Evidence{{Ref: "/l/1"}}}, {Stage: flow.VirtualHost, Subject: "vh"}}}},
		Variants: []flow.Variant{{Legs: []flow.Leg{{Steps: []flow.Step{{Stage: flow.Route, Evidence: []flow.Evidence{{Ref: "/r/1"}}}}}}}}}
	r := Run([]Case{{}}, func(Case) flow.Trace { return tr })
	r.Cover(objects)
	var got []string
	for _, c := range r.Coverage {
		for _, m := range c.Missed {
			got = append(got, c.Kind.String()+m.Ref)
		}
	}
	if !reflect.DeepEqual(got, []string{"listener/l/0", "route/r/0"}) || r.Count(Met) != 1 {
		t.Errorf("missed %v", got)
	}
	if p, ok := r.Covered(); p != 60 || !ok {
		t.Errorf("covered %v %v, want 3 of 5", p, ok)
	}
	if p, ok := (Report{}).Covered(); p != 0 || ok {
		t.Errorf("nothing to cover: %v %v", p, ok)
	}
	// What is not met, or cannot be told, covers nothing.
	for status, c := range map[Status]Case{NotMet: {Want: Want{Verdict: []string{"dropped"}}}, Unknown: {Want: Want{Verdict: []string{"delivered"}}}} {
		tr.Verdict = flow.Unknown
		if status == NotMet {
			tr.Verdict = flow.Delivered
		}
		tr.Variants = nil
		r := Run([]Case{c}, func(Case) flow.Trace { return tr })
		r.Cover(objects)
		if p, ok := r.Covered(); r.Count(status) != 1 || p != 0 || !ok {
			t.Errorf("%v: covered %v %v, %+v", status, p, ok, r.Results)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(jsonl))
	f.Add([]byte(yamlCases))
	f.Fuzz(func(t *testing.T, in []byte) {
		cases, err := Parse(in)
		if (err == nil) != (len(cases) > 0) {
			t.Errorf("%d cases and %v", len(cases), err)
		}
		for _, c := range cases {
			Judge(c, flow.Trace{})
		}
	})
}

// Headers are wanted of both ends, by names in any case; null is one that must not be there.
func TestParseHeaders(t *testing.T) {
	cases, err := Parse([]byte(`{"request":{"dst":"10.0.0.1:80"},"want":{"caller":{"location":"/x","headers":{"X-A":"1"}},"upstream":{"path":["/a","/b"],"headers":{"X-B":null,"x-c":[1,"2"]}}}}`))
	want := Want{Caller: map[string][]string{"location": {"/x"}}, Answer: map[string][]string{"x-a": {"1"}},
		Upstream: map[string][]string{"path": {"/a", "/b"}}, UpstreamHeaders: map[string][]string{"x-b": nil, "x-c": {"1", "2"}}}
	want.Outcome = cases[0].Want.Outcome
	if err != nil || !reflect.DeepEqual(cases[0].Want, want) {
		t.Errorf("%+v, %v", cases[0].Want, err)
	}
}

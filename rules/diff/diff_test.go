package diff

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// path makes a leg of words: "STAGE SUBJECT", with "!" before it where the step refuses, and a
// rule's text behind a "|".
func path(steps ...string) flow.Leg {
	stages := map[string]flow.Stage{}
	for _, s := range flow.Stages() {
		stages[s.String()] = s
	}
	var l flow.Leg
	for _, s := range steps {
		s, text, _ := strings.Cut(s, "|")
		s, refused := strings.CutPrefix(s, "!")
		stage, subject, _ := strings.Cut(s, " ")
		st := flow.Step{Stage: stages[stage], Subject: subject, Verdict: flow.Continue}
		if refused {
			st.Verdict = flow.Refused
		}
		if text != "" {
			st.Evidence = []flow.Evidence{{Source: "iptables-save", Text: text}}
		}
		l.Steps = append(l.Steps, st)
	}
	return l
}

// words are rows in short: the kind, and the numbers on both sides.
func words(rows []Row) string {
	var out []string
	for _, r := range rows {
		out = append(out, map[Kind]string{Same: "=", Renumbered: "#", Unlike: "x", OnlyA: "<", OnlyB: ">"}[r.Kind]+string(rune('0'+r.A.N))+string(rune('0'+r.B.N)))
	}
	return strings.Join(out, " ")
}

func TestLegs(t *testing.T) {
	usual := path("socket s", "netfilter ip nat OUTPUT 2|[1:60] -A OUTPUT -j REDIRECT", "listener l", "http-filter lua", "http-filter router", "cluster c", "endpoint e")
	for _, c := range []struct {
		name string
		a, b []flow.Leg
		want string
	}{
		{"the same; counters are none of it", []flow.Leg{usual}, []flow.Leg{path("socket s", "netfilter ip nat OUTPUT 2|[9:540] -A OUTPUT -j REDIRECT", "listener l", "http-filter lua", "http-filter router", "cluster c", "endpoint e")}, "=11 =22 =33 =44 =55 =66 =77"},
		{"the same rule, one further down", []flow.Leg{path("netfilter ip nat OUTPUT 2|-A OUTPUT -j REDIRECT")}, []flow.Leg{path("netfilter ip nat OUTPUT 3|-A OUTPUT -j REDIRECT")}, "#11"},
		{"another rule of the chain", []flow.Leg{path("netfilter ip nat OUTPUT 2|-A OUTPUT -j REDIRECT")}, []flow.Leg{path("netfilter ip nat OUTPUT 3|-A OUTPUT -j RETURN")}, "x11"},
		{"the same number, another rule", []flow.Leg{path("netfilter ip nat OUTPUT 2|-A OUTPUT -j REDIRECT")}, []flow.Leg{path("netfilter ip nat OUTPUT 2|-A OUTPUT -j RETURN")}, "x11"},
		{"another chain is another step", []flow.Leg{path("netfilter ip nat OUTPUT 2")}, []flow.Leg{path("netfilter ip nat PREROUTING 2")}, "<10 >01"},
		{"a filter is there that was not", []flow.Leg{usual}, []flow.Leg{path("socket s", "netfilter ip nat OUTPUT 2|-A OUTPUT -j REDIRECT", "listener l", "http-filter rbac", "http-filter lua", "http-filter router", "cluster c", "endpoint e")}, "=11 =22 =33 >04 =45 =56 =67 =78"},
		{"one ends before", []flow.Leg{usual}, []flow.Leg{path("socket s", "netfilter ip nat OUTPUT 2|-A OUTPUT -j REDIRECT", "listener l", "http-filter lua", "http-filter router", "!cluster c")}, "=11 =22 =33 =44 =55 x66 <70"},
		{"a second connection is not the first's", []flow.Leg{path("socket s", "wire eth0"), path("socket s", "wire eth0")}, []flow.Leg{path("socket s"), path("socket s", "wire eth0")}, "=11 <20 =32 =43"},
		{"nothing", nil, nil, ""},
		{"one alone", []flow.Leg{path("socket s")}, nil, "<10"},
	} {
		if got := words(Legs(c.a, c.b)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		turn := strings.NewReplacer("<", ">", ">", "<")
		var back []string
		for _, w := range strings.Fields(c.want) {
			back = append(back, turn.Replace(w[:1])+w[2:]+w[1:2])
		}
		got, want := strings.Fields(words(Legs(c.b, c.a))), back
		if c.name == "another chain is another step" {
			continue // which of two that have no pair stands first is not said
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s, the other way: %s, want %s", c.name, got, want)
		}
	}
}

// Each part of a step that is another is named.
func TestAspects(t *testing.T) {
	base := flow.Step{Stage: flow.Route, Subject: "r", Verdict: flow.Continue, Reason: flow.Because(flow.WhyDomainsAre, "a")}
	for want, change := range map[Aspect]func(*flow.Step){
		AspectObject: func(s *flow.Step) { s.Subject = "r2" }, AspectVerdict: func(s *flow.Step) { s.Verdict = flow.Refused },
		AspectReason: func(s *flow.Step) { s.Reason.Args[0] = "b" }, AspectFacts: func(s *flow.Step) { s.Facts = []flow.Reason{base.Reason} },
		AspectAssumed: func(s *flow.Step) { s.Assumed = []flow.Assumption{{Flag: "--pick"}} }, AspectOrigin: func(s *flow.Step) { s.Origin = "o" },
	} {
		b := base
		change(&b)
		rows := Legs([]flow.Leg{{Steps: []flow.Step{base}}}, []flow.Leg{{Steps: []flow.Step{b}}})
		if len(rows) != 1 || rows[0].Kind != Unlike || len(rows[0].Aspects) != 1 || rows[0].Aspects[0] != want {
			t.Errorf("%s: %+v", want, rows)
		}
	}
	wire := path("wire eth0")
	other := wire
	other.To.Dst = netip.MustParseAddrPort("10.0.0.1:80")
	if rows := Legs([]flow.Leg{wire}, []flow.Leg{other}); rows[0].Kind != Unlike {
		t.Error("a wire to elsewhere is the same")
	}
}

// Traces that take the same steps may still be no same answer.
func TestWholes(t *testing.T) {
	base := flow.Trace{Verdict: flow.Delivered, Legs: []flow.Leg{path("socket s", "cluster c")}, Variants: []flow.Variant{{When: "a", Verdict: flow.Delivered}, {When: "b", Verdict: flow.Delivered}}}
	if d := Traces(base, base); !d.Alike() || d.Unsure() || d.First != -1 {
		t.Errorf("the same: %+v", d)
	}
	for want, change := range map[Aspect]func(*flow.Trace){
		AspectVerdict: func(t *flow.Trace) { t.Verdict = flow.Refused }, AspectOutcome: func(t *flow.Trace) { t.Outcome.Cluster = "c" },
		AspectCaller: func(t *flow.Trace) { t.Caller.Code = 503 }, AspectUpstream: func(t *flow.Trace) { t.Upstream = &flow.HTTP{} },
		AspectVariants: func(t *flow.Trace) {
			t.Variants = []flow.Variant{{When: "a", Verdict: flow.Delivered}, {When: "b", Verdict: flow.Refused}}
		},
		AspectIntent: func(t *flow.Trace) { t.Intent = []string{"iptables-save"} },
	} {
		b := base
		change(&b)
		if d := Traces(base, b); d.Alike() || d.First != -1 || len(d.Aspects) != 1 || d.Aspects[0] != want {
			t.Errorf("%s: %v", want, d.Aspects)
		}
	}
	unsure := base
	unsure.Verdict = flow.Unknown
	if d := Traces(unsure, unsure); !d.Alike() || !d.Unsure() {
		t.Error("two that are not known are alike for sure")
	}
}

// Another request begins otherwise: that is no parting, but what follows from it is.
func TestAnotherRequest(t *testing.T) {
	a := flow.Trace{Request: flow.Request{UID: 0}, Legs: []flow.Leg{path("socket uid 0", "netfilter ip nat OUTPUT 2", "listener l")}}
	b := flow.Trace{Request: flow.Request{UID: 1337}, Legs: []flow.Leg{path("socket uid 1337", "netfilter ip nat OUTPUT 1", "wire eth0")}}
	if d := Traces(a, b); !d.Request || d.First != 1 {
		t.Errorf("request %v, first %d, %s", d.Request, d.First, words(d.Rows))
	}
	b.Request = a.Request
	if d := Traces(a, b); d.Request || d.First != 0 {
		t.Errorf("request %v, first %d", d.Request, d.First)
	}
	b.Request.Pick = map[string]string{"a": "b"}
	if d := Traces(a, b); d.Request {
		t.Error("what is pinned is another request")
	}
}

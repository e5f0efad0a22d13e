package render

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// The rail names a step by its decision and says in a few words what it came to.
func TestRail(t *testing.T) {
	app := flow.Leg{Owner: flow.OwnerApp, To: flow.Conn{Dst: netip.MustParseAddrPort("10.0.0.1:80")}}
	proxy := flow.Leg{Owner: flow.OwnerProxy, From: flow.Conn{UID: 1337, Dst: netip.MustParseAddrPort("10.0.0.1:80")}}
	rule := func(text string) []flow.Evidence { return []flow.Evidence{{Text: text}} }
	for _, c := range []struct {
		leg                flow.Leg
		st                 flow.Step
		place, name, brief string
	}{
		{app, flow.Step{Stage: flow.Socket, Subject: "uid 0", Verdict: flow.Continue}, "app", "app socket", "uid 0"},
		{proxy, flow.Step{Stage: flow.Socket, Verdict: flow.Continue}, "envoy", "envoy dials", "uid 1337 to 10.0.0.1:80"},
		{flow.Leg{Owner: flow.OwnerPeer}, flow.Step{Stage: flow.Socket, Subject: "10.0.0.9:0", Verdict: flow.Continue}, "wire", "peer", "10.0.0.9"},
		{app, flow.Step{Stage: flow.Socket, Subject: "10.0.0.1:80", Verdict: flow.Refused}, "kernel", "no socket", "10.0.0.1:80"},
		{app, flow.Step{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2", Evidence: rule("[1:2] -A OUTPUT -p tcp -j REDIRECT --to-ports 15001")}, "kernel", "nat OUTPUT", "#2 REDIRECT :15001"},
		{app, flow.Step{Stage: flow.Netfilter, Subject: "legacy ip6 filter INPUT policy"}, "kernel", "legacy v6 filter INPUT", "policy"},
		{app, flow.Step{Stage: flow.Netfilter, Subject: "inet istio-proxy-nat output 3", Evidence: rule("-j DNAT --to-destination 1.2.3.4:5")}, "kernel", "istio-proxy-nat output", "#3 DNAT 1.2.3.4:5"},
		{app, flow.Step{Stage: flow.Handoff, Subject: "virtualOutbound", Reason: flow.Because(flow.WhyNoHandoff)}, "envoy", "handoff", "no listener fits"},
		{app, flow.Step{Stage: flow.FilterChain}, "envoy", "filter chain", "unnamed"},
		{app, flow.Step{Stage: flow.Route, Subject: "#0", Tests: []flow.Test{{Text: `prefix "/"`}, {Text: "header x present"}}}, "envoy", "route", `#0 prefix "/" and header x present`},
		{app, flow.Step{Stage: flow.HTTPFilter, Subject: "envoy.filters.http.lua"}, "envoy", "http filter", "lua"},
		{app, flow.Step{Stage: flow.Wire, Subject: "eth0"}, "wire", "wire eth0", "to 10.0.0.1:80"},
	} {
		if got := Place(c.leg, c.st); got != c.place {
			t.Errorf("%s %q: place %q, want %q", c.st.Stage, c.st.Subject, got, c.place)
		}
		if got := StepName(c.leg, c.st); got != c.name {
			t.Errorf("%s %q: name %q, want %q", c.st.Stage, c.st.Subject, got, c.name)
		}
		if got := StepBrief(c.leg, c.st); got != c.brief {
			t.Errorf("%s %q: brief %q, want %q", c.st.Stage, c.st.Subject, got, c.brief)
		}
	}
}

func TestPercent(t *testing.T) {
	for p, want := range map[float64]string{0: "0 %", 0.5: "50 %", 1: "100 %", 0.001: "0.1 %", 0.9995: "99.95 %"} {
		if got := Percent(p); got != want {
			t.Errorf("%v: %q, want %q", p, got, want)
		}
	}
}

type twoLosers struct{}

func (twoLosers) Explain(m flow.Miss) flow.Explained {
	return flow.Explained{Ref: "ip nat OUTPUT 1", Text: "[7:420] -A OUTPUT -m owner --uid-owner 1337 -j RETURN",
		Tests: []flow.Test{{Text: "--uid-owner 1337", Answer: flow.No, Reason: flow.Because(flow.WhyPacketUID, "--uid-owner 1337", "0")}}}
}

// Near misses are always listed, others up to a few, and what was left out is counted.
func TestCandidates(t *testing.T) {
	st := flow.Step{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 30", Verdict: flow.Continue, Explain: twoLosers{}, PassedTotal: 29,
		Evidence: []flow.Evidence{{Text: "-A OUTPUT -j REDIRECT"}}}
	for i := range 29 {
		st.Passed = append(st.Passed, flow.Miss{Index: int32(i), Near: i == 28})
	}
	list, more := Candidates(st, false)
	if len(list) != 10 || more != 20 {
		t.Fatalf("%d listed, %d more", len(list), more)
	}
	l, w := list[0], list[9]
	if l.Num != "1" || l.Packets != "7" || l.Text != "-m owner --uid-owner 1337 -j RETURN" || strings.HasPrefix(l.Tests[0].Why, l.Tests[0].Text) {
		t.Errorf("loser %+v", l)
	}
	if !w.Won || w.Num != "30" || w.Text != "-j REDIRECT" || !list[8].Near {
		t.Errorf("winner %+v", w)
	}
	if list, more = Candidates(st, true); len(list) != 30 || more != 0 {
		t.Errorf("all: %d listed, %d more", len(list), more)
	}
	// A stop that chose nothing has no winner.
	if list, _ := Candidates(flow.Step{Stage: flow.FilterChain, Verdict: flow.Refused}, false); len(list) != 0 {
		t.Errorf("a winner of nothing: %+v", list)
	}
}

// The command that screens show makes the request that they show.
func TestCommandAndCurl(t *testing.T) {
	for _, c := range []struct{ json, command, curl string }{
		{`{"dst":"10.0.0.1:80","http":{"authority":"10.0.0.1","path":"/"}}`, "meshtop trace demo mesh --to 10.0.0.1:80", "curl -sS http://10.0.0.1/"},
		{`{"direction":"inbound","src":"10.0.0.9:0","dst":"10.0.0.1:8080","http":{"method":"POST","authority":"app.x","path":"/a b","headers":[["version","v2"]]}}`,
			"meshtop trace demo mesh --inbound --to 10.0.0.1:8080 --src 10.0.0.9 -X POST --authority app.x --path '/a b' -H 'version: v2'",
			"curl -sS -X POST -H 'version: v2' --connect-to ::10.0.0.1:8080 'http://app.x/a b'"},
		{`{"dst":"10.0.0.1:8080","http":{"authority":"10.0.0.1:8080","path":"/"}}`, "meshtop trace demo mesh --to 10.0.0.1:8080", "curl -sS http://10.0.0.1:8080/"},
		{`{"dst":"[fd00::1]:8080","http":{"authority":"[fd00::1]","path":"/"}}`, "meshtop trace demo mesh --to '[fd00::1]:8080' --authority '[fd00::1]'", "curl -sS --connect-to '::[fd00::1]:8080' 'http://[fd00::1]/'"},
		{`{"dst":"[fd00::1]:53","proto":"udp","uid":1000,"mark":7}`, "meshtop trace demo mesh --to '[fd00::1]:53' --uid 1000 --mark 7 --proto udp", ""},
		{`{"dst":"10.0.0.1:443","tls":{"sni":"a.b","alpn":["h2","http/1.1"]}}`, "meshtop trace demo mesh --to 10.0.0.1:443 --raw --tls --sni a.b --alpn h2,http/1.1", ""},
		{`{"dst":"10.0.0.1:80","pick":{"random":"0.3"},"http":{"authority":"10.0.0.1","path":"/","version":"2"}}`, "meshtop trace demo mesh --to 10.0.0.1:80 --alpn h2c --pick random=0.3", "curl -sS http://10.0.0.1/"},
	} {
		r, err := request.Parse([]byte(c.json))
		if err != nil {
			t.Fatal(err)
		}
		if got := Command("demo mesh", r); got != c.command {
			t.Errorf("got  %s\nwant %s", got, c.command)
		}
		if got := Curl(r); got != c.curl {
			t.Errorf("got  %s\nwant %s", got, c.curl)
		}
	}
}

// What Curl writes, request.Curl reads back to the same place.
func TestCurlRoundTrip(t *testing.T) {
	for _, doc := range []string{
		`{"dst":"10.0.0.1:8080","http":{"authority":"app.x","path":"/p","headers":[["version","it's v2"]]}}`,
		`{"dst":"[fd00::1]:8080","http":{"authority":"[fd00::1]","path":"/"}}`,
		`{"dst":"10.0.0.1:80","http":{"authority":"10.0.0.1","path":"/"}}`,
	} {
		r, err := request.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		d, err := request.Curl(Curl(r))
		if err != nil {
			t.Fatalf("%s: %v", Curl(r), err)
		}
		if d.Host != "" || d.Request.Dst != r.Dst || d.Request.HTTP.Authority != r.HTTP.Authority || d.Request.HTTP.Path != r.HTTP.Path {
			t.Errorf("%s leads to %q %v %+v", Curl(r), d.Host, d.Request.Dst, d.Request.HTTP)
		}
	}
}

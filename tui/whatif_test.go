package tui

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// A change is made of the one test that failed, and of nothing that has no one value.
func TestWhatIf(t *testing.T) {
	base := func() flow.Request {
		return flow.Request{Dst: addr("10.0.0.1:80"), Proto: flow.TCP, HTTP: &flow.HTTP{Authority: "a", Path: "/", Headers: [][2]string{{"Version", "v1"}}}}
	}
	failed := func(kind flow.ReasonKind, text string) flow.Explained {
		return flow.Explained{Reason: flow.Because(kind, text, "x"), Tests: []flow.Test{{Text: text, Answer: flow.No, Reason: flow.Because(kind, text, "x")}}}
	}
	for _, c := range []struct {
		e    flow.Explained
		what string // empty: nothing to change
		line string
	}{
		{failed(flow.WhyPacketUID, "-m owner --uid-owner 1337"), "uid 1337", "GET http://a/ · to 10.0.0.1:80 · Version: v1 · uid 1337"},
		{failed(flow.WhyPacketUID, "-m owner ! --uid-owner 1337"), "", ""},
		{failed(flow.WhyPacketUID, "-m owner --uid-owner 1000-2000"), "uid 1000", ""},
		{failed(flow.WhyPacketDport, "--dport 443"), "to port 443", ""},
		{failed(flow.WhyPacketDport, "-m multiport --dports 8080,9090"), "to port 8080", ""},
		{failed(flow.WhyPacketDst, "-d 172.16.0.0/12"), "to 172.16.0.1", ""},
		{failed(flow.WhyPacketProto, "-p udp"), "over udp", "UDP 10.0.0.1:80 · uid 0"},
		{failed(flow.WhyPacketMark, "--mark 0x539/0xfff"), "mark 0x539", ""},
		{failed(flow.WhyPacketIn, "-i eth0"), "", ""},
		{failed(flow.WhyHeaderIs, `header version exact "v2"`), "version: v2", "GET http://a/ · to 10.0.0.1:80 · Version: v2 · uid 0"},
		{failed(flow.WhyHeaderIs, `header version exact "v2" inverted`), "", ""},
		{failed(flow.WhyHeaderIs, `header version absent`), "without version", "GET http://a/ · to 10.0.0.1:80 · uid 0"},
		{failed(flow.WhyHeaderIs, `header :method exact "POST"`), "method POST", ""},
		{failed(flow.WhyPathIs, `prefix "/admin"`), "path /admin", ""},
		{failed(flow.WhyPathIs, `safe_regex "/a.*"`), "", ""},
		{flow.Explained{Reason: flow.Because(flow.WhyDomainsAre, "b.example, *")}, "host b.example", ""},
		{flow.Explained{Reason: flow.Because(flow.WhyDomainsAre, "*")}, "", ""},
		{flow.Explained{Reason: flow.Because(flow.WhyChainField, "server_names", "*.x,y", "")}, "SNI any.x", ""},
		{flow.Explained{Reason: flow.Because(flow.WhyChainField, "application_protocols", "istio-h2", "h2")}, "ALPN istio-h2", ""},
		{flow.Explained{Reason: flow.Because(flow.WhyChainField, "destination_port", "8080", "80")}, "to port 8080", ""},
	} {
		r := base()
		what, ok := alter(&r, c.e)
		if ok != (c.what != "") || what != c.what {
			t.Errorf("%v: %q %v, want %q", c.e.Reason, what, ok, c.what)
		}
		if got := render.RequestLine(r); c.line != "" && got != c.line {
			t.Errorf("%s: %q, want %q", c.what, got, c.line)
		}
	}
}

// Key i on the rule that only the proxy's uid would match traces as the proxy's uid, and
// the selection stays.
func TestWhatIfOnScreen(t *testing.T) {
	d := drive(t, sceneOptions(t, "mesh"), 80, 24)
	d.keys("s", "i")
	if got := d.m.s.trace.Request.UID; got != 1337 {
		t.Fatalf("uid %d\n%s", got, d.frame())
	}
	_, st, _ := d.m.trace.step(&d.m.s)
	if st.Subject != "ip nat OUTPUT 1" {
		t.Errorf("step %q is selected", st.Subject)
	}
}

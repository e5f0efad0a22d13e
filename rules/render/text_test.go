package render

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// However foreign and long the strings, text is clean and fits its width.
func TestTextIsCleanAndFits(t *testing.T) {
	tr := sample()
	tr.Legs[0].Steps = append(tr.Legs[0].Steps, flow.Step{Stage: flow.Route, Verdict: flow.Unknown,
		Evidence: []flow.Evidence{{Text: strings.Repeat("漢字 ", 900)}, {Text: strings.Repeat("x\n", 40)}, {Text: strings.Repeat("y", 700)}}})
	for _, why := range []bool{false, true} {
		out := Text(tr, TextOptions{Snapshot: hostile, Why: why})
		noneHidden(t, []byte(out))
		for _, line := range strings.Split(out, "\n") {
			if width(line) > TextWidth || strings.HasSuffix(line, " ") {
				t.Errorf("why %v: a line of %d columns: %q", why, width(line), line)
			}
		}
		if n := strings.Count(out, "near miss"); n != map[bool]int{false: nearShown, true: 10}[why] {
			t.Errorf("why %v: %d near misses", why, n)
		}
	}
	noneHidden(t, []byte(Short(tr)))
	if s := Short(tr); strings.Count(s, "\n") != 1 || !strings.HasSuffix(s, "\n") {
		t.Errorf("short is not one line: %q", s)
	}
}

// The verdict stands first and last, whatever it is.
func TestTextVerdicts(t *testing.T) {
	step := func(v flow.Verdict) []flow.Leg {
		return []flow.Leg{{Steps: []flow.Step{{Verdict: v, Reason: flow.Because(flow.WhyNothingListens, "10.0.0.1:80")}}}}
	}
	for _, c := range []struct {
		t    flow.Trace
		want string
	}{
		{flow.Trace{Verdict: flow.Delivered, Outcome: flow.Outcome{Endpoint: "10.0.0.1:80", Cluster: "c"}, Caller: flow.Symptom{Code: 200, TCP: flow.TCPOK}},
			"DELIVERED to 10.0.0.1:80 by cluster c"},
		{flow.Trace{Verdict: flow.Delivered, Outcome: flow.Outcome{Listener: "l"}, Caller: flow.Symptom{Code: 301}}, "DELIVERED: the proxy itself answers 301"},
		{flow.Trace{Verdict: flow.Refused, Legs: step(flow.Refused)}, "REFUSED: nothing listens at 10.0.0.1:80: the kernel answers with a reset"},
		{flow.Trace{Verdict: flow.Unknown, Legs: step(flow.Unknown)}, "UNKNOWN: nothing listens at 10.0.0.1:80: the kernel answers with a reset"},
		{flow.Trace{Verdict: flow.Unknown}, "UNKNOWN: neither rules nor Envoy's configuration were read"},
		{flow.Trace{Verdict: flow.Depends, Variants: []flow.Variant{{When: "bucket empty"}, {}}}, "DEPENDS: 2 ways, depending on: bucket empty"},
		{flow.Trace{Verdict: flow.Depends, Cut: true, Variants: make([]flow.Variant, 3)}, "DEPENDS: more than 3 ways, and chance decides"},
	} {
		lines := strings.Split(strings.TrimSpace(Text(c.t, TextOptions{})), "\n")
		if want := "verdict   " + c.want; lines[0] != want || lines[len(lines)-1] != want {
			t.Errorf("first %q, last %q, want %q", lines[0], lines[len(lines)-1], want)
		}
	}
}

// Every stage, TCP end and verdict has a word.
func TestWordsOfText(t *testing.T) {
	for _, s := range flow.Stages() {
		if w := StageWord(s); w == "" || strings.Contains(w, "-") && s != flow.Handoff {
			t.Errorf("stage %v: %q", s, w)
		}
	}
	for e := flow.TCPOK; e <= flow.TCPResetOrClosed; e++ {
		if tcpEnd(e) == "" {
			t.Errorf("TCP end %v has no words", e)
		}
	}
	redirect := flow.Step{Stage: flow.Netfilter, Verdict: flow.Continue, Evidence: []flow.Evidence{{Text: "-A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}}}
	for want, s := range map[string]flow.Step{
		"redirected": redirect, "ok": {Stage: flow.Netfilter, Verdict: flow.Continue}, "handed over": {Stage: flow.Handoff, Verdict: flow.Continue},
		"depends": {Verdict: flow.Continue, Assumed: []flow.Assumption{{Flag: "--pick random=0.5"}}}, "refused": {Verdict: flow.Refused},
	} {
		if got := Mark(s); got != want {
			t.Errorf("mark %q, want %q", got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"random=0.3": "random=0.3", "ip nat OUTPUT 3=match": "'ip nat OUTPUT 3=match'", "a'b": `'a'\''b'`, "": "''"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q is quoted as %s, want %s", in, got, want)
		}
	}
}

// A loser is called by its name, and says what it wanted and what it got; a rule of the
// kernel is its reference.
func TestLoser(t *testing.T) {
	path := flow.Because(flow.WhyPathIs, "/car")
	for _, c := range []struct {
		e    flow.Explained
		want string
	}{
		{flow.Explained{Ref: "/configs/0", Kind: flow.Route, Name: "cart", Of: "shop", Wanted: `prefix "/cart"`, Reason: path}, `route cart of virtual host shop: prefix "/cart" is wanted, the path is /car`},
		{flow.Explained{Ref: "/configs/0", Kind: flow.Route, Name: "#3", Reason: path}, "route #3: the path is /car"},
		{flow.Explained{Ref: "/configs/0", Kind: flow.Listener}, "listener without a name"},
		{flow.Explained{Ref: "ip nat OUTPUT 1", Reason: flow.Because(flow.WhyPacketUID, "--uid-owner 1337", "0")}, "ip nat OUTPUT 1: --uid-owner 1337: the request's uid is 0"},
		{flow.Explained{Kind: flow.Route, Name: "a\x1b", Of: "b\x1b", Wanted: "c\x1b"}, `route a\x1b of virtual host b\x1b: c\x1b is wanted, `},
	} {
		if got := Loser(c.e); got != c.want {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
}

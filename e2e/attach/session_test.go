package attach

import (
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/rules/flow"
)

// paste is what a terminal sends for pasted text (xterm's bracketed paste).
func paste(s string) string { return "\x1b[200~" + s + "\x1b[201~" }

// A whole session of somebody who types faster than the pod answers: trace, step, what-if, a
// form filled by hand, confirm, policy, undo, quit. What belongs together is typed in one
// burst, and every key is acted on in its order.
func TestSession(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	before := state(t, l)
	p := sit(t, "attach", "netns", l.Pod(), "--allow-policy")
	p.Sees("▸ Overview", "OUTPUT #2 ─REDIRECT─▶ :15001")

	// The trace is made while the keys that step through it are here already.
	p.Types("e" + paste("curl http://10.107.42.16/burst") + "\x12" + strings.Repeat("j", 95) + strings.Repeat("k", 95) + strings.Repeat("j", 7) + "kkk")
	p.Sees("▸ Trace", "GET http://10.107.42.16/burst", "✓ DELIVERED", "evidence · step 5 ")

	p.steps()
	p.confirms()
	p.changes(l)
	p.leaves()
	if after := state(t, l); after != before {
		t.Errorf("the pod changed: it was\n%s\nand is\n%s", before, after)
	}
}

// steps asks what if, looks at the raw configuration, and fills the form by hand.
func (p seat) steps() {
	p.Helper()
	p.Types("gjji") // the rule that lets Envoy's own connections out
	p.Sees("what if: uid "+strconv.Itoa(lab.EnvoyUID), "OUTPUT   #1 RETURN")
	p.Types("ji") // no input decides there, and nothing is asked of the pod
	p.Sees("no near miss")
	p.Types("ky/REDIRECT\rn")
	p.Sees("▸ Config", "-j REDIRECT", `"REDIRECT"`)
	p.Types("3e" + strings.Repeat("\t", 4) + "\x15/typed/by/hand?in=one&burst=1" + strings.Repeat("\t", 6) + "\x15" + strconv.Itoa(lab.AppUID) + "\x12gjj")
	p.Sees("▸ Trace", "GET http://10.107.42.16/typed/by/hand?in=one&burst=1", "✓ DELIVERED", "evidence · step 3 nat OUTPUT", "OUTPUT   #2 REDIRECT")
}

// confirms sends the request and sees it arrive as predicted.
func (p seat) confirms() {
	p.Helper()
	p.Types("wsy")
	p.Sees("▸ Confirm", "as predicted", "ended")
	p.Types("3")
	p.Sees("▸ Trace")
}

// changes blocks the pod's egress and takes that back.
func (p seat) changes(l *lab.Lab) {
	p.Helper()
	req := request(p.T, l)
	p.Types("p")
	p.Sees("would be refused", "Type y to apply")
	p.Types("\r" + l.Pod() + "\r")
	p.Sees("APPLIED: read back and proven")
	answers(p.T, l, req, flow.TCPRefused)
	p.Types("\r")
	p.Sees("BLOCK-ALL EGRESS in force", "✗ REFUSED") // else what is seen at the end might never have gone
	p.Types("u")
	p.Sees("Take back the egress policy")
	p.Types("y")
	p.Sees("has ended: nothing of it is left", "✓ DELIVERED")
	answers(p.T, l, req, flow.TCPOK)
}

package attach

import (
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/rules/flow"
)

// An incident on the screens: a pod is blocked, a real connection is refused, the trace says
// so, it is taken back, and the pod is as it was.
func TestPolicyOnScreens(t *testing.T) {
	l := lab.New(t, lab.Options{Scene: "mesh"})
	before := state(t, l)
	req := request(t, l)
	answers(t, l, req, flow.TCPOK)

	p := sit(t, "attach", "netns", l.Pod(), "--allow-policy", "--to", "10.107.42.16:80", "--uid", "1000")
	p.Sees("▸ Trace", "✓ DELIVERED", "RW")
	p.Types("p")
	p.Sees("Change egress policy of netns "+l.Pod(), "(•) BLOCK-ALL", "would be refused", "Type y to apply")
	p.Types("\r")
	p.Types("nobody\r")
	p.Sees("type y to apply")
	answers(t, l, req, flow.TCPOK)
	p.Types("\x15" + l.Pod() + "\r") // ctrl+u
	p.Sees("APPLIED: read back and proven", "probe 192.0.2.1:9")
	answers(t, l, req, flow.TCPRefused)
	p.Types("\r")
	p.Sees("⚠ BLOCK-ALL EGRESS in force", "✗ REFUSED")
	p.Types("+")
	p.Sees("extended by 10m")
	p.Types("u")
	p.Sees("Take back the egress policy")
	p.Types("y")
	p.Sees("has ended: nothing of it is left", "✓ DELIVERED")
	answers(t, l, req, flow.TCPOK)
	p.leaves()
	if after := state(t, l); after != before {
		t.Errorf("the pod changed: it was\n%s\nand is\n%s", before, after)
	}
}

// request is one of an app to a service.
func request(t *testing.T, l *lab.Lab) flow.Request {
	t.Helper()
	for _, c := range l.Scene.Cases {
		if ok(c) {
			return c.Request
		}
	}
	t.Fatal("the scene sends nothing to 10.107.42.16:80")
	return flow.Request{}
}

func ok(c scenes.Case) bool {
	return c.Request.Dir == flow.Outbound && c.Request.UID != lab.EnvoyUID && c.Request.HTTP != nil && c.Request.Dst.String() == "10.107.42.16:80"
}

// answers sends the request, and wants its connection to fare so.
func answers(t *testing.T, l *lab.Lab, r flow.Request, want flow.TCPEnd) {
	t.Helper()
	a, err := l.Send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if a.Symptom.TCP != want {
		t.Errorf("the connection: %v, want %v", a.Symptom.TCP, want)
	}
}

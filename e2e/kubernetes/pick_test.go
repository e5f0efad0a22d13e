package kubernetes

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

func (c client) pick(t *testing.T) {
	t.Run("policies", c.pickSeesPolicies)
	t.Run("session", c.session)
}

// session: from the list of pods to its end, with no word but what the program says: a pod is
// chosen, a request traced, the pod blocked and opened again, and each is what the pod itself
// finds.
func (c client) session(t *testing.T) {
	p := c.sit(t, "--allow-policy")
	p.Sees("choose a pod")
	p.Types(":ns scene-mesh\r")
	p.Sees("namespace scene-mesh", "outpod-mesh")
	p.Types("/outpod\r\r")
	p.Sees("▸ Overview", "pod outpod-mesh.scene-mesh", "OUTPUT #1")
	p.Types("e\x1b[200~curl http://10.107.42.16/\x1b[201~\x12")
	p.Sees("▸ Trace", "GET http://10.107.42.16/", "✓ DELIVERED to 10.107.42.16:80")
	p.Types("p")
	p.Sees("(•) BLOCK-ALL", "would be refused", "Type y to apply")
	p.Types("\ry\r")
	p.Sees("APPLIED: read back and proven")
	if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "(7)") {
		t.Errorf("the pod is blocked, and the real answer is\n%s", got)
	}
	p.Types("\r")
	p.Sees("BLOCK-ALL EGRESS in force", "✗ REFUSED")
	p.Types("u")
	p.Sees("Take back the egress policy")
	p.Types("y")
	p.Sees("has ended: nothing of it is left", "✓ DELIVERED to 10.107.42.16:80")
	if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "200 OK") {
		t.Errorf("the policy was taken back, and the real answer is\n%s", got)
	}
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

// pickSeesPolicies: with no word at all the pods of the cluster are listed, and the chosen one is
// attached to, in whichever namespace it is. What somebody has put into force stands beside it.
func (c client) pickSeesPolicies(t *testing.T) {
	mesh := []string{"pod", "outpod-mesh", "-n", "scene-mesh"}
	c.meshtop(t, 0, words([]string{"policy", "block-all", "--yes", "--ttl", "9m", "--reason", "INC-4711"}, mesh)...)
	defer c.meshtop(t, 0, words([]string{"policy", "restore", "--yes"}, mesh)...)
	program, err := screen.Start(screen.Options{W: 100, H: 30}, c.bin)
	p := person.At(t, program, err)
	p.Sees("choose a pod", "namespace default", "there is no pod here")
	p.Types("n")
	p.Sees("Choose a namespace")
	p.Types("scene-mesh\r")
	p.Sees("namespace scene-mesh", "outpod-mesh", "Running", "envoy", "BLOCKED 8 m", "its Lease tells of block-all until", "kubernetes-admin", "INC-4711")
	p.Types("/outpod\r\r")
	p.Sees("▸ Overview", "pod outpod-mesh.scene-mesh", "OUTPUT #1", "BLOCK-ALL EGRESS in force", "kubernetes-admin")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

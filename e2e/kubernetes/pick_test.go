package kubernetes

import (
	"testing"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// pick: with no word at all the pods of the cluster are listed, and the chosen one is attached
// to, in whichever namespace it is. What somebody has put into force stands beside it.
func (c client) pick(t *testing.T) {
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

package kubernetes

import (
	"testing"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// pick: with no word at all the pods of the cluster are listed, and the chosen one is attached
// to, in whichever namespace it is.
func (c client) pick(t *testing.T) {
	program, err := screen.Start(screen.Options{W: 100, H: 30}, c.bin)
	p := person.At(t, program, err)
	p.Sees("choose a pod", "namespace default", "there is no pod here")
	p.Types("n")
	p.Sees("Choose a namespace")
	p.Types("scene-mesh\r")
	p.Sees("namespace scene-mesh", "outpod-mesh", "Running", "envoy")
	p.Types("/outpod\r\r")
	p.Sees("▸ Overview", "pod outpod-mesh.scene-mesh", "REDIRECT")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
}

package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
)

// via is the way to a pod: --via.
type via string

const (
	viaBest    via = ""        // the first of the others, node apart, that is allowed
	viaAgent   via = "agent"   // an ephemeral container beside it
	viaNode    via = "node"    // a privileged pod on its node
	viaExec    via = "exec"    // what the images of its containers hold
	viaForward via = "forward" // Envoy's admin interface by a port-forward
	viaIntent  via = "intent"  // what its object says that it was to be
)

var vias = []via{viaAgent, viaNode, viaExec, viaForward, viaIntent}

// String is the flag's value.
func (v *via) String() string { return string(*v) }

// Set takes one of the ways.
func (v *via) Set(s string) error {
	if !slices.Contains(vias, via(s)) {
		var all []string
		for _, w := range vias {
			all = append(all, string(w))
		}
		return fmt.Errorf("want %s", strings.Join(all, ", "))
	}
	*v = via(s)
	return nil
}

// Type is the word for it in a flag's usage.
func (v *via) Type() string { return "way" }

// open finds the pod that a kind and a name mean, and opens it by the way that was asked for.
func (c *cluster) open(ctx context.Context, kind, name string) (inspect.Pod, error) {
	c.say("looking for "+kind+" "+name, false)
	o, err := c.find(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	if err := runs(o); err != nil {
		return nil, err
	}
	switch c.via {
	case viaBest, viaAgent:
		p, err := c.attach(ctx, o)
		if err != nil {
			return nil, err // not p: no pod is not a nil one
		}
		return p, nil
	}
	return nil, fmt.Errorf("--via %s: this build does not have that way", c.via)
}

package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// Set takes one of the ways; empty: by itself.
func (v *via) Set(s string) error {
	if s != "" && !slices.Contains(vias, via(s)) {
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
	if c.via == viaIntent { // what it was to be, whether it runs or not
		return c.intended(o), nil
	}
	if err := runs(o); err != nil {
		return nil, err
	}
	switch c.via {
	case viaBest:
		return c.best(ctx, o)
	case viaExec:
		return c.executed(o), nil
	case viaForward:
		return c.forwarded(o), nil
	}
	p, err := c.attach(ctx, o)
	if err != nil {
		return nil, c.waysOn(ctx, o, err)
	}
	return p, nil
}

// best opens the pod by the agent, and where that is not allowed by the next best way that is.
func (c *cluster) best(ctx context.Context, o *v1.Pod) (inspect.Pod, error) {
	err := c.barred(ctx, o)
	if err == nil {
		p, failed := c.attach(ctx, o)
		if failed == nil {
			return p, nil
		}
		err = failed
	}
	if !strings.Contains(err.Error(), "forbidden") || strings.Contains(err.Error(), podSecurity) {
		return nil, c.waysOn(ctx, o, err)
	}
	p := c.intended(o)
	switch may := c.allowed(ctx, o); {
	case may["pods/exec"]:
		p = c.executed(o)
	case may["pods/portforward"]:
		p = c.forwarded(o)
	}
	c.say(fmt.Sprintf("pod %s: the agent cannot be used: %v; going on %s, which brings %s%s", o.Name, err, p.way, p.brings, p.advice()), true)
	return p, nil
}

// podSecurity is how the API server words what a namespace's pod security does not admit.
const podSecurity = "violates PodSecurity"

// barred says why an agent may not be put beside the pod. It is asked before one is, since an
// ephemeral container cannot be taken away again, and without exec it is good for nothing.
func (c *cluster) barred(ctx context.Context, o *v1.Pod) error {
	if ours(o, c.forms(o)) != nil {
		return nil
	}
	may := c.allowed(ctx, o)
	var no []string
	for _, object := range []string{"pods/ephemeralcontainers", "pods/exec"} {
		if !may[object] {
			no = append(no, object)
		}
	}
	if len(no) == 0 {
		return nil
	}
	return fmt.Errorf("%s of it is forbidden to this account", strings.Join(no, " and "))
}

// allowed says of each subresource of the pod whether the account may use it. Where that cannot
// be asked it counts as allowed: trying will tell.
func (c *cluster) allowed(ctx context.Context, o *v1.Pod) map[string]bool {
	var list []flow.Right
	for _, r := range needed() {
		if strings.HasPrefix(r.Object, "pods/") {
			list = append(list, r)
		}
	}
	err := each(list, func(r *flow.Right) error { return c.may(ctx, o.Namespace, o.Name, r) })
	may := map[string]bool{}
	for _, r := range list {
		// Exec and port-forward by SPDY need create alone; get is for WebSocket.
		n := len(r.Verbs) - 1
		may[r.Object] = err != nil || r.Verbs[n].Allowed
	}
	return may
}

// waysOn adds to a right that is missing, and to an agent that does not start, what can be done
// all the same.
func (c *cluster) waysOn(ctx context.Context, o *v1.Pod, err error) error {
	refused := apierrors.IsForbidden(err) || strings.Contains(err.Error(), "forbidden")
	var unstarted *unstarted
	if !refused && !errors.As(err, &unstarted) {
		return err
	}
	var ways []inspect.WayOn
	if unstarted != nil {
		ways = starting()
	}
	may := c.allowed(ctx, o)
	if strings.Contains(err.Error(), podSecurity) {
		ways = append(ways, way("an agent in a pod on its node, in a namespace that admits it (--node-namespace)", "via", "node"))
	}
	if may["pods/exec"] {
		ways = append(ways, way("what the images of its containers can read", "via", "exec"))
	}
	if may["pods/portforward"] {
		ways = append(ways, way("Envoy's half by a port-forward to its admin interface", "via", "forward"))
	}
	ways = append(ways, way("the rules and the configuration as its object and ConfigMaps have them", "via", "intent"),
		inspect.WayOn{Command: "meshtop can-i pod " + o.Name + " -n " + o.Namespace, Text: "which role to ask for"},
		way("the rules that somebody else has read", "iptables", ""), way("the configuration that somebody else has read", "config-dump", ""))
	return &stuck{err, ways}
}

// way is a way on by one flag.
func way(text, flag, value string) inspect.WayOn {
	return inspect.WayOn{Text: text, Flags: []inspect.Flag{{Name: flag, Value: value}}}
}

// starting are the ways on where an agent does not start: mostly its image cannot be pulled.
func starting() []inspect.WayOn {
	return []inspect.WayOn{
		way("the agent's image by another name, or from another registry", "image", ""),
		way("send the agent into an image that the pod already uses", "deliver", "beside"),
	}
}

// Waiting are the ways on while an agent starts.
func Waiting() []inspect.WayOn {
	return append(starting(), way("what the images of its containers can read, without an agent", "via", "exec"),
		way("Envoy's half alone, by a port-forward", "via", "forward"),
		way("the rules and the configuration as its object and ConfigMaps have them", "via", "intent"))
}

// unstarted says that a container was put somewhere and does not start.
type unstarted struct{ error }

// Unwrap is the error.
func (u *unstarted) Unwrap() error { return u.error }

// stuck is an error with the ways on.
type stuck struct {
	error
	ways []inspect.WayOn
}

var _ inspect.Stuck = (*stuck)(nil)

// Unwrap is the error.
func (s *stuck) Unwrap() error { return s.error }

// WaysOn are what can be done all the same.
func (s *stuck) WaysOn() []inspect.WayOn { return s.ways }

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
)

// Pod is a pod of a cluster, seen by the agent beside it. Where the stream to that has ended
// (an API server that was restarted, a laptop that slept), the next question opens another.
type Pod struct {
	cluster *cluster
	object  *v1.Pod // as it was when it was opened

	mu     sync.Mutex
	agents []*agent.Pod // the last is in use; what was read of the others is too
	closed bool
}

var (
	_ inspect.Pod      = (*Pod)(nil)
	_ inspect.Resolver = (*Pod)(nil)
	_ inspect.Enforcer = (*Pod)(nil)
)

// attach opens the pod by the agent beside it.
func (c *cluster) attach(ctx context.Context, o *v1.Pod) (*Pod, error) {
	p := &Pod{cluster: c, object: o}
	a, err := p.reach(ctx, o)
	if err != nil {
		return nil, err
	}
	p.agents = append(p.agents, a)
	return p, nil
}

// reach speaks to the agent beside the pod, which it puts there if none runs.
func (p *Pod) reach(ctx context.Context, o *v1.Pod) (*agent.Pod, error) {
	c := p.cluster
	name := running(o, c.image)
	if name == "" {
		var err error
		if name, err = c.put(ctx, o); err != nil {
			return nil, err
		}
	}
	c.say(fmt.Sprintf("pod %s: greeting the agent in %s", o.Name, name), false)
	s, err := c.exec(o, name, agentArgs("serve", o))
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	return agent.Dial(within, s, agent.DialOptions{Name: p.Name(), Ended: s.ended})
}

// live is the agent in use, or a new stream to it.
func (p *Pod) live(ctx context.Context) (*agent.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("%s: it was closed", p.Name())
	}
	last := p.agents[len(p.agents)-1]
	select {
	case <-last.Done():
	default:
		return last, nil
	}
	o, err := p.again(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: the stream to the agent has ended, and another cannot be opened: %w", p.Name(), worded(err))
	}
	a, err := p.reach(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: the stream to the agent has ended, and another cannot be opened: %w", p.Name(), worded(err))
	}
	p.agents = append(p.agents, a)
	return a, nil
}

// again is the pod as it is now, if it still is that pod and runs.
func (p *Pod) again(ctx context.Context) (*v1.Pod, error) {
	o, err := p.cluster.api.pod(ctx, p.object.Namespace, p.object.Name)
	if err != nil {
		return nil, err
	}
	if o.UID != p.object.UID {
		return nil, errors.New("the pod was replaced by another of its name")
	}
	return o, runs(o)
}

// Name is the pod with its namespace.
func (p *Pod) Name() string { return "pod " + p.object.Name + "." + p.object.Namespace }

// objectPart is the pod's object in a snapshot.
const objectPart = "pod.json"

// Read brings the agent's parts, and the pod's object.
func (p *Pod) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	a, err := p.live(ctx)
	if err != nil {
		return inspect.Snapshot{}, err
	}
	s, err := a.Read(ctx, want)
	if err != nil {
		return s, err
	}
	whole := len(want.Parts) == 0 && len(want.Needs) == 0
	if !whole && !slices.Contains(want.Parts, objectPart) {
		return s, nil
	}
	start := time.Now()
	raw, err := p.json(ctx)
	call := inspect.Call{What: "GET pod " + p.object.Name, Start: start, Took: time.Since(start), Bytes: int64(len(raw))}
	if err != nil {
		call.Err = err.Error()
		s.Gaps = append(s.Gaps, flow.Gap{Part: objectPart, Reason: err.Error()})
	} else {
		s.Files[objectPart] = raw
	}
	s.Calls = append(s.Calls, call)
	return s, ctx.Err()
}

// json is the pod's object without what only the API server needs.
func (p *Pod) json(ctx context.Context) ([]byte, error) {
	o, err := p.cluster.api.pod(ctx, p.object.Namespace, p.object.Name)
	if err != nil {
		return nil, err
	}
	o.APIVersion, o.Kind, o.ManagedFields = "v1", "Pod", nil
	return json.MarshalIndent(o, "", " ")
}

// Observe watches the legs' traffic.
func (p *Pod) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	a, err := p.live(ctx)
	if err != nil {
		return nil, err
	}
	return a.Observe(ctx, legs, opt)
}

// Send makes one real request from inside.
func (p *Pod) Send(ctx context.Context, r flow.Request) (inspect.Sent, error) {
	a, err := p.live(ctx)
	if err != nil {
		return inspect.Sent{}, err
	}
	return a.Send(ctx, r)
}

// Resolve is what the pod's own processes would get for a name.
func (p *Pod) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	a, err := p.live(ctx)
	if err != nil {
		return nil, err
	}
	return a.Resolve(ctx, name)
}

// Policy reads what is in force.
func (p *Pod) Policy(ctx context.Context) (flow.Policy, error) {
	a, err := p.live(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	return a.Policy(ctx)
}

// Apply puts the change into force. On the host's network it is refused: the rules there are
// the node's.
func (p *Pod) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if p.object.Spec.HostNetwork {
		return flow.Policy{}, fmt.Errorf("%s: refused: it runs in the network namespace of its node %s (hostNetwork): a policy there would cut off the node", p.Name(), p.object.Spec.NodeName)
	}
	a, err := p.live(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	return a.Apply(ctx, c)
}

// Renew sets the lease of what is in force to ttl from now.
func (p *Pod) Renew(ctx context.Context, ttl time.Duration) error {
	a, err := p.live(ctx)
	if err != nil {
		return err
	}
	return a.Renew(ctx, ttl)
}

// Close closes the stream; it may be called twice. The agent stays for a while.
func (p *Pod) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, a := range p.agents {
		errs = append(errs, a.Close())
	}
	p.agents = nil
	return errors.Join(errs...)
}

package kube

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Pod is a pod of a cluster, seen by the agent beside it. Where the stream to that has ended
// another is opened, and a question that may be asked twice is asked once more.
type Pod struct {
	cluster *cluster
	object  *v1.Pod // as it was when it was opened
	link    *link
	session string // the agent's name for this client, whatever streams it has

	holds atomic.Bool            // a policy ends with this client (flow.Change.Hold)
	seat  atomic.Pointer[v1.Pod] // where the agent that was reached last runs
}

var (
	_ inspect.Pod      = (*Pod)(nil)
	_ inspect.Resolver = (*Pod)(nil)
	_ inspect.Enforcer = (*Pod)(nil)
	_ inspect.Mortal   = (*Pod)(nil)
)

// attach opens the pod by the agent beside it.
func (c *cluster) attach(ctx context.Context, o *v1.Pod) (*Pod, error) {
	p := &Pod{cluster: c, object: o, session: rand.Text()}
	p.link = newLink(p.Name(), c.wait, c.say, p.again)
	c.say(fmt.Sprintf("pod %s: greeting its agent", o.Name), false)
	a, err := p.patiently(ctx, o)
	if err != nil {
		return nil, errors.Join(err, p.link.close())
	}
	p.link.take(a)
	return p, nil
}

// reach speaks to the agent beside the pod. put: which it puts there if none runs.
func (p *Pod) reach(ctx context.Context, o *v1.Pod, put bool, wait time.Duration) (*agent.Pod, error) {
	c := p.cluster
	at, err := c.seated(ctx, o)
	if err == nil && at == nil {
		if !put {
			return nil, errNone
		}
		at, err = c.sit(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	if err := c.furnish(ctx, at); err != nil {
		return nil, final(ctx, err)
	}
	p.seat.Store(at.pod)
	if at.fresh {
		return p.first(ctx, o, at, wait)
	}
	return p.greet(ctx, o, at, wait)
}

// final is an error after which another try would bring the same, or another container: that one
// is in the pod for good. Where only the time was over, the next try finds it.
func final(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &told{err, errGone, ""}
}

// first speaks to an agent whose container may not run yet. That it runs kubelet tells the API
// server a second after it does, by its clock for looking (PLEG); a command can be run in it at
// once. So that is tried, and what comes of it counts only once the container is said to run.
func (p *Pod) first(ctx context.Context, o *v1.Pod, at *seat, wait time.Duration) (*agent.Pod, error) {
	within, cancel := context.WithCancel(ctx)
	started := make(chan error, 1)
	var work sync.WaitGroup
	var futile atomic.Bool
	work.Go(func() {
		started <- p.cluster.starts(within, o, at.container, func(now *v1.Pod) { futile.Store(!hopes(now, at.container)) })
	})
	defer work.Wait()
	defer cancel()
	var a *agent.Pod
	greeted, err := eagerly(started, futile.Load, func() (err error) {
		a, err = p.greet(ctx, o, at, wait)
		return err
	})
	switch {
	case greeted:
		return a, nil
	case err != nil:
		return nil, final(ctx, err)
	}
	return p.greet(ctx, o, at, wait)
}

// Each try is a stream through the API server. For a moment it is tried often, which is when a
// container starts whose image is there; then ever more seldom, to eagerPause.
const (
	eager      = 3 * time.Second
	eagerPause = time.Second
)

// eagerly tries until that succeeds or started says more; not while it is futile.
func eagerly(started <-chan error, futile func() bool, try func() error) (done bool, err error) {
	began, pause := time.Now(), firstPause
	for {
		if !futile() && try() == nil {
			return true, nil
		}
		select {
		case err := <-started:
			return false, err
		case <-time.After(pause):
		}
		if time.Since(began) > eager {
			pause = min(pause*3/2, eagerPause)
		}
	}
}

// greet runs a command that answers this client, and greets it.
func (p *Pod) greet(ctx context.Context, o *v1.Pod, at *seat, wait time.Duration) (*agent.Pod, error) {
	s, err := p.cluster.exec(at.pod, at.container, at.serve)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	a, err := agent.Dial(within, s, agent.DialOptions{Name: p.Name(), Session: p.session, Ended: s.ended})
	switch {
	case err != nil && within.Err() != nil && ctx.Err() == nil:
		err = fmt.Errorf("the agent in %s did not answer within %s: the API server, kubelet or the container hangs", at.container, wait)
	case err != nil && strings.Contains(err.Error(), "error dialing backend"): // so the API server words it
		err = fmt.Errorf("%w: kubelet on node %s does not answer", err, o.Spec.NodeName)
	}
	return a, err
}

// patiently reaches the pod. A kubelet that was restarted knows no pod for a moment.
func (p *Pod) patiently(ctx context.Context, o *v1.Pod) (*agent.Pod, error) {
	for began := time.Now(); ; {
		a, err := p.reach(ctx, o, true, p.cluster.wait)
		if err == nil || !strings.Contains(err.Error(), "pod does not exist") || time.Since(began) > min(once, p.cluster.wait) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * firstPause):
		}
		// What was put beside it is seen then, and used.
		if now, err := p.cluster.api.pod(ctx, o.Namespace, o.Name); err == nil && now.UID == o.UID {
			o = now
		}
	}
}

// once is how long one question of the API server may take while a stream is opened again.
const once = 5 * time.Second

// again opens another stream, if the pod still is that pod and runs.
func (p *Pod) again(ctx context.Context, put bool) (*agent.Pod, error) {
	within, cancel := context.WithTimeout(ctx, once)
	defer cancel()
	o, err := p.cluster.api.pod(within, p.object.Namespace, p.object.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &told{err, errGone, ""} // kubelet answers so, too, for a moment after its start; this is the API server
	case err != nil:
		return nil, err
	case o.UID != p.object.UID:
		return nil, &told{errors.New("the pod was replaced by another of its name"), errGone, ""}
	}
	if err := runs(o); err != nil {
		return nil, &told{err, errGone, ""}
	}
	return p.reach(ctx, o, put, min(p.cluster.wait, agent.Patience))
}

// Gone is closed when the pod is known to have ended: when its stream ended and the API server
// said so.
func (p *Pod) Gone() <-chan struct{} { return p.link.gone }

// Name is the pod with its namespace.
func (p *Pod) Name() string { return "pod " + p.object.Name + "." + p.object.Namespace }

// objectPart is the pod's object in a snapshot.
const objectPart = "pod.json"

// Read brings the agent's parts, and the pod's object.
func (p *Pod) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	s, err := twice(ctx, p.link, func(a *agent.Pod) (inspect.Snapshot, error) { return a.Read(ctx, want) })
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
	return objectJSON(o)
}

// Send makes one real request from inside. It is not made twice.
func (p *Pod) Send(ctx context.Context, r flow.Request) (inspect.Sent, error) {
	sent, err := single(ctx, p.link, func(a *agent.Pod) (inspect.Sent, error) { return a.Send(ctx, r) })
	if cut(err) {
		err = fmt.Errorf("send the request: %w; whether it was sent is not known", err)
	}
	return sent, err
}

// Resolve is what a process of this user in the pod would get for a name.
func (p *Pod) Resolve(ctx context.Context, name string, uid, gid uint32) (flow.Named, error) {
	n, err := twice(ctx, p.link, func(a *agent.Pod) (flow.Named, error) { return a.Resolve(ctx, name, uid, gid) })
	if err != nil && !cut(err) && ctx.Err() == nil {
		err = p.cluster.offer(ctx, p.object, name, err)
	}
	return n, err
}

// Policy reads what is in force.
func (p *Pod) Policy(ctx context.Context) (flow.Policy, error) {
	now, err := twice(ctx, p.link, func(a *agent.Pod) (flow.Policy, error) { return a.Policy(ctx) })
	if err != nil {
		return now, err
	}
	return p.joined(ctx, now), nil
}

// Apply puts the change into force. On the host's network it is refused: the rules there are
// the node's. The agent carries out what has reached it, also when the stream ends meanwhile.
func (p *Pod) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	if p.object.Spec.HostNetwork {
		return flow.Policy{}, fmt.Errorf("%s: refused: it runs in the network namespace of its node %s (hostNetwork): a policy there would cut off the node", p.Name(), p.object.Spec.NodeName)
	}
	if err := p.outlives(c); err != nil {
		return flow.Policy{}, fmt.Errorf("%s: %w", p.Name(), err)
	}
	pol, err := single(ctx, p.link, func(a *agent.Pod) (flow.Policy, error) { return a.Apply(ctx, c) })
	if err == nil || cut(err) {
		p.holds.Store(c.Hold && c.Kind != flow.Restore)
	}
	if cut(err) {
		err = fmt.Errorf("%s: %w; whether it is in force is not known: look before it is tried again", c.Kind, err)
	}
	if err == nil {
		pol.Record = p.record(ctx, c, pol)
	}
	return pol, err
}

// Renew sets the lease of what is in force to ttl from now. Who ends that must live as long.
func (p *Pod) Renew(ctx context.Context, ttl time.Duration) error {
	if p.cluster.via == viaNode {
		now, err := twice(ctx, p.link, func(a *agent.Pod) (flow.Policy, error) { return a.Policy(ctx) })
		if err != nil {
			return err
		}
		now.Change.TTL = ttl
		if err := p.outlives(now.Change); err != nil {
			return fmt.Errorf("%s: %w", p.Name(), err)
		}
	}
	if _, err := twice(ctx, p.link, func(a *agent.Pod) (struct{}, error) { return struct{}{}, a.Renew(ctx, ttl) }); err != nil {
		return err
	}
	return p.renewed(ctx, ttl)
}

// leaving bounds the end of what this client holds, once it goes.
const leaving = 5 * time.Second

// Close closes the stream; it may be called twice. The agent stays for a while. What this client
// holds it is told to end; without a stream that ends with its time.
func (p *Pod) Close() error {
	var err error
	if a := p.link.inUse(); a != nil && p.holds.Swap(false) {
		ctx, cancel := context.WithTimeout(context.Background(), leaving)
		defer cancel()
		err = a.Leave(ctx, p.session)
	}
	return errors.Join(err, p.link.close())
}

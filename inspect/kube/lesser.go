package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
)

// lesser is a pod that is seen without the agent: it can be read in part, and neither watched,
// sent from nor changed.
type lesser struct {
	cluster *cluster
	object  *v1.Pod
	way     string // such as "by port-forward"
	brings  string // what can be had by it
	read    func(context.Context, *look)
	lookup  func(context.Context, string) (flow.Named, error) // nil: nothing in the pod can be asked
	close   func() error
}

var (
	_ inspect.Pod      = (*lesser)(nil)
	_ inspect.Limited  = (*lesser)(nil)
	_ inspect.Resolver = (*lesser)(nil)
	_ inspect.Recorder = (*lesser)(nil)
)

// kernelParts are the parts that only who is inside a pod can read.
var kernelParts = []string{
	"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json",
	"addr.json", "route.json", "route6.json", "rule.json", "sysctl", "sockets", "conntrack",
}

// envoyParts are the parts that Envoy's admin interface brings.
var envoyParts = []string{"listeners.json", "server_info.json", "config_dump.json", "clusters.json", "certs.json", "runtime.json", "stats"}

// look is one Read under way.
type look struct {
	want inspect.Want
	out  inspect.Snapshot
}

// whole says whether the kernel's parts are among what is wanted.
func (l *look) whole() bool { return len(l.want.Needs) == 0 || len(l.want.Parts) > 0 }

func (l *look) wants(part string) bool {
	return len(l.want.Parts) == 0 || slices.Contains(l.want.Parts, part)
}

func (l *look) keep(part string, data []byte) {
	l.out.Files[part] = data
	l.tell(inspect.Progress{Part: part, Bytes: int64(len(data)), Total: int64(len(data)), Done: true})
}

func (l *look) gap(part string, err error) {
	l.out.Gaps = append(l.out.Gaps, flow.Gap{Part: part, Reason: err.Error()})
	l.tell(inspect.Progress{Part: part, Done: true, Err: err})
}

func (l *look) tell(p inspect.Progress) {
	if l.want.Progress != nil {
		l.want.Progress(p)
	}
}

// lack notes those of the parts that are wanted as what cannot be read, with the one reason.
func (l *look) lack(parts []string, err error) {
	for _, p := range parts {
		if l.whole() && l.wants(p) {
			l.gap(p, err)
		}
	}
}

// call notes what was done to read something.
func (l *look) call(what string, start time.Time, n int, err error) {
	c := inspect.Call{What: what, Start: start, Took: time.Since(start), Bytes: int64(n)}
	if err != nil {
		c.Err = err.Error()
	}
	l.out.Calls = append(l.out.Calls, c)
}

// Name is the pod with the way to it: an answer that holds less must not look like one that
// holds all.
func (p *lesser) Name() string {
	return "pod " + p.object.Name + "." + p.object.Namespace + " (" + p.way + ")"
}

// Read brings what can be had by this way, and the pod's object; all else is a Gap.
func (p *lesser) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	l := &look{want: want, out: inspect.Snapshot{Files: inspect.Files{}}}
	p.read(ctx, l)
	if l.whole() && l.wants(objectPart) {
		start := time.Now()
		raw, err := objectJSON(p.object)
		if err != nil {
			l.gap(objectPart, err)
		} else {
			l.keep(objectPart, raw)
		}
		l.call("GET pod "+p.object.Name, start, len(raw), err)
	}
	return l.out, ctx.Err()
}

// objectJSON is the pod's object without what only the API server needs.
func objectJSON(o *v1.Pod) ([]byte, error) {
	o = o.DeepCopy()
	o.APIVersion, o.Kind, o.ManagedFields = "v1", "Pod", nil
	return json.MarshalIndent(o, "", " ")
}

// Limit says what the agent would give.
func (p *lesser) Limit() error {
	return &told{fmt.Errorf("%s: only the agent can watch, send from and change a pod", p.Name()), inspect.ErrNoPower, p.advice()}
}

func (p *lesser) advice() string {
	return "; meshtop can-i pod " + p.object.Name + " -n " + p.object.Namespace + " says which role to ask for"
}

// Observe fails: nothing of the traffic can be seen from outside.
func (p *lesser) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	return nil, p.Limit()
}

// Send fails: a request from outside takes another way.
func (p *lesser) Send(context.Context, flow.Request) (inspect.Sent, error) {
	return inspect.Sent{}, p.Limit()
}

// Close gives up what Read brought; it may be called twice.
func (p *lesser) Close() error {
	if p.close == nil {
		return nil
	}
	return p.close()
}

// oneLine joins errors that were joined with line breaks, one for each place that was tried.
func oneLine(errs ...error) error {
	var said []string
	for _, e := range errs {
		if e != nil {
			said = append(said, e.Error())
		}
	}
	return errors.New(joinLines(said))
}

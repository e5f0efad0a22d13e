package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/rules/flow"
)

// Read reads the parts that want names, or all that is cheap; with Needs and no Parts, only
// what the Needs name. What could not be read is a Gap with its reason; the error is only
// for a pod that was closed and a ctx that ended.
func (p *Pod) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return inspect.Snapshot{}, fmt.Errorf("%s: it was closed", p.name)
	}
	r := &reading{pod: p, want: want, out: inspect.Snapshot{Files: inspect.Files{}}}
	if len(want.Needs) == 0 || len(want.Parts) > 0 {
		r.kernel(ctx)
	}
	r.envoy(ctx)
	if err := ctx.Err(); err != nil {
		return r.out, fmt.Errorf("%s: %w", p.name, err)
	}
	return r.out, nil
}

// reading is one Read under way.
type reading struct {
	pod   *Pod
	want  inspect.Want
	out   inspect.Snapshot
	table []socket // of the pod; nil: not read yet
}

// wants says whether a part is among those asked for.
func (r *reading) wants(part string) bool {
	return len(r.want.Parts) == 0 || slices.Contains(r.want.Parts, part)
}

// keep keeps a part that was read.
func (r *reading) keep(part string, data []byte) {
	r.out.Files[part] = data
	r.tell(inspect.Progress{Part: part, Bytes: int64(len(data)), Total: int64(len(data)), Done: true})
}

// gap notes a part that could not be read.
func (r *reading) gap(part string, err error) {
	r.out.Gaps = append(r.out.Gaps, flow.Gap{Part: part, Reason: err.Error()})
	r.tell(inspect.Progress{Part: part, Done: true, Err: err})
}

func (r *reading) tell(p inspect.Progress) {
	if r.want.Progress != nil {
		r.want.Progress(p)
	}
}

// envoyParts are the parts that the admin interface brings.
var envoyParts = []string{"listeners.json", "server_info.json", "config_dump.json", "clusters.json", "runtime.json", "certs.json", "stats"}

// envoy reads Envoy's parts. Its place is looked for at each full read: an Envoy that was
// restarted may be another one.
func (r *reading) envoy(ctx context.Context) {
	var parts []string
	for _, p := range envoyParts {
		if r.wants(p) {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 && len(r.want.Needs) == 0 || ctx.Err() != nil {
		return
	}
	if r.pod.found == nil || len(r.want.Needs) == 0 {
		if err := r.find(ctx); err != nil {
			if ctx.Err() == nil {
				r.lost(parts, err)
			}
			return
		}
	}
	s, err := r.pod.found.Read(ctx, r.want)
	for name, data := range s.Files {
		r.out.Files[name] = data
	}
	r.out.Gaps = append(r.out.Gaps, s.Gaps...)
	r.out.Calls = append(r.out.Calls, s.Calls...)
	if err != nil && ctx.Err() == nil {
		r.gap("config_dump.json", err)
	}
}

// lost notes every part of Envoy that was asked for, with the one reason.
func (r *reading) lost(parts []string, err error) {
	if len(parts) == 0 {
		parts = []string{"config_dump.json"}
	}
	// Line breaks come from errors that were joined, one for each address that was tried.
	reason := errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	for _, p := range parts {
		r.gap(p, reason)
	}
}

// find looks for the admin interface, and keeps the client for later reads. Files that an
// earlier client keeps stay valid until the pod is closed.
func (r *reading) find(ctx context.Context) error {
	if r.wants("listeners.json") {
		r.tell(inspect.Progress{Part: "listeners.json"}) // the first question
	}
	found, err := r.seek(ctx)
	if err != nil {
		return err
	}
	if old := r.pod.found; old != nil {
		found.Adopt(old.Client)
	}
	r.pod.found = found
	return nil
}

// seek looks for the admin interface among what listens, as the proxy's own user.
func (r *reading) seek(ctx context.Context) (*admin.Found, error) {
	all, _ := r.sockets(ctx)
	candidates := []admin.Listening{}
	uid, gid := uint32(0), uint32(0)
	for _, s := range all {
		if s.state != stateListen || s.proto != flow.TCP {
			continue
		}
		candidates = append(candidates, admin.Listening{Addr: s.local, Process: s.process, PID: s.pid})
		if admin.IsEnvoy(s.process) {
			uid, gid = s.uid, s.gid
		}
	}
	addrs := admin.Candidates(candidates)
	if a := r.pod.opt.Admin; a.IsValid() {
		addrs = append(addrs[:0:0], a)
	}
	found, calls, err := admin.Find(ctx, r.pod.dialAs(uid, gid), addrs, r.pod.opt.Reader)
	r.out.Calls = append(r.out.Calls, calls...)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, unasked(all, addrs))
	}
	return found, nil
}

// unasked names the places of an Envoy that was seen but not asked, for the user to choose.
func unasked(all []socket, asked []netip.AddrPort) string {
	var at []string
	for _, s := range all {
		known := slices.ContainsFunc(asked, func(a netip.AddrPort) bool { return a.Port() == s.local.Port() })
		if !known && s.state == stateListen && s.proto == flow.TCP && admin.IsEnvoy(s.process) && !slices.Contains(at, s.local.String()) {
			at = append(at, s.local.String())
		}
	}
	if len(at) == 0 {
		return ""
	}
	return fmt.Sprintf("; Envoy listens on %s too, not asked: --admin ADDR:PORT asks there", strings.Join(at, ", "))
}

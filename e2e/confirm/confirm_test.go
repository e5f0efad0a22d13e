// Package confirm judges meshtop's confirmation in the lab: a request that goes as
// predicted is confirmed, and one that was tampered with is not.
package confirm

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

var runs = flag.Int("confirm.runs", 3, "how often each scene is confirmed and tampered with, in a row and without retries")

// rig is a scene that is up, and what was read of it before anything was done to it.
type rig struct {
	lab     *lab.Lab
	pod     *local.Pod
	reading session.Reading
}

func raise(t *testing.T, opt lab.Options, lopt local.Options) *rig {
	t.Helper()
	l := lab.New(t, opt)
	p, err := local.Named(l.Pod(), lopt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := session.Read(context.Background(), p, inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{l, p, r}
}

// confirm sends the case's request and gives the report.
func (r *rig) confirm(t *testing.T, req flow.Request) confirm.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, rep, err := session.Confirm(ctx, r.pod, r.reading, req, session.ConfirmOptions{Send: true, Sender: r.sender()})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// sender is the lab's own client: it sends from inside and from outside.
func (r *rig) sender() func(context.Context, flow.Request) (inspect.Sent, error) {
	return func(ctx context.Context, req flow.Request) (inspect.Sent, error) {
		a, err := r.lab.Send(ctx, req)
		return inspect.Sent{Symptom: a.Symptom, Local: a.Local, Note: a.Err}, err
	}
}

// TestMain lets more scenes run beside each other than there are processors: they wait for
// the watch to settle most of the time, and share nothing.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// everywhere runs a test for each scene whose requests may be sent, on both back ends of
// iptables where it has rules.
func everywhere(t *testing.T, f func(t *testing.T, scene string, b lab.Backend)) {
	for _, name := range scenes.Names() {
		if name == "loop" {
			continue // TestLoopIsNotSent
		}
		s, err := scenes.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		backends := []lab.Backend{lab.NFT}
		if len(s.Rules) > 0 {
			backends = append(backends, lab.Legacy)
		}
		for _, b := range backends {
			t.Run(name+"/"+string(b), func(t *testing.T) {
				t.Parallel()
				f(t, name, b)
			})
		}
	}
}

// scripted are the cases whose traces end at what meshtop cannot tell, each with the code
// that the script is to answer: the filter of the scene auth is Lua, and the script asks
// another server whether to let a request pass.
var scripted = map[string]int{"auth/no-token": 401, "auth/bad": 403, "auth/wrong-host-no-token": 401}

// Every case of every scene is confirmed at every step that can be observed, several times
// in a row.
func TestScenesConfirm(t *testing.T) {
	everywhere(t, func(t *testing.T, name string, b lab.Backend) {
		r := raise(t, lab.Options{Scene: name, Backend: b}, local.Options{})
		for range *runs {
			for _, c := range r.lab.Scene.Cases {
				rep := r.confirm(t, c.Request)
				code, unknown := scripted[name+"/"+c.Name]
				wrong := unseen(rep, len(rep.Steps))
				switch {
				case unknown:
					wrong = append(wrong, scriptAnswered(rep, code)...)
				case rep.Trace.Verdict == flow.Unknown:
					wrong = append(wrong, "the trace is unknown")
				}
				if rep.Word != confirm.Confirmed || rep.Loss.Dropped > 0 || len(wrong) > 0 {
					t.Errorf("%s: %v, %s\n%s", c.Name, rep.Word, strings.Join(wrong, ", "), render.ReportText(rep))
				}
			}
		}
	})
}

// scriptAnswered says where a report is not that of a request which a Lua script answered.
func scriptAnswered(rep confirm.Report, code int) []string {
	var out []string
	if got := rep.Sent.Fields["code"]; got != strconv.Itoa(code) {
		out = append(out, "answered "+got+", want "+strconv.Itoa(code))
	}
	last := rep.Trace.Legs[0].Steps[len(rep.Trace.Legs[0].Steps)-1]
	if rep.Trace.Verdict != flow.Unknown || len(rep.Trace.Legs) != 1 || last.Verdict != flow.Unknown || last.Stage != flow.HTTPFilter || last.Subject != "envoy.filters.http.lua" {
		out = append(out, "the trace does not end at the script")
	}
	return out
}

// unseen are the first n steps that are not confirmed and could be.
func unseen(rep confirm.Report, n int) []string {
	var out []string
	for _, w := range rep.Steps[:n] {
		if w.Word != confirm.Confirmed && !hidden(rep, w) {
			out = append(out, place(w)+" is "+w.Word.String())
		}
	}
	return out
}

// place names a step.
func place(w confirm.Step) string { return strconv.Itoa(w.Leg) + " " + w.Stage.String() }

// hidden says whether a step is called not observable, and nothing that is watched shows it.
// What Envoy decides shows in its log alone, which goes to a pipe here, unless a counter tells
// it: of the listener that was handed to, of the cluster, of its endpoint. Counters tell of
// the request's first pass.
func hidden(rep confirm.Report, w confirm.Step) bool {
	if w.Word != confirm.NotObservable {
		return false
	}
	leg := rep.Trace.Legs[w.Leg]
	ends := leg.Steps[w.Step].Verdict != flow.Continue
	switch w.Stage {
	case flow.RouteLookup, flow.ListenerFilter, flow.FilterChain, flow.TransportSocket, flow.RouteConfig, flow.VirtualHost:
		return !ends
	case flow.NetworkFilter, flow.Route, flow.HTTPFilter: // one that ends the request shows in the answer
		return !ends || rep.Trace.Verdict == flow.Unknown || w.Leg > 0
	case flow.Netfilter: // nat is asked once for a connection, and conntrack follows one where there is nat
		return w.Why.Kind == flow.SeenPooled || w.Why.Kind == flow.SeenNoConntrack
	case flow.Handoff: // a listener counts under its address, and few are named by it
		at := strings.LastIndexByte(rep.Trace.Outcome.Listener, '_')
		_, err := netip.ParseAddrPort(rep.Trace.Outcome.Listener[:max(at, 0)] + ":" + rep.Trace.Outcome.Listener[at+1:])
		return w.Leg > 0 || err != nil
	case flow.Cluster: // one without a host counts neither a request nor a connection
		return w.Leg > 0 || leg.Steps[w.Step+1].Verdict == flow.Refused
	case flow.Endpoint:
		return w.Leg > 0
	}
	return false
}

// What would make the proxy dial itself is never sent.
func TestLoopIsNotSent(t *testing.T) {
	r := raise(t, lab.Options{Scene: "loop"}, local.Options{})
	sent := false
	for _, c := range r.lab.Scene.Cases {
		if !strings.Contains(c.Name, "15001") {
			continue
		}
		_, _, err := session.Confirm(context.Background(), r.pod, r.reading, c.Request, session.ConfirmOptions{Send: true,
			Sender: func(context.Context, flow.Request) (inspect.Sent, error) { sent = true; return inspect.Sent{}, nil }})
		if err != session.ErrSelfDial || sent {
			t.Errorf("%s: %v, sent %v", c.Name, err, sent)
		}
	}
}

func caseOf(t *testing.T, r *rig, name string) scenes.Case {
	t.Helper()
	for _, c := range r.lab.Scene.Cases {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("scene %s has no case %q", r.lab.Scene.Name, name)
	return scenes.Case{}
}

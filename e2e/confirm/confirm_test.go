// Package confirm judges meshtop's confirmation in the lab: a request that goes as
// predicted is confirmed, and one that was tampered with is not.
package confirm

import (
	"context"
	"flag"
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

var runs = flag.Int("confirm.runs", 3, "how often each scene is confirmed, in a row and without retries")

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

// usable says whether a case can be confirmed at all: UDP has no connection to follow, and a
// request that loops is never sent.
func usable(c scenes.Case) bool { return c.Request.Proto == flow.TCP || c.Request.Proto == 0 }

// some are the cases that are confirmed: all when asked for more than the usual runs, else
// every so many, the first among them.
func some(cases []scenes.Case) []scenes.Case {
	var out []scenes.Case
	step := 1
	if *runs <= 3 {
		step = max(1, len(cases)/4)
	}
	for i := 0; i < len(cases); i += step {
		if usable(cases[i]) {
			out = append(out, cases[i])
		}
	}
	return out
}

// Every observable step of every scene is confirmed, several times in a row.
func TestScenesConfirm(t *testing.T) {
	for _, name := range scenes.Names() {
		if name == "loop" {
			continue // TestLoopIsNotSent
		}
		t.Run(name, func(t *testing.T) {
			r := raise(t, lab.Options{Scene: name}, local.Options{})
			for range *runs {
				for _, c := range some(r.lab.Scene.Cases) {
					rep := r.confirm(t, c.Request)
					if rep.Trace.Verdict == flow.Unknown {
						if rep.Word == confirm.Contradicted {
							t.Errorf("%s: contradicted though nothing was claimed\n%s", c.Name, render.ReportText(rep))
						}
						continue
					}
					if rep.Word != confirm.Confirmed {
						t.Errorf("%s: %v\n%s", c.Name, rep.Word, render.ReportText(rep))
					}
				}
			}
		})
	}
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

package confirm

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// moments are those of a watch at which the app asks.
type moment int

const (
	opened    moment = iota // the watch has begun, and no counter was read
	counting                // the counters are read for the first time
	counted                 // they were
	recounted               // they are read for the second time
	closing                 // they were, and the watch goes on
	moments
)

func (m moment) String() string {
	return [...]string{"before the first reading", "during the first reading", "between the readings", "during the second reading", "after the second reading"}[m]
}

// asked is a pod whose app asks at a moment of the watch.
type asked struct {
	*local.Pod
	at    moment
	ask   func()
	asks  sync.WaitGroup
	reads int
}

func (p *asked) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	w, err := p.Pod.Observe(ctx, legs, opt)
	if p.at == opened {
		p.ask()
	}
	return w, err
}

func (p *asked) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	if !slices.Contains(want.Parts, "stats") {
		return p.Pod.Read(ctx, want)
	}
	during, after := counting, counted
	if p.reads++; p.reads == 2 {
		during, after = recounted, closing
	}
	if p.at == during {
		p.asks.Go(p.ask)
	}
	s, err := p.Pod.Read(ctx, want)
	if p.at == after {
		p.ask()
	}
	return s, err
}

// Whenever the app asks, a watch that sends nothing itself contradicts nothing of what goes as
// predicted; what was asked between the readings of the counters is confirmed.
func TestAskedMeanwhile(t *testing.T) {
	r := raise(t, lab.Options{Scene: "mesh"}, local.Options{})
	req := caseOf(t, r, "svc").Request
	for try := range 3 * int(moments) {
		at := moment(try % int(moments))
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		pod := &asked{Pod: r.pod, at: at}
		pod.ask = func() {
			if a, err := r.lab.Send(ctx, req); err != nil || a.Code != 200 {
				t.Errorf("%v: answered %d, %v", at, a.Code, err)
			}
		}
		_, rep, err := session.Confirm(ctx, pod, r.reading, req, session.ConfirmOptions{Watch: 200 * time.Millisecond})
		pod.asks.Wait()
		cancel()
		if err != nil || rep.Word == confirm.Contradicted || at == counted && rep.Word != confirm.Confirmed {
			t.Errorf("asked %v: %v, %v\n%s", at, rep.Word, err, render.ReportText(rep))
		}
	}
}

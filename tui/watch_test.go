package tui

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// meshReport is a report on the hand-made trace: its steps have these words in turn.
func meshReport(words ...confirm.Word) confirm.Report {
	r := confirm.Report{Word: words[0], Trace: meshTrace(), Loss: flow.Loss{Seen: 41},
		Sent: &flow.Observation{Kind: flow.SeenAnswer, Fields: map[string]string{"code": "200", "tcp": "ok", "ms": "7.2"}},
		Counts: []confirm.Count{{Stage: flow.Netfilter, Of: "ip nat OUTPUT 2", Before: 41, After: 42},
			{Stage: flow.Listener, Of: "10.107.42.16_80", Name: "downstream_cx_total", Before: 7, After: 8},
			{Stage: flow.Cluster, Of: "outbound|myngxsvc", Name: "upstream_rq_total", Before: 7, After: 8},
			{Stage: flow.Cluster, Of: "outbound|myngxsvc", Name: "upstream_cx_total", Before: 3, After: 3}}}
	if slices.Contains(words, confirm.Contradicted) {
		r.Word = confirm.Contradicted
	}
	i := 0
	for l, leg := range r.Trace.Legs {
		for k, st := range leg.Steps {
			s := confirm.Step{Leg: l, Step: k, Stage: st.Stage, Subject: st.Subject, Word: words[i%len(words)]}
			if s.Word == confirm.Confirmed || s.Word == confirm.Contradicted {
				s.Evidence = []flow.Evidence{{Source: "conntrack", Ref: "id 7", Text: "10.244.1.7:41822 -> 10.107.42.16:80 reply 127.0.0.1:15001"}}
			}
			r.Steps = append(r.Steps, s)
			i++
		}
	}
	return r
}

func confirming(words ...confirm.Word) Options {
	opt := meshOptions()
	opt.Source.Confirm = func(_ context.Context, in Reading, _ flow.Request, w Watch) (Reading, confirm.Report, error) {
		w.Ready()
		w.Seen(flow.Observation{Kind: flow.SeenPacket})
		if !w.Send {
			return in, confirm.Report{}, inspect.ErrReadOnly
		}
		return in, meshReport(words...), nil
	}
	return opt
}

// Key w compares the trace with what happens: marks, counts and evidence; the step that
// is selected stays.
func TestConfirm(t *testing.T) {
	for _, sz := range sizes {
		d := drive(t, confirming(confirm.Confirmed, confirm.NotObservable, confirm.NotObserved), sz[0], sz[1])
		d.keys("j", "j", "j", "w")
		d.exact("before")
		d.keys("s")
		d.exact("asking")
		d.keys("y")
		d.exact("confirmed")
		d.keys("t")
		if sz[0] < 80 {
			continue
		}
		d.has("✓●  1", "↪·  2", "✓○  3", "5/14 confirmed", "step 4", "conntrack", "127.0.0.1:15001")
		if sz[1] >= 40 {
			d.has("confirmation · confirmed · answered 200 · tcp ok in 7.2 ms · 41 seen, 0 lost")
		}
		if sz == [2]int{140, 40} {
			d.golden("confirmed-140x40")
		}
		d.keys("r")
		d.hasNot("5/14", "●")
	}
}

// A contradiction is told before everything else.
func TestContradicted(t *testing.T) {
	d := drive(t, confirming(confirm.Contradicted, confirm.Confirmed), 80, 24)
	d.keys("w", "s", "y", "t")
	d.has("! PREDICTED DELIVERED, BUT SEEN OTHERWISE", "✓!  1", "contradicted")
	d.golden("contradicted-80x24")
}

// What cannot be watched says so, and the trace stays.
func TestCannotConfirm(t *testing.T) {
	d := drive(t, meshOptions(), 80, 24)
	d.keys("w")
	d.has("cannot be watched")
	d = drive(t, confirming(confirm.Confirmed), 80, 24)
	d.keys("w", "enter")
	d.has("✗ read only", "DELIVERED", "14 steps", "what to watch")
	old := d.m.s.gen
	d.keys("r")
	d.send(confirmedMsg{gen: old, err: errors.New("late")})
	d.hasNot("late")
}

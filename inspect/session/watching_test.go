package session

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// busyPod is a pod that is asked for one thing after the other, and notes the order.
type busyPod struct {
	inspect.Pod
	mu    sync.Mutex
	order []string
	out   chan []flow.Observation
	once  sync.Once
	send  func()         // what happens when the request is made
	fed   sync.WaitGroup // what still comes then
}

func (p *busyPod) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, what)
}

func (p *busyPod) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	if slices.Contains(want.Parts, "stats") {
		p.note("count")
	}
	return p.Pod.Read(ctx, want)
}

func (p *busyPod) Observe(context.Context, []flow.Leg, inspect.ObserveOptions) (inspect.Watch, error) {
	p.note("watch")
	return p, nil
}

func (p *busyPod) C() <-chan []flow.Observation { return p.out }
func (p *busyPod) Loss() flow.Loss              { return flow.Loss{} }

// Close is that of the watch.
func (p *busyPod) Close() error {
	p.once.Do(func() { p.fed.Wait(); p.note("end"); close(p.out) })
	return nil
}

var busyClient = netip.MustParseAddrPort("10.244.1.7:40000")

func (p *busyPod) Send(context.Context, flow.Request) (inspect.Sent, error) {
	p.note("send")
	p.send()
	return inspect.Sent{Symptom: flow.Symptom{Code: 200, TCP: flow.TCPOK}, Local: busyClient}, nil
}

// The counters are read while the watch runs, so that it sees whoever makes them grow; and it
// goes on after the answer until the connection was seen to end, or for the time that bounds
// it, where its end never comes.
func TestWatchFramesTheCounters(t *testing.T) {
	ap := netip.MustParseAddrPort
	packet := func(flags flow.TCPFlags) flow.Observation {
		return flow.Observation{Kind: flow.SeenPacket, Device: "lo", Flags: flags, Tuple: flow.Tuple{Src: busyClient, Dst: ap("127.0.0.1:15001"), Proto: flow.TCP}}
	}
	track := func(state string) flow.Observation {
		return flow.Observation{Kind: flow.SeenConntrack, Event: "UPDATE", State: state, Tuple: flow.Tuple{Src: busyClient, Dst: ap("10.107.42.16:80"), Proto: flow.TCP}}
	}
	for what, c := range map[string]struct {
		before, after flow.Observation // the answer
		limit         time.Duration
	}{
		"a FIN after the answer":     {packet(flow.SYN), packet(flow.FIN | flow.ACK), time.Minute},
		"a RST after the answer":     {packet(flow.SYN), packet(flow.RST), time.Minute},
		"conntrack tells of it":      {track("ESTABLISHED"), track("TIME_WAIT"), time.Minute},
		"it had ended before":        {packet(flow.FIN | flow.ACK), packet(flow.ACK), time.Minute},
		"the end is never seen":      {packet(flow.SYN), packet(flow.ACK), time.Millisecond},
		"only another's end is seen": {packet(flow.SYN), flow.Observation{Kind: flow.SeenPacket, Flags: flow.FIN, Tuple: flow.Tuple{Src: ap("10.244.1.7:40001"), Dst: ap("127.0.0.1:15001")}}, time.Millisecond},
	} {
		pod := &busyPod{Pod: demo(t, "mesh"), out: make(chan []flow.Observation)}
		pod.send = func() {
			pod.out <- []flow.Observation{c.before}
			pod.fed.Go(func() { pod.out <- []flow.Observation{c.after} })
		}
		seen := 0
		q := outbound("10.107.42.16:80")
		_, rep, err := Confirm(context.Background(), pod, read(t, pod.Pod), q, ConfirmOptions{Send: true, settle: c.limit, Seen: func(flow.Observation) { seen++ }})
		if err != nil || !slices.Equal(pod.order, []string{"watch", "count", "send", "count", "end"}) {
			t.Errorf("%s: %q, %v", what, pod.order, err)
		}
		if c.limit == time.Minute && seen != 2 || rep.Sent == nil {
			t.Errorf("%s: %d observations, sent %+v", what, seen, rep.Sent)
		}
	}
}

// A watch that is interrupted still reads the counters before it ends, and judges what it saw.
func TestInterruptedWatch(t *testing.T) {
	pod := &busyPod{Pod: demo(t, "mesh"), out: make(chan []flow.Observation)}
	ctx, stop := context.WithCancel(context.Background())
	_, rep, err := Confirm(ctx, pod, read(t, pod.Pod), outbound("10.107.42.16:80"), ConfirmOptions{Watch: time.Hour, Ready: stop})
	if err != nil || rep.Word != confirm.NotObserved || !slices.Equal(pod.order, []string{"watch", "count", "count", "end"}) {
		t.Errorf("%v, %q, %v", rep.Word, pod.order, err)
	}
}

// countingPod counts one more packet each time it is asked.
type countingPod struct {
	busyPod
	cluster string
	counts  int
}

func (p *countingPod) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	s, err := p.busyPod.Read(ctx, want)
	if err == nil && slices.Contains(want.Parts, "stats") {
		p.counts++
		s.Files = maps.Clone(s.Files)
		s.Files["stats"] = fmt.Appendf(nil, "cluster.%s.upstream_rq_total: %d\n", p.cluster, 40+p.counts)
	}
	return s, err
}

// While a watch that somebody looks at goes on, the counters are read now and then, and stand
// beside a judgement that they take no part in.
func TestCountersMeanwhile(t *testing.T) {
	for _, looked := range []bool{true, false} {
		pod := &countingPod{busyPod: busyPod{Pod: demo(t, "mesh"), out: make(chan []flow.Observation)}}
		r, tr, err := Trace(context.Background(), pod.Pod, read(t, pod.Pod), outbound("10.107.42.16:80"), nil)
		if err != nil {
			t.Fatal(err)
		}
		pod.cluster = tr.Outcome.Cluster
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var last confirm.Report
		opt := ConfirmOptions{Watch: 10 * time.Millisecond, each: time.Millisecond}
		if looked {
			opt.Watch = time.Minute
			opt.Judged = func(r confirm.Report) {
				if last = r; len(r.Counts) > 0 {
					stop()
				}
			}
		}
		if _, _, err := Confirm(ctx, pod, r, outbound("10.107.42.16:80"), opt); err != nil {
			t.Fatal(err)
		}
		if reads := pod.counts; looked != (reads > 2) {
			t.Errorf("looked at: %v, %d readings", looked, reads)
		}
		grew := slices.ContainsFunc(last.Counts, func(n confirm.Count) bool { return n.Name == "upstream_rq_total" && n.Before == 41 && n.After > 41 })
		if looked && (!grew || last.Word != confirm.NotObserved) {
			t.Errorf("%v, %+v", last.Word, last.Counts)
		}
	}
}

var _ inspect.Watch = (*busyPod)(nil)

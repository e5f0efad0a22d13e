package confirm

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// tinyRing watches with rings of one page, whose reader stands still while more goes through
// them than they hold and the request is made: of this no packet is seen. The steps that are
// named are unverifiable, and every other one that can be is confirmed by what else is watched.
func tinyRing(t *testing.T, r *rig, req flow.Request, lost []string) {
	pod, err := local.Named(r.lab.Pod(), local.Options{Ring: capture.RingOptions{BlockSize: 4096, Blocks: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	_, trace, err := session.Trace(context.Background(), pod, r.reading, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &standing{Pod: pod, label: t.Name()}
	send := func(ctx context.Context, q flow.Request) (inspect.Sent, error) {
		if err := p.overflow(ctx, targets(r, trace.Legs)); err != nil {
			return inspect.Sent{}, err
		}
		return r.sender()(ctx, q)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, rep, err := session.Confirm(ctx, p, r.reading, req, session.ConfirmOptions{Send: true, Sender: send})
	if err != nil {
		t.Fatal(err)
	}
	var got, wrong []string
	for _, w := range rep.Steps {
		switch {
		case w.Word == confirm.Unverifiable:
			got = append(got, place(w))
		case w.Word != confirm.Confirmed && !hidden(rep, w):
			wrong = append(wrong, place(w)+" is "+w.Word.String())
		}
		for _, e := range w.Evidence {
			if strings.HasPrefix(e.Source, "capture") {
				wrong = append(wrong, place(w)+" shows a packet")
			}
		}
	}
	want := confirm.Unverifiable
	if len(lost) == 0 {
		want = confirm.Confirmed
	}
	if rep.Word != want || rep.Loss.Dropped == 0 || !slices.Equal(got, lost) || len(wrong) > 0 {
		t.Errorf("%v, unverifiable %q, want %q; %s\n%s", rep.Word, got, lost, strings.Join(wrong, ", "), render.ReportText(rep))
	}
}

// standing is a pod whose watch gives nothing to its reader before it is closed.
type standing struct {
	*local.Pod
	label string // of the watch's goroutines
	watch inspect.Watch
}

// late is a watch that is read from when it is closed.
type late struct {
	inspect.Watch
	once sync.Once
	c    chan []flow.Observation
}

func (p *standing) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	var err error
	pprof.Do(ctx, pprof.Labels("test", p.label), func(ctx context.Context) { p.watch, err = p.Pod.Observe(ctx, legs, opt) })
	return &late{Watch: p.watch, c: make(chan []flow.Observation)}, err
}

func (w *late) C() <-chan []flow.Observation { return w.c }

func (w *late) Close() error {
	err := w.Watch.Close()
	w.once.Do(func() {
		go func() { // ends when the watch's last was read
			defer close(w.c)
			for batch := range w.Watch.C() {
				w.c <- batch
			}
		}()
	})
	return err
}

// blocked says whether the readers of so many rings wait until somebody takes what they read.
func (p *standing) blocked(n int) bool {
	var b bytes.Buffer
	if len(p.watch.C()) == 0 || pprof.Lookup("goroutine").WriteTo(&b, 1) != nil {
		return false
	}
	for _, alike := range strings.Split(b.String(), "\n\n") {
		// One waits for the reader, and the others for it.
		waits := strings.Contains(alike, "capture.(*Watch).send+") || strings.Contains(alike, "capture.(*Watch).room+")
		if waits && strings.Contains(alike, strconv.Quote(p.label)) && strings.Contains(alike, "capture.(*Watch).packets+") {
			count, _, _ := strings.Cut(alike, " @ ")
			many, _ := strconv.Atoi(count)
			n -= many
		}
	}
	return n <= 0
}

// target is an address that datagrams are sent to, from a namespace, over the pod's device.
type target struct {
	space  string
	to     netip.AddrPort
	device string
}

// targets are where datagrams pass the filter of a watch of the legs.
func targets(r *rig, legs []flow.Leg) []target {
	var out []target
	for _, l := range legs {
		for _, to := range []netip.AddrPort{l.From.Dst, l.To.Dst} {
			own := to.Addr() == netip.MustParseAddr(lab.PodAddr) || to.Addr() == netip.MustParseAddr(lab.PodAddr6)
			switch {
			case own:
				out = append(out, target{r.lab.Pod(), to, "lo"}, target{r.lab.Out(), to, "eth0"})
			case to.Addr().IsLoopback():
				out = append(out, target{r.lab.Pod(), to, "lo"})
			default:
				out = append(out, target{r.lab.Pod(), to, "eth0"})
			}
		}
	}
	return out
}

// overflow sends until each ring's reader stands still, and then more than the ring holds.
func (p *standing) overflow(ctx context.Context, all []target) error {
	devices := map[string]bool{}
	for _, t := range all {
		devices[t.device] = true
	}
	for full := false; ; {
		for _, t := range all {
			if err := burst(t); err != nil {
				return err
			}
		}
		switch {
		case full:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		full = p.blocked(len(devices))
	}
}

// burst sends datagrams that fill a ring many times.
func burst(t target) error {
	s, err := netns.Named(t.space)
	if err != nil {
		return err
	}
	return errors.Join(s.Do(func() error {
		c, err := net.ListenPacket("udp", ":0")
		if err != nil {
			return err
		}
		defer c.Close()
		for range 200 {
			// A full buffer or an answer by ICMP is as good.
			_, _ = c.WriteTo(make([]byte, 200), net.UDPAddrFromAddrPort(t.to))
		}
		return nil
	}), s.Close())
}

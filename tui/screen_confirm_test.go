package tui

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// meshSeen is what a watch of the mesh scene sees, made by hand.
func meshSeen() []flow.Observation {
	app, own, dst, in := addr("10.244.1.7:41822"), addr("10.244.1.7:52710"), addr("10.107.42.16:80"), addr("127.0.0.1:15001")
	tup := func(t flow.Tuple) flow.Tuple { t.Proto = flow.TCP; return t }
	n := 0
	packet := func(us int, dev string, t flow.Tuple, f flow.TCPFlags, head string) flow.Observation {
		n++
		return flow.Observation{Kind: flow.SeenPacket, At: noon().Add(time.Duration(us) * time.Microsecond), Ref: fmt.Sprint("packet ", n), Device: dev,
			Tuple: tup(t), Flags: f, Len: len(head), Head: []byte(head)}
	}
	return []flow.Observation{
		{Kind: flow.SeenConntrack, Event: "NEW", At: noon(), Ref: "id 7", Tuple: tup(flow.Tuple{Src: app, Dst: dst}), Reply: tup(flow.Tuple{Src: in, Dst: app})},
		packet(0, "lo", flow.Tuple{Src: app, Dst: in}, flow.SYN, ""),
		packet(39, "lo", flow.Tuple{Src: dst, Dst: app}, flow.SYN|flow.ACK, ""),
		packet(110, "lo", flow.Tuple{Src: app, Dst: in}, flow.ACK, "GET /a?token=hidden HTTP/1.1\r\nHost: x\r\n"),
		packet(402, "eth0", flow.Tuple{Src: own, Dst: dst}, flow.SYN, ""),
		packet(960, "eth0", flow.Tuple{Src: own, Dst: dst}, flow.ACK, "GET /a HTTP/1.1\r\n"),
		packet(1930, "eth0", flow.Tuple{Src: dst, Dst: own}, flow.ACK, "HTTP/1.1 200 OK\r\n"),
		packet(2114, "lo", flow.Tuple{Src: dst, Dst: app}, flow.ACK, "HTTP/1.1 200 O\x1b[2JK\r\n"),
	}
}

// The diagram shows who sent what to whom; the query of a path stays hidden, and the
// verdict stays in sight.
func TestConfirmScreen(t *testing.T) {
	for _, sz := range sizes {
		opt := confirming(confirm.Confirmed)
		opt.Source.Confirm = func(_ context.Context, in Reading, _ flow.Request, w Watch) (Reading, confirm.Report, error) {
			for _, o := range meshSeen() {
				w.Seen(o)
			}
			return in, meshReport(confirm.Confirmed), nil
		}
		d := drive(t, opt, sz[0], sz[1])
		d.keys("w", "w")
		d.exact("confirm")
		d.has("DELIVERED")
		harmless(t, "confirm", d.m.View().Content)
		if sz[0] >= 80 {
			d.has("▸ Confirm", "connect :80 ╌", "SYN :15001 ─", "GET /a ─", "0.402", "200 OK", "7 packets · 0 dropped", "ended")
			d.hasNot("hidden")
			d.golden(fmt.Sprintf("confirm-%dx%d", sz[0], sz[1]))
		}
		switch { // where there is room for one line of counters, it is the cluster's
		case sz[0] >= 100 && sz[1] >= 40:
			d.has("before → after", "ip nat OUTPUT 2 packets", "41 → 42", "upstream_rq_total", "7 → 8", "upstream_cx_total", "3 → 3")
		case sz[0] >= 80:
			d.has("cluster outbound|myngxsvc upstream_rq_total 7 → 8")
			d.hasNot("41 → 42")
		}
		d.keys("space")
		d.exact("paused")
		d.keys("esc", "f1", "esc")
		if d.m.s.at != traceID {
			t.Error("esc did not lead back")
		}
	}
}

// A watch that goes on is ended by esc, and judged.
func TestEscEndsTheWatch(t *testing.T) {
	d := drive(t, confirming(confirm.Confirmed), 80, 24)
	d.m.watch(false) // its commands do not run: it goes on
	ended := false
	stop := d.m.s.busy.stop
	d.m.s.busy.stop = func() { ended = true; stop() }
	d.has("starting")
	d.keys("esc")
	if !ended {
		t.Error("the watch goes on")
	}
}

// 5,000 observations a second cost the screen at most ten messages a second.
func TestTheScreenIsToldTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, told := newEyes(1), 0
		go func() {
			defer close(e.done)
			each := time.NewTicker(time.Second / 5000) // of the bubble's own clock
			defer each.Stop()
			for range 5000 {
				<-each.C
				e.see(flow.Observation{Kind: flow.SeenPacket})
			}
		}()
		last := 0
		for msg := e.follow()(); msg != nil; msg = e.follow()() {
			told, last = told+1, msg.(seenMsg).packets
			if last == 5000 {
				break
			}
		}
		if told > 11 || last < 4500 { // ten, and the one at the end
			t.Errorf("told %d times, %d packets", told, last)
		}
	})
}

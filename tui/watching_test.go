package tui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// watched are options whose watch sees the observations and gives a report with the words.
func watched(seen []flow.Observation, words ...confirm.Word) Options {
	opt := meshOptions()
	opt.Source.Confirm = func(_ context.Context, in Reading, _ flow.Request, w Watch) (Reading, confirm.Report, error) {
		w.Ready()
		for _, o := range seen {
			w.Seen(o)
		}
		return in, meshReport(words...), nil
	}
	return opt
}

// Every word on a step stands with a sign of its own, at every size.
func TestEveryWordHasItsSign(t *testing.T) {
	words := []confirm.Word{confirm.Confirmed, confirm.NotObserved, confirm.NotObservable, confirm.Unverifiable, confirm.Contradicted}
	signs := map[string]confirm.Word{}
	for _, w := range words {
		g, _ := signOf(w)
		if old, twice := signs[g]; twice {
			t.Errorf("%v and %v have the same sign", old, w)
		}
		signs[g] = w
	}
	for _, sz := range sizes {
		d := drive(t, watched(meshSeen(), words...), sz[0], sz[1])
		d.keys("w", "w")
		d.exact("words")
		if sz[0] < 80 {
			continue
		}
		d.has("●  1 confirmed", "○  2 not observed", "?  4 unverifiable", "!  5 contradicted", "! not as predicted", "● 3 confirmed", "! 2 contradicted", "· 3 not observable")
		if sz[0] >= 100 {
			d.has("·  3 not observable")
		} else {
			d.has("·    not observable 3, 8, 13")
		}
		d.golden(fmt.Sprintf("confirm-words-%dx%d", sz[0], sz[1]))
		d.keys("tab", "tab", "j", "enter") // the steps are the last pane, or the second
		d.exact("steps")
	}
}

// Of a packet the headers show; values that are secrets and all payload wait for a key, and
// then come without anything that a terminal acts on.
func TestPayloadOnlyWhenAsked(t *testing.T) {
	seen := meshSeen()
	seen[3].Head = []byte("GET /a?token=hidden HTTP/1.1\r\nHost: shop\x1b]52;c;eA==\a\r\nAuthorization: Bearer hidden\r\nX-Plain: seen\r\n\r\nbody hidden")
	seen[3].Len = len(seen[3].Head)
	for _, sz := range [][2]int{{80, 24}, {140, 40}} {
		d := drive(t, watched(seen, confirm.Confirmed), sz[0], sz[1])
		d.keys("w", "w", "j", "j", "j", "enter", "z")
		if sz[0] < 100 {
			d.keys("z")
		}
		d.exact("packet")
		d.has("packet 3 on lo", "TCP ACK", "GET /a", `Host: shop\x1b]52`, "Authorization: hidden", "X-Plain: seen", "b shows")
		d.hasNot("Bearer", "token", "body hidden")
		harmless(t, "packet", d.m.View().Content)
		d.keys("b")
		d.has("/a?token=hidden", "Bearer hidden")
		harmless(t, "payload", d.m.View().Content)
		d.keys("esc", "esc")
	}
	// What is no text is shown as bytes.
	seen[3].Head, seen[3].Len = []byte{0x16, 3, 1, 0x1b, '[', '2', 'J', 0xff}, 8
	d := drive(t, watched(seen, confirm.Confirmed), 80, 24)
	d.keys("w", "w", "j", "j", "j", "enter")
	d.has("TLS handshake", "payload hidden: 8 of 8")
	d.keys("b")
	d.has("16 03 01 1b 5b 32 4a ff", "....[2J.")
}

// Nothing is sent before the screen said what, as whom and from where, and y was pressed.
func TestSendAsksFirst(t *testing.T) {
	sent := 0
	opt := meshOptions()
	opt.Source.Confirm = func(_ context.Context, in Reading, _ flow.Request, w Watch) (Reading, confirm.Report, error) {
		sent += b2i(w.Send)
		return in, meshReport(confirm.Confirmed), nil
	}
	for _, sz := range sizes {
		d := drive(t, opt, sz[0], sz[1])
		d.keys("w", "s")
		d.exact("question")
		if sz[0] >= 80 {
			d.has("This sends one real request", "curl -sS http://10.107.42.16/", "uid 0, gid 0", "inside netns outpod", "DELIVERED", "y sends it, once")
			d.golden(fmt.Sprintf("confirm-ask-%dx%d", sz[0], sz[1]))
		}
		d.keys("enter", "space", "s", "w", "esc", "s", "n", "s", "q")
		if sent != 0 || d.quit {
			t.Fatalf("%v: sent %d requests unasked, quit %v", sz, sent, d.quit)
		}
		d.keys("s", "y")
		if sent != 1 {
			t.Fatalf("sent %d requests", sent)
		}
		sent = 0
	}
	d := drive(t, opt, 80, 24)
	d.m.s.reading.Live = false
	d.keys("w")
	d.has("replay what was recorded", "not from a recording")
	d.keys("s", "y")
	d.m.s.reading.Live = true
	d.m.s.trace.Request.Dir = flow.Inbound
	d.keys("s", "y")
	if sent != 0 {
		t.Error("sent what cannot be sent")
	}
}

// A busy pod fills no memory: the first and the newest observations stay, the rest is
// counted, and the screen says so. Paused, the rows stay as they are.
func TestWhatIsLetGoIsSaid(t *testing.T) {
	d := drive(t, watched(nil, confirm.Confirmed), 80, 24)
	d.m.watch(false) // its commands do not run: it goes on
	e := newEyes(d.m.s.gen)
	pour := func(n int) {
		for i := range n {
			o := meshSeen()[3]
			o.Ref = fmt.Sprint("packet ", i)
			e.see(o)
			if i%500 == 0 {
				d.m.Update(e.take())
			}
		}
		d.m.Update(e.take())
	}
	pour(10_000)
	if n := len(d.m.live.log.all()); n != keepFirst+keepLast {
		t.Errorf("%d are kept", n)
	}
	d.has("10000 packets", "7744 let go")
	d.keys("G")
	d.exact("let go")
	d.keys("space")
	d.has("paused")
	rows := len(d.m.live.rows)
	pour(600)
	if d.has("10600 packets"); len(d.m.live.rows) != rows {
		t.Error("the rows change while paused")
	}
	d.keys("g", "j")
	for range keepFirst { // to where they were let go
		d.keys("j")
	}
	d.has("let go")
	d.exact("at the gap")
	// A screen that nobody asks keeps a bounded part too.
	for range 20_000 {
		e.see(flow.Observation{Kind: flow.SeenPacket})
	}
	if n := len(e.take().seen); n > 2*keepLast {
		t.Errorf("%d wait for the screen", n)
	}
}

// While the watch goes on the words are told as they come, and what was not seen may come.
func TestWordsWhileItGoesOn(t *testing.T) {
	d := drive(t, watched(nil, confirm.Confirmed), 80, 24)
	d.m.watch(false)
	e := newEyes(d.m.s.gen)
	w := e.watch(false)
	w.Ready()
	d.m.Update(e.take())
	d.has("live 0 s of 30 s", "listening")
	r := meshReport(confirm.Confirmed, confirm.NotObserved)
	r.Loss = flow.Loss{Dropped: 9, Blind: []flow.Gap{{Part: "conntrack events", Reason: "no\x1b[2J power"}}}
	w.Judged(r)
	d.m.Update(e.take())
	d.has("●  1 confirmed", "○  2 not seen yet", "so far", "9 dropped", `not watched: conntrack events: no\x1b[2J power`)
	d.exact("live")
}

// While a watch goes on the counters stand in their place once they were read again.
func TestCountersMeanwhile(t *testing.T) {
	for _, sz := range [][2]int{{80, 24}, {140, 40}} {
		d := drive(t, watched(nil, confirm.Confirmed), sz[0], sz[1])
		d.m.watch(false)
		e := newEyes(d.m.s.gen)
		w := e.watch(false)
		w.Ready()
		r := meshReport(confirm.Confirmed)
		r.Counts = nil
		w.Judged(r)
		d.m.Update(e.take())
		d.has(countsLater)
		d.exact("live")
		r.Counts = meshReport(confirm.Confirmed).Counts
		w.Judged(r)
		d.m.Update(e.take())
		d.has("7 → 8")
		d.exact("live")
	}
}

// What is exported is what is kept of the packets, and the file's name is shown.
func TestExport(t *testing.T) {
	seen := meshSeen()
	for i := range seen {
		seen[i].Raw = []byte{0x45}
	}
	var got []flow.Observation
	opt := watched(seen, confirm.Confirmed)
	opt.Source.Export = func(_ flow.Trace, seen []flow.Observation, loss flow.Loss) (string, error) {
		got = seen
		if loss.Seen != 41 {
			t.Errorf("loss %+v", loss)
		}
		return "meshtop-1\x1b[2J.pcapng", nil
	}
	d := drive(t, opt, 80, 24)
	d.keys("w", "x")
	d.has("no packet to export")
	d.keys("w", "x")
	d.has(`wrote 7 packets (headers only) to meshtop-1\x1b[2J.pcapng`, "you alone")
	if len(got) != 7 {
		t.Errorf("%d were exported", len(got))
	}
	d.m.s.opt.Source.Export = func(flow.Trace, []flow.Observation, flow.Loss) (string, error) { return "", errors.New("disk full") }
	d.keys("x")
	d.has("not exported: disk full")
}

// Everything that the wire can say is hostile: names of devices, states, heads, logs.
func TestHostileTraffic(t *testing.T) {
	seen := meshSeen()
	for i := range seen {
		plant(reflect.ValueOf(&seen[i]).Elem(), 0)
	}
	for i, head := range []string{"GET /" + evil + " HTTP/1.1\r\n" + evil + ": " + evil + "\r\n", "HTTP/1.1 200 " + evil + "\r\nServer: " + evil + "\r\n\r\n", evil} {
		seen[3+i].Head, seen[3+i].Len = []byte(head), len(head)
	}
	seen = append(seen, flow.Observation{Kind: flow.SeenSocket, Ref: evil}, flow.Observation{Kind: flow.SeenAccessLog, Ref: evil, Fields: map[string]string{"response_code": evil, "response_flags": evil}},
		flow.Observation{Kind: flow.SeenConntrack, Event: evil, State: evil, Ref: evil})
	for _, sz := range [][2]int{{80, 24}, {140, 40}, {60, 16}} {
		for _, start := range []string{"w w", "w w f"} {
			d := drive(t, watched(seen, confirm.Confirmed), sz[0], sz[1])
			d.keys(strings.Fields(start)...)
			for range len(seen) + 1 {
				for _, k := range []string{"enter", "b", "z", "z", "b", "esc"} {
					d.keys(k)
					name := fmt.Sprintf("%v %s: row %d after %s", sz, start, d.m.live.sel, k)
					d.exact(name)
					harmless(t, name, d.m.View().Content)
				}
				if d.m.s.at != confirmID {
					d.keys("w")
				}
				d.m.live.pick(d.m.live.sel + 1)
			}
		}
	}
}

// A program that ends while it watches waits until the watch is over: here the watch ends
// when it sees that the program waits for it, or has ended without.
func TestQuitWaitsForTheWatch(t *testing.T) {
	opt := meshOptions()
	waited, ended := make(chan bool, 1), make(chan struct{})
	opt.Source.Confirm = func(ctx context.Context, in Reading, _ flow.Request, w Watch) (Reading, confirm.Report, error) {
		w.Ready()
		<-ctx.Done()
		for {
			select {
			case <-ended:
				waited <- false
				return in, meshReport(confirm.Confirmed), nil
			default:
			}
			stacks := make([]byte, 1<<20)
			if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("tui.(*owner).wait(")) {
				waited <- true
				return in, meshReport(confirm.Confirmed), nil
			}
		}
	}
	tm := onTerminal(t, opt, 80, 24)
	tm.Sees("DELIVERED")
	tm.Types("w")
	tm.Sees("what to watch")
	tm.Types("w")
	tm.Sees("listening")
	tm.Types("q")
	if err := tm.End(); err != nil {
		t.Error(err)
	}
	close(ended)
	if !<-waited {
		t.Error("the watch goes on after the program ended")
	}
}

// Rows stand in the order of time, whatever device handed them over first; a conntrack
// entry, which is read later, stands before its connection's first packet.
func TestRowsAreInOrder(t *testing.T) {
	seen := meshSeen()
	seen[0].At = seen[0].At.Add(time.Second)
	mixed := append(append([]flow.Observation(nil), seen[4:]...), seen[:4]...)
	admin := flow.Tuple{Src: addr("127.0.0.1:40000"), Dst: addr("127.0.0.1:9901"), Proto: flow.TCP}
	mixed = append(mixed, flow.Observation{Kind: flow.SeenConntrack, Event: "NEW", At: noon(), Ref: "not of the path",
		Tuple: admin, Reply: flow.Tuple{Src: admin.Dst, Dst: admin.Src, Proto: flow.TCP}})
	d := drive(t, watched(mixed, confirm.Confirmed), 80, 24)
	d.keys("w", "w")
	var got []string
	for _, h := range d.m.live.rows {
		got = append(got, render.Clean(h.o.Ref))
	}
	if s := strings.Join(got, ","); s != "id 7,packet 1,packet 2,packet 3,packet 4,packet 5,packet 6,packet 7" {
		t.Error(s)
	}
}

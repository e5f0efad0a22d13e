package local

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// A request that is sent from inside goes through the rules as the user that it asks for:
// the app's is answered by Envoy, the proxy's own is not touched.
func TestSendAs(t *testing.T) {
	p := live(t, lab.New(t, lab.Options{Scene: "block-all"}))
	for _, c := range []struct {
		what string
		uid  uint32
		dst  string
		code int
		ends []flow.TCPEnd
	}{
		{"the app is blocked", 1000, "203.0.113.10:80", 0, []flow.TCPEnd{flow.TCPClosed, flow.TCPReset}},
		{"root is blocked too", 0, "203.0.113.10:80", 0, []flow.TCPEnd{flow.TCPClosed, flow.TCPReset}},
		{"the proxy's uid passes", 1337, "203.0.113.10:80", 200, []flow.TCPEnd{flow.TCPOK}},
		{"loopback is not redirected", 1000, "127.0.0.1:1", 0, []flow.TCPEnd{flow.TCPRefused}},
	} {
		r, err := p.Send(context.Background(), flow.Request{Dst: netip.MustParseAddrPort(c.dst), Proto: flow.TCP, UID: c.uid, GID: c.uid, HTTP: &flow.HTTP{Authority: "x"}})
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		ok := false
		for _, e := range c.ends {
			ok = ok || r.Symptom.TCP == e
		}
		if !ok || r.Symptom.Code != c.code {
			t.Errorf("%s: %+v", c.what, r)
		}
	}
}

// A watch of the pod sees both legs of a request: the redirected one on lo, the proxy's
// own on eth0, and conntrack's word on the first.
func TestObserve(t *testing.T) {
	p := live(t, lab.New(t, lab.Options{Scene: "mesh"}))
	ap := netip.MustParseAddrPort
	legs := []flow.Leg{{From: flow.Conn{Dst: ap("10.107.42.16:80")}, To: flow.Conn{Dst: ap("127.0.0.1:15001")}}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	w, err := p.Observe(ctx, legs, inspect.ObserveOptions{Duration: 20 * time.Second, Snaplen: 256})
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.Send(ctx, flow.Request{Dst: ap("10.107.42.16:80"), Proto: flow.TCP, UID: 1000, GID: 1000, HTTP: &flow.HTTP{Authority: "10.107.42.16"}})
	if err != nil || res.Symptom.Code != 200 {
		t.Fatalf("%+v, %v", res, err)
	}
	want := map[string]bool{"lo": false, "eth0": false, "conntrack": false}
	for left := len(want); left > 0; {
		batch, open := <-w.C()
		if !open {
			t.Fatalf("the watch ended: %v, loss %+v", want, w.Loss())
		}
		for _, o := range batch {
			what := ""
			switch {
			case o.Kind == flow.SeenPacket && o.Device == "lo" && o.Tuple.Src == res.Local && o.Tuple.Dst == legs[0].To.Dst:
				what = "lo"
			case o.Kind == flow.SeenPacket && o.Device == "eth0" && o.Tuple.Dst == legs[0].From.Dst && o.Tuple.Src != res.Local:
				what = "eth0"
			case o.Kind == flow.SeenConntrack && o.Tuple.Src == res.Local && o.Reply.Src == legs[0].To.Dst:
				what = "conntrack"
			}
			if what != "" && !want[what] {
				want[what] = true
				left--
			}
		}
	}
	for range 2 { // closing twice is allowed
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if l := w.Loss(); l.Dropped != 0 || len(l.Blind) != 0 {
		t.Errorf("loss %+v", l)
	}
}

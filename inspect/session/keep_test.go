package session

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// A busy connection keeps its beginning, its end and some of what is between; one that was
// idle keeps what comes then. Past the bound what is let go counts as not seen, so that
// nothing is concluded from its absence.
func TestKeeperIsBounded(t *testing.T) {
	k := newKeeper(toPort80)
	a, b := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80")
	now := time.Unix(1, 0)
	send := func(f flow.TCPFlags, n int) {
		k.add(flow.Observation{Kind: flow.SeenPacket, At: now, Tuple: flow.Tuple{Src: a, Dst: b, Proto: flow.TCP}, Flags: f, Len: n, Raw: []byte{1}})
	}
	want := func(n int) {
		t.Helper()
		if len(k.seen) != n || k.past != 0 {
			t.Fatalf("%d kept, want %d; %d past the bound", len(k.seen), n, k.past)
		}
	}
	send(flow.SYN, 0)
	for range 5000 {
		send(flow.ACK, 7)
		send(flow.ACK, 0)
	}
	want(1 + keptBurst + keptAcks)
	now = now.Add(keptEvery * time.Millisecond)
	send(flow.ACK, 7)
	send(flow.ACK, 7)
	want(2 + keptBurst + keptAcks)
	now = now.Add(time.Minute)
	for range 5000 {
		send(flow.ACK, 7)
	}
	send(flow.FIN|flow.ACK, 0)
	want(3 + 2*keptBurst + keptAcks)
	if last := k.seen[len(k.seen)-1]; last.Flags&flow.FIN == 0 || last.Raw != nil {
		t.Errorf("the last one is %+v", last)
	}
	n := uint64(len(k.seen))
	for range keptAll {
		k.add(flow.Observation{Kind: flow.SeenConntrack, Tuple: flow.Tuple{Src: a, Dst: b}})
	}
	if len(k.seen) != keptAll || k.past != n || k.loss(flow.Loss{Dropped: 2}).Dropped != n+2 {
		t.Errorf("%d kept, %d past the bound", len(k.seen), k.past)
	}
}

var toPort80 = []flow.Leg{{From: flow.Conn{Dst: netip.MustParseAddrPort("10.0.0.2:80")}}}

// New flows to other addresses are no loss, however many they are: they have room of their own,
// and are counted apart.
func TestForeignFlows(t *testing.T) {
	k := newKeeper(toPort80)
	ap := netip.MustParseAddrPort
	track := func(port uint16, dst, reply string) {
		src := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port)
		k.add(flow.Observation{Kind: flow.SeenConntrack, Event: "NEW", Tuple: flow.Tuple{Src: src, Dst: ap(dst)}, Reply: flow.Tuple{Src: ap(reply), Dst: src}})
	}
	for i := range keptAll + keptOther {
		track(uint16(i), "10.9.9.9:443", "10.9.9.9:443")
	}
	if l := k.loss(flow.Loss{}); len(k.seen) != keptOther || l.Dropped != 0 || l.Foreign != keptAll {
		t.Fatalf("%d kept, %+v", len(k.seen), l)
	}
	track(1, "10.0.0.2:80", "127.0.0.1:15001") // by what was dialled
	track(2, "10.9.9.9:80", "10.0.0.2:80")     // by what it became
	for range keptAll - 2 {
		k.add(flow.Observation{Kind: flow.SeenPacket, Flags: flow.SYN})
	}
	if l := k.loss(flow.Loss{}); len(k.seen) != keptOther+keptAll || l.Dropped != 0 || l.Foreign != keptAll {
		t.Errorf("%d kept, %+v", len(k.seen), l)
	}
}

// What is let go is told by the packet before it: a second request on a connection whose first
// one was large is gone, and nobody may say that there was none.
func TestThinned(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.244.1.7:40000"), netip.MustParseAddrPort("127.0.0.1:15001")
	put := func(k *keeper, n int) {
		for range n {
			k.add(flow.Observation{Kind: flow.SeenPacket, At: time.Unix(1, 0), Tuple: flow.Tuple{Src: a, Dst: b, Proto: flow.TCP}, Flags: flow.ACK, Len: 1000})
			k.add(flow.Observation{Kind: flow.SeenPacket, At: time.Unix(1, 0), Tuple: flow.Tuple{Src: b, Dst: a, Proto: flow.TCP}, Flags: flow.ACK})
		}
	}
	thinned := func(k *keeper) (out []int) {
		for i, o := range k.seen {
			if o.Thinned {
				out = append(out, i)
			}
		}
		return out
	}
	k := newKeeper(toPort80)
	if put(k, keptBurst); len(thinned(k)) > 0 {
		t.Errorf("nothing with payload was let go: %v", thinned(k))
	}
	put(k, 6)
	if at := thinned(k); len(at) != 1 || k.seen[at[0]].Tuple.Src != a {
		t.Errorf("%v of %d", at, len(k.seen))
	}
}

// An export holds the packets that were kept as they are, each with the step predicted for
// it, and what was lost.
func TestExport(t *testing.T) {
	client, dst, in := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("127.0.0.1:15001")
	tr := flow.Trace{Legs: []flow.Leg{{From: flow.Conn{Dst: dst}, To: flow.Conn{Dst: in},
		Steps: []flow.Step{{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2\x1b[2J", Reason: flow.Because(flow.WhyToWire, "lo", "x")}}}}}
	packet := func(raw string) flow.Observation {
		return flow.Observation{Kind: flow.SeenPacket, Device: "lo", At: time.Unix(1, 0), Flags: flow.SYN, Raw: []byte(raw), Headers: min(len(raw), len("headers")), Whole: len(raw),
			Tuple: flow.Tuple{Src: client, Dst: in, Proto: flow.TCP}}
	}
	var out bytes.Buffer
	seen := []flow.Observation{packet("headers and the payload"), packet(""), {Kind: flow.SeenConntrack}}
	if err := Export(&out, tr, seen, flow.Loss{Seen: 2, Dropped: 7}, "meshtop test"); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if strings.Contains(got, "payload") {
		t.Error("the file holds a payload, and nobody asked for it")
	}
	for _, want := range []string{"headers", "connection 1, step 1: kernel rule ip nat OUTPUT 2", "meshtop test"} {
		if n := strings.Count(got, want); n != 1 {
			t.Errorf("%q is %d times in the file", want, n)
		}
	}
	if strings.Contains(got, "\x1b[2J") {
		t.Error("the file holds an escape of the rules")
	}
	if err := Export(failing{}, tr, seen, flow.Loss{}, ""); err == nil {
		t.Error("a disk that is full is no error")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fmt.Errorf("full") }

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

// A long connection keeps its beginning and its end; past the bound what is let go counts
// as not seen, so that nothing is concluded from its absence.
func TestKeeperIsBounded(t *testing.T) {
	k := newKeeper()
	a, b := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80")
	send := func(f flow.TCPFlags) {
		k.add(flow.Observation{Kind: flow.SeenPacket, Tuple: flow.Tuple{Src: a, Dst: b, Proto: flow.TCP}, Flags: f, Raw: []byte{1}})
	}
	send(flow.SYN)
	for range 5000 {
		send(flow.ACK)
	}
	send(flow.FIN | flow.ACK)
	if n := len(k.seen); n != keptEach+1 || k.past != 0 {
		t.Fatalf("%d kept, %d past the bound", n, k.past)
	}
	if last := k.seen[len(k.seen)-1]; last.Flags&flow.FIN == 0 || last.Raw != nil {
		t.Errorf("the last one is %+v", last)
	}
	for range keptAll {
		k.add(flow.Observation{Kind: flow.SeenConntrack})
	}
	if len(k.seen) != keptAll || k.past != keptEach+1 || k.loss(flow.Loss{Dropped: 2}).Dropped != keptEach+3 {
		t.Errorf("%d kept, %d past the bound", len(k.seen), k.past)
	}
}

// An export holds the packets that were kept as they are, each with the step predicted for
// it, and what was lost.
func TestExport(t *testing.T) {
	client, dst, in := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80"), netip.MustParseAddrPort("127.0.0.1:15001")
	tr := flow.Trace{Legs: []flow.Leg{{From: flow.Conn{Dst: dst}, To: flow.Conn{Dst: in},
		Steps: []flow.Step{{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2\x1b[2J", Reason: flow.Because(flow.WhyToWire, "lo", "x")}}}}}
	packet := func(raw string) flow.Observation {
		return flow.Observation{Kind: flow.SeenPacket, Device: "lo", At: time.Unix(1, 0), Flags: flow.SYN, Raw: []byte(raw), Whole: len(raw),
			Tuple: flow.Tuple{Src: client, Dst: in, Proto: flow.TCP}}
	}
	var out bytes.Buffer
	seen := []flow.Observation{packet("whole packet"), packet(""), {Kind: flow.SeenConntrack}}
	if err := Export(&out, tr, seen, flow.Loss{Seen: 2, Dropped: 7}, "meshtop test"); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{"whole packet", "connection 1, step 1: kernel rule ip nat OUTPUT 2", "meshtop test"} {
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

package capture

import (
	"iter"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/rules/flow"
)

// each gives what a watch sees, one at a time.
func each(w *Watch) iter.Seq[flow.Observation] {
	return func(yield func(flow.Observation) bool) {
		for batch := range w.C() {
			for _, o := range batch {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// A redirected connection is seen by its packets, its conntrack entry and its sockets.
func TestWatchRedirect(t *testing.T) {
	power.Tools(t, "iptables-nft")
	inNamespace(t, func() {
		if out, err := exec.Command("iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "15001").CombinedOutput(); err != nil {
			t.Errorf("iptables-nft: %v %s", err, out)
			return
		}
		l, err := net.Listen("tcp4", "127.0.0.1:15001")
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		w, err := Open(WatchOptions{Devices: []string{"lo"}, Filter: Filter{{Port: 15001}, {Port: 80}}, Duration: 10 * time.Second, Heads: true})
		if err != nil {
			t.Error(err)
			return
		}
		c, err := net.Dial("tcp4", "127.0.0.2:80")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		want := map[string]bool{"SYN to 15001": false, "SYN-ACK from the original destination": false, "payload": false, "conntrack reply 15001": false, "socket to the original destination": false}
		left := len(want)
		for o := range each(w) {
			if what := recognise(o); what != "" && !want[what] {
				want[what] = true
				if left--; left == 0 {
					break
				}
			}
		}
		if left > 0 {
			t.Errorf("the watch ended; seen %v, loss %+v", want, w.Loss())
			return
		}
		for range 2 { // closing twice is allowed
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		if l := w.Loss(); l.Dropped != 0 || l.Seen < 3 || len(l.Blind) != 0 {
			t.Errorf("loss %+v", l)
		}
	})
}

func recognise(o flow.Observation) string {
	switch {
	case o.Kind == flow.SeenPacket && o.Flags == flow.SYN && o.Tuple.Dst.String() == "127.0.0.1:15001":
		return "SYN to 15001"
	case o.Kind == flow.SeenPacket && o.Flags == flow.SYN|flow.ACK && o.Tuple.Src.String() == "127.0.0.2:80":
		return "SYN-ACK from the original destination"
	case o.Kind == flow.SeenPacket && string(o.Head) == "hello":
		return "payload"
	case o.Kind == flow.SeenConntrack && o.Event == "NEW" && o.Tuple.Dst.String() == "127.0.0.2:80" && o.Reply.Src.String() == "127.0.0.1:15001":
		return "conntrack reply 15001"
	case o.Kind == flow.SeenSocket && o.Tuple.Dst.String() == "127.0.0.2:80":
		return "socket to the original destination"
	}
	return ""
}

// The watch ends at its bounds, and its channel is closed.
func TestWatchBounds(t *testing.T) {
	inNamespace(t, func() {
		w, err := Open(WatchOptions{Devices: []string{"lo"}, Packets: 3})
		if err != nil {
			t.Error(err)
			return
		}
		blast(t, "127.0.0.1:4000", 50, 10)
		for range w.C() {
		}
		if l := w.Loss(); l.Seen != 3 {
			t.Errorf("loss %+v", l)
		}
		w, err = Open(WatchOptions{Devices: []string{"lo", "nosuch0"}, Duration: time.Millisecond})
		if err != nil {
			t.Error(err)
			return
		}
		for range w.C() {
		}
		if l := w.Loss(); len(l.Blind) != 1 || l.Blind[0].Part != "packets on nosuch0" {
			t.Errorf("a device that is not there: %+v", l.Blind)
		}
		if _, err := Open(WatchOptions{Devices: []string{"nosuch0"}}); err == nil {
			t.Error("no device at all")
		}
	})
}

// What was seen before the end can be read after it, packets and conntrack events alike, and
// is counted: Close takes nothing from the reader.
func TestWatchCloseLosesNothing(t *testing.T) {
	power.Tools(t, "iptables-nft")
	inNamespace(t, func() {
		if out, err := exec.Command("iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "REDIRECT", "--to-ports", "15053").CombinedOutput(); err != nil {
			t.Errorf("iptables-nft: %v %s", err, out)
			return
		}
		w, err := Open(WatchOptions{Devices: []string{"lo"}, Filter: Filter{{Port: 4000}}})
		if err != nil {
			t.Error(err)
			return
		}
		const flows = 200
		for range flows { // each from a port of its own
			blast(t, "127.0.0.1:4000", 1, 50)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		packets, ports, began := 0, map[uint16]bool{}, 0 // a port that comes again is of the same flow
		for o := range each(w) {
			switch {
			case o.Kind == flow.SeenPacket && o.Tuple.Proto == flow.UDP && o.Tuple.Dst.Port() == 4000:
				packets++
				ports[o.Tuple.Src.Port()] = true
			case o.Kind == flow.SeenConntrack && o.Event == "NEW" && o.Tuple.Dst.Port() == 4000:
				began++
			}
		}
		if l := w.Loss(); packets != flows || began != len(ports) || l.Dropped != 0 || len(l.Blind) != 0 {
			t.Errorf("%d packets and %d conntrack events of %d sent, from %d ports, loss %+v", packets, began, flows, len(ports), l)
		}
	})
}

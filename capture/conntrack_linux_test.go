package capture

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"reflect"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/rules/flow"
)

// The kernel runs the program of events, and another parser reads what it tells: with the program
// comes what is told without it, and of what becomes of other flows nothing does.
func TestEventsOfTheFilter(t *testing.T) {
	power.Tools(t, "iptables-nft", "ip6tables-nft")
	inNamespace(t, func() {
		for _, tool := range []string{"iptables-nft", "ip6tables-nft"} {
			if out, err := exec.Command(tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "4001").CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", tool, err, out)
				return
			}
		}
		for name, f := range map[string]Filter{
			"a port":                {{Port: 4000}},
			"an address":            {{Addr: netip.MustParseAddr("127.0.0.3")}},
			"both":                  {{Addr: netip.MustParseAddr("127.0.0.3"), Port: 4000}},
			"the next address":      {{Addr: netip.MustParseAddr("127.0.0.4"), Port: 4000}},
			"what it became":        {{Addr: netip.MustParseAddr("127.0.0.1"), Port: 4001}},
			"IPv6":                  {{Addr: netip.MustParseAddr("::1"), Port: 4000}},
			"IPv6, what it became":  {{Addr: netip.MustParseAddr("::1"), Port: 4001}},
			"the last of many":      append(make64(), Endpoint{Addr: netip.MustParseAddr("::1"), Port: 4000}),
			"everything":            nil,
			"more than the program": append(make64(), Endpoint{Port: 9}, Endpoint{Port: 4000}),
		} {
			eventsOf(t, name, f)
		}
	})
}

// make64 are as many endpoints as the program takes, but for one.
func make64() Filter {
	var f Filter
	for i := range maxEndpoints - 1 {
		f = append(f, Endpoint{Addr: netip.AddrFrom16([16]byte{0xfd, 15: byte(i)}), Port: 9})
	}
	return f
}

func eventsOf(t *testing.T, name string, f Filter) {
	all, err := openTracker(nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer all.close()
	some, err := openTracker(f)
	if err != nil {
		t.Error(err)
		return
	}
	defer some.close()
	for _, to := range []string{"127.0.0.3:4000", "127.0.0.3:4001", "127.0.0.9:80", "[::1]:4000", "[::1]:80", "127.0.0.9:4002"} {
		visit(t, "tcp", to)
		visit(t, "udp", to)
	}
	_ = exec.Command("ping", "-c", "1", "-W", "1", "127.0.0.3").Run() // whatever comes of it: it is tracked
	told := datagrams(t, some)
	var want, got []flow.Observation
	foreign := 0
	for _, b := range datagrams(t, all) {
		o, ok := other(t, b)
		switch {
		case !ok:
		case o.Event == "NEW" || len(f) == 0 || f.holds(o.Tuple) || f.holds(o.Reply):
			want = append(want, o)
		default:
			foreign++
		}
	}
	for _, b := range told {
		got = some.observe(got, b, time.Time{})
	}
	if len(want) < 11 || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: told\n%v\nwant\n%v", name, got, want)
	}
	if len(f) > 0 && len(f) <= maxEndpoints && (foreign == 0 || len(told) > len(want)+2) {
		t.Errorf("%s: %d events were given to the watch, %d are asked for, %d are foreign", name, len(told), len(want), foreign)
	}
}

// visit makes a flow that conntrack follows, and ends it if it is one of TCP.
func visit(t *testing.T, network, to string) {
	if network == "tcp" {
		at := netip.MustParseAddrPort(to)
		switch {
		case at.Port() != 80:
		case at.Addr().Is4():
			at = netip.MustParseAddrPort("127.0.0.1:4001")
		default:
			at = netip.AddrPortFrom(at.Addr(), 4001)
		}
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
	}
	c, err := net.Dial(network, to)
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = c.Write([]byte("x"))
	c.Close()
}

// datagrams are what a tracker's socket holds.
func datagrams(t *testing.T, k *tracker) [][]byte {
	var out [][]byte
	err := k.raw.Control(func(fd uintptr) {
		for {
			b := make([]byte, 16<<10)
			n, err := unix.Read(int(fd), b)
			if err != nil {
				if !errors.Is(err, unix.EAGAIN) {
					t.Error(err)
				}
				return
			}
			out = append(out, b[:n])
		}
	})
	if err != nil {
		t.Error(err)
	}
	return out
}

// other reads an event with another parser.
func other(t *testing.T, b []byte) (flow.Observation, bool) {
	all, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(all) != 1 {
		t.Errorf("%d messages: %v", len(all), err)
		return flow.Observation{}, false
	}
	h := all[0].Header
	var e conntrack.Event
	if err := e.Unmarshal(netlink.Message{Header: netlink.Header{Length: h.Len, Type: netlink.HeaderType(h.Type), Flags: netlink.HeaderFlags(h.Flags)}, Data: all[0].Data}); err != nil {
		t.Error(err)
		return flow.Observation{}, false
	}
	tuple := func(c conntrack.Tuple) flow.Tuple {
		return flow.Tuple{Src: netip.AddrPortFrom(c.IP.SourceAddress, c.Proto.SourcePort), Dst: netip.AddrPortFrom(c.IP.DestinationAddress, c.Proto.DestinationPort), Proto: flow.Proto(c.Proto.Protocol)}
	}
	f := e.Flow
	o := flow.Observation{Kind: flow.SeenConntrack, ConntrackID: f.ID, Ref: "conntrack id " + strconv.FormatUint(uint64(f.ID), 10), Tuple: tuple(f.TupleOrig), Reply: tuple(f.TupleReply)}
	o.Event = map[any]string{conntrack.EventNew: "NEW", conntrack.EventUpdate: "UPDATE", conntrack.EventDestroy: "DESTROY"}[e.Type]
	if f.ProtoInfo.TCP != nil {
		o.State = tcpState(f.ProtoInfo.TCP.State)
	}
	return o, o.Tuple.Proto == flow.TCP || o.Tuple.Proto == flow.UDP
}

package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// sampler reads the socket table with each socket's owner (sock_diag(7)). A flow's two
// ends are only there while it is open, so the watch asks when it sees a new flow.
type sampler struct {
	handle *netlink.Handle
	filter Filter
	owners []uint32            // whose sockets are kept whatever their addresses
	seen   map[flow.Tuple]bool // that were there the last time: a watch can be long
}

// openSampler opens the sampler's socket in the calling thread's network namespace. What is
// open by then is not new any more.
func openSampler(f Filter, owners []uint32) (*sampler, error) {
	h, err := netlink.NewHandle(unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("socket table: %w", err)
	}
	s := &sampler{handle: h, filter: f, owners: owners, seen: map[flow.Tuple]bool{}}
	if _, err := s.sample(time.Time{}); err != nil {
		h.Close()
		return nil, err
	}
	return s, nil
}

// sample returns the sockets of the filter that it has not returned before.
func (s *sampler) sample(at time.Time) ([]flow.Observation, error) {
	var out []flow.Observation
	now := make(map[flow.Tuple]bool, len(s.seen))
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		socks, err := s.handle.SocketDiagTCP(family)
		if err != nil {
			return out, fmt.Errorf("socket table: %w", err)
		}
		listening := map[uint16]bool{}
		for _, k := range socks {
			if k.State == tcpListen {
				listening[k.ID.SourcePort] = true
			}
		}
		for _, k := range socks {
			t := flow.Tuple{Src: addrOf(k.ID.Source, k.ID.SourcePort), Dst: addrOf(k.ID.Destination, k.ID.DestinationPort), Proto: flow.TCP}
			if k.State == tcpListen || k.INode == 0 || !s.keeps(t, k.UID, listening[k.ID.SourcePort]) {
				continue // a socket without inode has no process any more, and so no owner
			}
			if now[t] = true; s.seen[t] {
				continue
			}
			out = append(out, flow.Observation{Kind: flow.SeenSocket, At: at, Ref: "socket inode " + strconv.FormatUint(uint64(k.INode), 10), Tuple: t, UID: k.UID})
		}
	}
	s.seen = now
	return out, nil
}

// keeps says whether a socket is of the filter, or one that an owner opened itself: its
// local port is none that somebody listens on.
func (s *sampler) keeps(t flow.Tuple, uid uint32, accepted bool) bool {
	return s.filter.holds(t) || !accepted && slices.Contains(s.owners, uid)
}

// tcpListen is TCP_LISTEN (net/tcp_states.h).
const tcpListen = 10

func addrOf(ip []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

func (s *sampler) close() { s.handle.Close() }

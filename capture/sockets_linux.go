package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// sampler reads the socket table with each socket's owner (sock_diag(7)). A flow's two
// ends are only there while it is open, so the watch asks when it sees a new flow.
type sampler struct {
	fd     int
	filter Filter
	owners []uint32            // whose sockets are kept whatever their addresses
	seen   map[flow.Tuple]bool // that were there the last time: a watch can be long
}

// openSampler opens the sampler's socket in the calling thread's network namespace. What is
// open by then is not new any more.
func openSampler(f Filter, owners []uint32) (*sampler, error) {
	fd, err := OpenDiag()
	if err != nil {
		return nil, fmt.Errorf("socket table: %w", err)
	}
	s := &sampler{fd: fd, filter: f, owners: owners, seen: map[flow.Tuple]bool{}}
	if _, err := s.sample(time.Time{}); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// sample returns the sockets of the filter that it has not returned before.
func (s *sampler) sample(at time.Time) ([]flow.Observation, error) {
	var out []flow.Observation
	now := make(map[flow.Tuple]bool, len(s.seen))
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		socks, listening := []diagnosed{}, map[uint16]bool{}
		err := DumpSockets(s.fd, family, flow.TCP, OpenStates, func(b []byte) error {
			k := diagnosedOf(b)
			socks = append(socks, k)
			if k.state == tcpListen {
				listening[k.tuple.Src.Port()] = true
			}
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("socket table: %w", err)
		}
		for _, k := range socks {
			if k.state == tcpListen || k.inode == 0 || !s.keeps(k.tuple, k.uid, listening[k.tuple.Src.Port()]) {
				continue // a socket without inode has no process any more, and so no owner
			}
			if now[k.tuple] = true; s.seen[k.tuple] {
				continue
			}
			out = append(out, flow.Observation{Kind: flow.SeenSocket, At: at, Ref: "socket inode " + strconv.FormatUint(uint64(k.inode), 10), Tuple: k.tuple, UID: k.uid})
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

// diagnosed is what a socket's message says of it.
type diagnosed struct {
	tuple      flow.Tuple // local and peer
	state      uint8
	uid, inode uint32
}

// diagnosedOf reads a struct inet_diag_msg.
func diagnosedOf(b []byte) diagnosed {
	side := func(addr, port []byte) netip.AddrPort {
		a := netip.AddrFrom4([4]byte(addr[:4]))
		if b[0] == unix.AF_INET6 {
			a = netip.AddrFrom16([16]byte(addr[:16])).Unmap()
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	}
	return diagnosed{flow.Tuple{Src: side(b[8:], b[4:]), Dst: side(b[24:], b[6:]), Proto: flow.TCP}, b[1],
		binary.NativeEndian.Uint32(b[64:]), binary.NativeEndian.Uint32(b[68:])}
}

// close frees the socket. It may be called twice.
func (s *sampler) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

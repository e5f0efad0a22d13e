package confirm

import (
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// conn is everything that was seen of one connection. The client's address and port name it,
// since they stay the same through destination NAT; one port of a client can open several,
// to other addresses or one after the other.
type conn struct {
	client  netip.AddrPort
	mapped  netip.AddrPort   // what the client is called behind source translation; zero: the same
	dst     netip.AddrPort   // as its client dialled it, if that was seen
	peers   []netip.AddrPort // what the other end is called: as dialled, and as translated
	first   time.Time
	track   *flow.Observation // the last of its conntrack entry; nil: none was seen
	began   *flow.Observation // conntrack's NEW
	replied *flow.Observation // an entry in a state that only an answer brings about
	packets []*flow.Observation
	socket  *flow.Observation // the client's end

	said *said // what the client wrote; nil: not looked at yet
}

// syn is the packet that opens the connection; nil: it was not seen.
func (x *conn) syn() *flow.Observation {
	for _, p := range x.packets {
		if x.own(p.Tuple.Src) && p.Flags&(flow.SYN|flow.ACK) == flow.SYN {
			return p
		}
	}
	return nil
}

// own says whether an address is the client's. The kernel gives a connection another port where
// its answers would have the addresses of one before it: two destinations that the client dialled
// from one port are redirected to one listener (nf_nat_core.c, get_unique_tuple). What goes to
// the listener bears the new port, and the answers, translated back already, the client's.
func (x *conn) own(a netip.AddrPort) bool {
	return a == x.client || x.mapped.IsValid() && a == x.mapped
}

// fresh says whether the connection was seen to begin.
func (x *conn) fresh() bool { return x.began != nil || x.syn() != nil }

// uid is the owner of the client's socket.
func (x *conn) uid() (uint32, bool) {
	if x.socket == nil {
		return 0, false
	}
	return x.socket.UID, true
}

// meets notes one more name of the other end, and the time.
func (x *conn) meets(at time.Time, peers ...netip.AddrPort) *conn {
	if at.Before(x.first) {
		x.first = at
	}
	for _, p := range peers {
		if !slices.Contains(x.peers, p) {
			x.peers = append(x.peers, p)
		}
	}
	return x
}

// ended says whether only the end of its conntrack entry was seen: it began before the watch.
func (x *conn) ended() bool {
	return x.began == nil && x.track != nil && x.track.Event == "DESTROY"
}

// heard says whether a packet was seen that the client sent, or that it got.
func (x *conn) heard(toClient bool) bool {
	return slices.ContainsFunc(x.packets, func(p *flow.Observation) bool { return x.own(p.Tuple.Dst) == toClient })
}

// joiner makes connections of what was seen.
type joiner struct {
	by  map[netip.AddrPort][]*conn // of each client, in the order in which they were met
	all []*conn
}

func (j *joiner) add(client netip.AddrPort, at time.Time, peers ...netip.AddrPort) *conn {
	x := &conn{client: client, first: at, peers: peers}
	j.by[client], j.all = append(j.by[client], x), append(j.all, x)
	return x
}

// last is the newest connection of a client that a test holds for.
func (j *joiner) last(client netip.AddrPort, is func(*conn) bool) *conn {
	for _, x := range slices.Backward(j.by[client]) {
		if is(x) {
			return x
		}
	}
	return nil
}

// track gives a conntrack event to its connection: another entry is another connection.
func (j *joiner) track(o *flow.Observation) {
	client, dst := o.Tuple.Src, o.Tuple.Dst
	x := j.last(client, func(x *conn) bool {
		if x.track == nil {
			return slices.Contains(x.peers, dst) // its socket was seen
		}
		return x.dst == dst && x.track.ConntrackID == o.ConntrackID
	})
	if x == nil {
		x = j.add(client, o.At)
	}
	x.meets(o.At, dst, o.Reply.Src)
	x.track, x.dst = o, dst
	if to := o.Reply.Dst; to.IsValid() && to != client && !x.mapped.IsValid() {
		x.mapped = to
		j.by[to] = append(j.by[to], x)
	}
	if o.Event == "NEW" {
		x.began = o
	}
	if answers(o.State) {
		x.replied = o
	}
}

// answers says whether a TCP state of conntrack's says that the server answered
// (net/netfilter/nf_conntrack_proto_tcp.c).
func answers(state string) bool {
	switch state {
	case "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT":
		return true
	}
	return false
}

// own gives a socket to its connection.
func (j *joiner) own(o *flow.Observation) {
	x := j.last(o.Tuple.Src, func(x *conn) bool { return slices.Contains(x.peers, o.Tuple.Dst) })
	if x == nil {
		x = j.add(o.Tuple.Src, o.At, o.Tuple.Dst)
	}
	if x.meets(o.At); x.socket == nil {
		x.socket = o
	}
}

// packet gives a packet to its connection: to the one whose client sent or gets it. A SYN
// names the client; a packet of a connection whose SYN was not seen (a pool) goes to the side
// that the trace does not name as a server.
func (j *joiner) packet(o *flow.Observation, servers map[netip.AddrPort]bool) {
	src, dst := o.Tuple.Src, o.Tuple.Dst
	var x *conn
	switch {
	case o.Flags&(flow.SYN|flow.ACK) == flow.SYN:
		x = j.opened(o)
	case o.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
		x = j.accepted(o)
	case j.by[src] != nil && !servers[src]:
		x = j.carried(src, dst, o)
	case j.by[dst] != nil && !servers[dst]:
		x = j.carried(dst, src, o)
	case servers[dst]:
		x = j.carried(src, dst, o)
	case servers[src]:
		x = j.carried(dst, src, o)
	default:
		return
	}
	x.packets = append(x.packets, o)
}

// opened is the connection that a SYN opens. One with the same number is the same SYN, sent
// again or seen on another device.
func (j *joiner) opened(o *flow.Observation) *conn {
	client, dst := o.Tuple.Src, o.Tuple.Dst
	for _, x := range j.by[client] {
		s := x.syn()
		again := s != nil && s.Seq == o.Seq && (s.Seq != 0 || s.Tuple.Dst == dst)
		open := s == nil && len(x.packets) == 0 && !x.ended() && (x.track == nil || slices.Contains(x.peers, dst))
		if again || open {
			return x.meets(o.At, dst)
		}
	}
	return j.add(client, o.At, dst)
}

// accepted is the connection that a SYN-ACK answers: by its number, else by its address.
func (j *joiner) accepted(o *flow.Observation) *conn {
	peer, client := o.Tuple.Src, o.Tuple.Dst
	x := j.last(client, func(x *conn) bool { s := x.syn(); return s != nil && o.Ack == s.Seq+1 })
	if x == nil {
		return j.carried(client, peer, o)
	}
	return x.meets(o.At, peer)
}

// carried is the connection of any other packet: the newest with this peer that has begun by
// then. The two directions of a translated connection show different peers: without conntrack
// the second is learnt from the first packet that goes that way.
func (j *joiner) carried(client, peer netip.AddrPort, o *flow.Observation) *conn {
	x := j.last(client, func(x *conn) bool {
		s := x.syn()
		return slices.Contains(x.peers, peer) && (s == nil || !o.At.Before(s.At))
	})
	if x == nil {
		x = j.last(client, func(x *conn) bool { return x.track == nil && !x.heard(o.Tuple.Dst == client) })
	}
	if x == nil {
		return j.add(client, o.At, peer)
	}
	return x.meets(o.At, peer)
}

// conns are the connections in the order in which they were first seen.
func (j *joiner) conns() []*conn {
	sort.SliceStable(j.all, func(a, b int) bool { return j.all[a].first.Before(j.all[b].first) })
	return j.all
}

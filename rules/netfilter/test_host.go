package netfilter

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// Address types as bits (include/uapi/linux/rtnetlink.h, RTN_*).
const (
	typeUnspec = 1 << iota
	typeUnicast
	typeLocal
	typeBroadcast
	typeAnycast
	typeMulticast
	typeBlackhole
	typeUnreachable
	typeProhibit
	typeThrow
	typeNAT
	typeXResolve
)

// addrtypeTest is -m addrtype.
type addrtypeTest struct {
	src, dst          uint16
	notSrc, notDst    bool
	limitIn, limitOut bool
	odd               bool // something in it could not be read
}

func (t *addrtypeTest) ask(p *packet) flow.Answer {
	if t.odd {
		return flow.Maybe
	}
	dev := ""
	if t.limitIn {
		dev = p.in
	} else if t.limitOut {
		dev = p.out
	}
	a := flow.Yes
	if t.src != 0 {
		one := p.host.hasType(p.src, p.v6, dev, t.src)
		if p.srcUnknown {
			one = flow.Maybe
		}
		if t.notSrc {
			one = one.Not()
		}
		a = one
	}
	if t.dst != 0 {
		one := p.host.hasType(p.dst, p.v6, dev, t.dst)
		if t.notDst {
			one = one.Not()
		}
		a = a.And(one)
	}
	return a
}

func (t *addrtypeTest) fact(p *packet) (flow.ReasonKind, string) {
	a := p.dst
	if t.src != 0 && t.dst == 0 {
		a = p.src
	}
	switch p.host.local(a, p.v6) {
	case flow.Yes:
		return flow.WhyAddrLocal, a.addr(p.v6).String()
	case flow.No:
		return flow.WhyAddrNotLocal, a.addr(p.v6).String()
	}
	return flow.WhyAddrUnknown, a.addr(p.v6).String()
}

// setTest is -m set.
type setTest struct {
	name string
	dirs []bool // of each dimension: true: the source's
	neg  bool
	set  *ipset // nil: its content was not read
	odd  bool   // an option that is not modelled, such as --return-nomatch
}

func (t *setTest) ask(p *packet) flow.Answer {
	if t.set == nil || t.odd {
		return flow.Maybe
	}
	a := t.set.has(p, t.dirs)
	if t.neg {
		return a.Not()
	}
	return a
}

func (t *setTest) fact(p *packet) (flow.ReasonKind, string) {
	if t.set == nil {
		return flow.WhySetUnread, t.name
	}
	return flow.WhySetAnswers, t.name
}

// socketTest is -m socket: an established connection or a listener of this host that
// the packet is for (xt_socket.c, socket_match).
type socketTest struct {
	transparent, nowildcard, restore bool
}

func (t *socketTest) ask(p *packet) flow.Answer {
	s, found := p.receiver()
	if found != flow.Yes {
		return found
	}
	if !t.nowildcard && s.Local.Addr().IsUnspecified() {
		return flow.No
	}
	if t.transparent {
		return s.Transparent
	}
	return flow.Yes
}

func (t *socketTest) fact(p *packet) (flow.ReasonKind, string) {
	s, found := p.receiver()
	switch found {
	case flow.Yes:
		return flow.WhySocketFound, s.Local.String()
	case flow.No:
		return flow.WhySocketNone, p.dstPort().String()
	}
	return flow.WhySocketUnknown, p.dstPort().String()
}

// receiver is the socket that would get the packet now. The connection is new, so only
// listeners and unconnected sockets can.
func (p *packet) receiver() (Socket, flow.Answer) {
	if p.assigned.IsValid() {
		return p.listener, flow.Yes
	}
	return p.host.Listening(flow.Proto(p.proto), netip.AddrPortFrom(p.dst.addr(p.v6), p.dport))
}

// physdevTest is -m physdev: where nothing is bridged, only negated conditions hold
// (xt_physdev.c, physdev_mt).
type physdevTest struct{ positive bool }

func (t *physdevTest) ask(p *packet) flow.Answer {
	if p.host.bridged() != flow.No {
		return flow.Maybe
	}
	return flow.Is(!t.positive)
}

func (t *physdevTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyNotBridged, "" }

// statTest is -m statistic: a draw, or every nth packet.
type statTest struct {
	random bool
	share  uint64 // random: of 1<<31 (xt_statistic.c)
	every  uint64 // nth
	neg    bool
	given  bool // the odds stand there
}

const statWhole = 1 << 31

func (t *statTest) ask(*packet) flow.Answer {
	match, rest := t.odds()
	switch {
	case match == 0:
		return flow.No
	case rest == 0:
		return flow.Yes
	}
	return flow.Maybe
}

func (t *statTest) odds() (match, rest uint64) {
	match, rest = t.share, statWhole-t.share
	if !t.random {
		match, rest = 1, max(t.every, 1)-1
	}
	if t.neg {
		match, rest = rest, match
	}
	return match, rest
}

func (t *statTest) options(*packet) (flow.ChoiceKind, []flow.Option) {
	m, r := t.odds()
	return flow.Chance, []flow.Option{{Value: "match", Weight: m}, {Value: "no-match", Weight: r}}
}

func (t *statTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyDrawDecides, "" }

// stateTest depends on a state that no snapshot holds: a bucket, a counter, a list, the
// clock. usual says which way it goes as long as nothing is exceeded.
type stateTest struct {
	usual flow.Answer // Maybe: neither way is the usual one
	when  string      // of the other way
}

func (t *stateTest) ask(*packet) flow.Answer { return flow.Maybe }

func (t *stateTest) options(*packet) (flow.ChoiceKind, []flow.Option) {
	o := []flow.Option{{Value: "match"}, {Value: "no-match"}}
	switch t.usual {
	case flow.Yes:
		o[1].When = t.when
	case flow.No:
		o[0].When = t.when
	default:
		return flow.Unmodelled, o
	}
	return flow.Condition, o
}

func (t *stateTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyStateDecides, t.when }

// opaqueTest is a match that is not modelled.
type opaqueTest struct{}

func (opaqueTest) ask(*packet) flow.Answer                { return flow.Maybe }
func (opaqueTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyMatchNotModelled, "" }

// fixedTest always answers the same.
type fixedTest struct{ answer flow.Answer }

func (t fixedTest) ask(*packet) flow.Answer                { return t.answer }
func (t fixedTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyEveryPacket, "" }

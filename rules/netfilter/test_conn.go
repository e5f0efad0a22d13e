package netfilter

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Bits of --ctstate (include/uapi/linux/netfilter/xt_conntrack.h and nf_conntrack_common.h).
const (
	stateNew = 1 << iota
	stateEstablished
	stateRelated
	stateInvalid
	stateUntracked
	stateDNAT
	stateSNAT
)

// Bits of a connection's status that rules can see (enum ip_conntrack_status).
const (
	statusExpected  = 1 << 0
	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
	statusConfirmed = 1 << 3
	statusSNAT      = 1 << 4
	statusDNAT      = 1 << 5
	statusSNATDone  = 1 << 7
	statusDNATDone  = 1 << 8
	statusTemplate  = 1 << 11
)

// stateBits are what --ctstate compares: the state, and for a connection whether NAT
// changed it.
func (p *packet) stateBits() uint8 {
	switch p.ct.state {
	case untracked:
		return stateUntracked
	case noConn:
		return stateInvalid
	}
	bits := uint8(stateNew)
	if p.ct.dnat {
		bits |= stateDNAT
	}
	if p.ct.snat {
		bits |= stateSNAT
	}
	return bits
}

func (p *packet) statusBits() uint32 {
	if p.ct.state == template {
		return statusTemplate | statusConfirmed // xt_CT.c, xt_ct_tg_check
	}
	var bits uint32
	for _, b := range []struct {
		on  bool
		bit uint32
	}{{p.ct.confirmed, statusConfirmed}, {p.ct.snat, statusSNAT}, {p.ct.dnat, statusDNAT}, {p.ct.srcDone, statusSNATDone}, {p.ct.dstDone, statusDNATDone}} {
		if b.on {
			bits |= b.bit
		}
	}
	return bits
}

func (p *packet) stateWords() string {
	switch p.ct.state {
	case untracked:
		return "UNTRACKED"
	case noConn:
		return "INVALID"
	}
	words := []string{"NEW"}
	if p.ct.dnat {
		words = append(words, "DNAT")
	}
	if p.ct.snat {
		words = append(words, "SNAT")
	}
	return strings.Join(words, ",")
}

// conntrackTest is -m conntrack and -m state: all its conditions must hold. Without a
// connection only the state is looked at (xt_conntrack.c, conntrack_mt).
type conntrackTest struct {
	states             uint8
	hasState, notState bool
	status             uint32
	hasStatus, notStat bool
	hasDir, reply      bool
	expire             bool
	odd                bool // something in it could not be read
	more               []connCond
	hasProto, notProto bool
	proto              uint8
}

// connCond compares an address or a port of one direction.
type connCond struct {
	reply, dst, neg bool
	isPort          bool
	net, mask       ip
	port            portRange
}

func (c *connCond) holds(p *packet) flow.Answer {
	t := p.direction(c.reply)
	a, port := t.src, t.sport
	if c.dst {
		a, port = t.dst, t.dport
	}
	if c.isPort {
		if port == 0 && p.ct.state == newConn {
			return flow.Maybe
		}
		return flow.Is(c.port.has(port) != c.neg)
	}
	if p.srcUnknown && c.dst == c.reply && p.ct.state == newConn {
		return flow.Maybe
	}
	return flow.Is((a.and(c.mask) == c.net) != c.neg)
}

func (t *conntrackTest) ask(p *packet) flow.Answer {
	if t.odd {
		return flow.Maybe
	}
	if t.hasState && (t.states&p.stateBits() != 0) == t.notState {
		return flow.No
	}
	if p.ct.state != newConn && p.ct.state != template {
		return flow.Is(t.hasState)
	}
	a := flow.Yes
	if t.hasDir {
		a = flow.Is(!t.reply)
	}
	if t.hasProto {
		a = a.And(flow.Is((p.connProto() == t.proto) != t.notProto))
	}
	if t.hasStatus {
		a = a.And(flow.Is((p.statusBits()&t.status != 0) != t.notStat))
	}
	for i := range t.more {
		a = a.And(t.more[i].holds(p))
	}
	if t.expire {
		a = a.And(flow.Maybe)
	}
	return a
}

func (t *conntrackTest) fact(p *packet) (flow.ReasonKind, string) {
	if !t.hasState && p.ct.state != newConn {
		return flow.WhyNoConn, ""
	}
	return flow.WhyConnState, p.stateWords()
}

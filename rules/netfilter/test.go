package netfilter

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// test is one condition of a rule. It must not change the packet: asking twice says the
// same. Its sources are iptables-extensions(8) and the kernel's net/netfilter/xt_*.c.
type test interface {
	// ask answers for a packet; Maybe where the snapshot does not say.
	ask(p *packet) flow.Answer
	// fact is what the packet has, for the words of a loser.
	fact(p *packet) (flow.ReasonKind, string)
}

// chance is a test that a draw or a state decides; it then says the odds.
type chance interface {
	// options are those of "match" and "no-match", in this order.
	options(p *packet) (flow.ChoiceKind, []flow.Option)
}

// cond is a test with the place of its words in the rule's text.
type cond struct {
	test
	text string
}

// ---- header

// away is how an address is called of which only that is known.
const away = "one of another host"

// addrTest compares the source or destination address.
type addrTest struct {
	src, neg  bool
	net, mask ip
}

func (t *addrTest) ask(p *packet) flow.Answer {
	a := p.dst
	if t.src {
		if p.srcUnknown && !t.mask.zero() {
			if p.srcAway && t.net.lo>>24 == 127 && t.mask.lo>>24 == 255 {
				return flow.Is(t.neg)
			}
			return flow.Maybe
		}
		a = p.src
	}
	return flow.Is((a.and(t.mask) == t.net) != t.neg)
}

func (t *addrTest) fact(p *packet) (flow.ReasonKind, string) {
	if t.src && p.srcAway {
		return flow.WhyPacketSrc, away
	}
	if t.src {
		return flow.WhyPacketSrc, p.src.addr(p.v6).String()
	}
	return flow.WhyPacketDst, p.dst.addr(p.v6).String()
}

// rangeTest is -m iprange.
type rangeTest struct {
	src, neg bool
	from, to ip
}

func (t *rangeTest) ask(p *packet) flow.Answer {
	a := p.dst
	if t.src {
		if a = p.src; p.srcUnknown {
			return flow.Maybe
		}
	}
	return flow.Is(a.within(t.from, t.to) != t.neg)
}

func (t *rangeTest) fact(p *packet) (flow.ReasonKind, string) {
	return (&addrTest{src: t.src}).fact(p)
}

// deviceTest compares -i or -o; a name that ends in + stands for all that begin so.
type deviceTest struct {
	out, neg, prefix bool
	name             string
}

func (t *deviceTest) ask(p *packet) flow.Answer {
	name := p.in
	if t.out {
		name = p.out
	}
	if t.prefix {
		return flow.Is((len(name) >= len(t.name) && name[:len(t.name)] == t.name) != t.neg)
	}
	return flow.Is((name == t.name) != t.neg)
}

func (t *deviceTest) fact(p *packet) (flow.ReasonKind, string) {
	if t.out {
		return flow.WhyPacketOut, p.out
	}
	return flow.WhyPacketIn, p.in
}

// protoTest compares the protocol; number 0 stands for all.
type protoTest struct {
	number uint8
	neg    bool
}

func (t *protoTest) ask(p *packet) flow.Answer {
	return flow.Is((t.number == 0 || p.proto == t.number) != t.neg)
}

func (t *protoTest) fact(p *packet) (flow.ReasonKind, string) {
	return flow.WhyPacketProto, flow.Proto(p.proto).String()
}

// fragmentTest is -f: the first packet of a connection is no further fragment.
type fragmentTest struct{ neg bool }

func (t *fragmentTest) ask(*packet) flow.Answer { return flow.Is(t.neg) }
func (t *fragmentTest) fact(*packet) (flow.ReasonKind, string) {
	return flow.WhyPacketWhole, ""
}

// ---- ports

// ports says which port a test looks at.
type ports uint8

const (
	dstPorts ports = iota
	srcPorts
	eitherPort
)

type portRange struct{ from, to uint16 }

func (r portRange) has(p uint16) bool { return p >= r.from && p <= r.to }

// portTest is --sport, --dport and those of -m multiport. list is the longer form.
type portTest struct {
	which ports
	neg   bool
	one   portRange
	list  []portRange // valid iff not nil, then instead of one
}

func (t *portTest) ask(p *packet) flow.Answer {
	if t.which != srcPorts && t.has(p.dport) || t.which != dstPorts && p.sport != 0 && t.has(p.sport) {
		return flow.Is(!t.neg)
	}
	// An ephemeral source port is not known before the kernel draws it; 0 only says so, also
	// where a range such as :1024 begins with it.
	if t.which != dstPorts && p.sport == 0 {
		if t.full() {
			return flow.Is(!t.neg)
		}
		return flow.Maybe
	}
	return flow.Is(t.neg)
}

// full says that every port fits.
func (t *portTest) full() bool {
	for _, r := range t.ranges() {
		if r.from <= 1 && r.to == 65535 {
			return true
		}
	}
	return false
}

func (t *portTest) ranges() []portRange {
	if t.list == nil {
		return []portRange{t.one}
	}
	return t.list
}

func (t *portTest) has(port uint16) bool {
	if t.list == nil {
		return t.one.has(port)
	}
	for _, r := range t.list {
		if r.has(port) {
			return true
		}
	}
	return false
}

func (t *portTest) fact(p *packet) (flow.ReasonKind, string) {
	if t.which == srcPorts {
		return flow.WhyPacketSport, portWord(p.sport)
	}
	return flow.WhyPacketDport, portWord(p.dport)
}

func portWord(p uint16) string {
	if p == 0 {
		return ""
	}
	return strconv.Itoa(int(p))
}

// flagsTest is --tcp-flags and --syn.
type flagsTest struct {
	mask, want uint8
	neg        bool
}

func (t *flagsTest) ask(p *packet) flow.Answer {
	return flow.Is((p.tcpFlags&t.mask == t.want) != t.neg)
}

func (t *flagsTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyPacketSYN, "" }

// icmpTest is --icmp-type and --icmpv6-type. A request over ICMP is an echo request.
type icmpTest struct {
	neg              bool
	kind             uint8 // 255: any (xt_tcpudp.c, icmp_match)
	codeFrom, codeTo uint8
}

func (t *icmpTest) ask(p *packet) flow.Answer {
	echo := uint8(8)
	if p.v6 {
		echo = 128
	}
	is := t.kind == 255 && !p.v6 || t.kind == echo && t.codeFrom == 0
	return flow.Is(is != t.neg)
}

func (t *icmpTest) fact(*packet) (flow.ReasonKind, string) { return flow.WhyPacketEcho, "" }

// ---- marks

// markTest compares the packet's mark.
type markTest struct {
	value, mask uint32
	neg         bool
}

func (t *markTest) ask(p *packet) flow.Answer {
	return flow.Is((p.mark&t.mask == t.value) != t.neg)
}

func (t *markTest) fact(p *packet) (flow.ReasonKind, string) {
	return flow.WhyPacketMark, hex(p.mark)
}

// connmarkTest compares the connection's mark: without a connection it is false, also
// where it is negated (xt_connmark.c, connmark_mt).
type connmarkTest struct{ markTest }

func (t *connmarkTest) ask(p *packet) flow.Answer {
	if p.ct.state != newConn && p.ct.state != template {
		return flow.No
	}
	if p.ct.markUnknown {
		return flow.Maybe
	}
	return flow.Is((p.ct.mark&t.mask == t.value) != t.neg)
}

func (t *connmarkTest) fact(p *packet) (flow.ReasonKind, string) {
	if p.ct.state != newConn && p.ct.state != template {
		return flow.WhyNoConn, ""
	}
	if p.ct.markUnknown {
		return flow.WhyMatchNotModelled, ""
	}
	return flow.WhyConnMark, hex(p.ct.mark)
}

func hex(n uint32) string { return "0x" + strconv.FormatUint(uint64(n), 16) }

// ---- owner

type idRange struct{ from, to uint32 }

func (r idRange) has(id uint32) bool { return id >= r.from && id <= r.to }

// ownerTest is -m owner: all of its conditions must hold. A socket that no process holds
// has no owner: then only negated conditions hold (xt_owner.c, owner_mt).
type ownerTest struct {
	uid, gid          idRange
	hasUID, hasGID    bool
	notUID, notGID    bool
	exists, notExists bool // --socket-exists was given; negated
	suppl             bool // --suppl-groups: other groups of the process count too
	unknownName       bool // a user or group by a name that only the pod can resolve
}

func (t *ownerTest) ask(p *packet) flow.Answer {
	if p.sock == noSocket {
		// No socket at all: every condition that is not negated fails, also --socket-exists.
		return flow.Is((!t.hasUID || t.notUID) && (!t.hasGID || t.notGID) && (!t.exists || t.notExists) && !t.suppl && !t.unknownName)
	}
	a := flow.Is(!t.exists || !t.notExists)
	if p.sock == kernelSocket {
		return a.And(flow.Is((!t.hasUID || t.notUID) && (!t.hasGID || t.notGID) && !t.unknownName))
	}
	if t.hasUID {
		a = a.And(flow.Is(t.uid.has(p.uid) != t.notUID))
	}
	if t.hasGID {
		in := flow.Is(t.gid.has(p.gid))
		if in == flow.No && t.suppl {
			in = flow.Maybe // the request does not say the supplementary groups
		}
		if t.notGID {
			in = in.Not()
		}
		a = a.And(in)
	}
	if t.unknownName {
		a = a.And(flow.Maybe)
	}
	return a
}

func (t *ownerTest) fact(p *packet) (flow.ReasonKind, string) {
	switch {
	case p.sock != fileSocket:
		return flow.WhyPacketNoOwner, ""
	case t.hasUID && t.uid.has(p.uid) == t.notUID:
		return flow.WhyPacketUID, strconv.FormatUint(uint64(p.uid), 10)
	case t.hasGID:
		return flow.WhyPacketGID, strconv.FormatUint(uint64(p.gid), 10)
	case t.exists:
		return flow.WhyPacketOwned, ""
	}
	return flow.WhyPacketUID, strconv.FormatUint(uint64(p.uid), 10)
}

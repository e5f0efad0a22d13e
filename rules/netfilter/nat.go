package netfilter

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// natKind is how a target chooses the new address.
type natKind uint8

const (
	natGiven      natKind = iota // DNAT, SNAT
	natRedirect                  // to this host
	natMasquerade                // from the device's own address
	natMap                       // NETMAP: the network part only
)

// natAct is a target that changes an address: REDIRECT, DNAT, SNAT, MASQUERADE, NETMAP.
type natAct struct {
	kind     natKind
	src      bool // it is made for the source (SNAT, MASQUERADE)
	hasAddr  bool
	from, to ip // the addresses given; of natMap: from is the network, to the mask
	hasPorts bool
	ports    portRange
	random   bool
}

func (a *natAct) do(w *walk) outcome {
	p := &w.p
	dst := p.hook == prerouting || p.hook == output
	if !w.inNAT || a.src == dst && a.kind != natMap {
		return opaqueAct{}.do(w)
	}
	o := outcome{verdict: vMapped}
	addr, ok := a.address(w, &o)
	if !ok {
		return o
	}
	port, ok := a.port(w, &o, dst)
	if !ok {
		return o
	}
	a.bind(w, &o, dst, addr, port)
	return o
}

// bind sets the mapping. A mapping that changes nothing leaves the status bit unset
// (nf_nat_core.c, nf_nat_setup_info).
func (a *natAct) bind(w *walk, o *outcome, dst bool, addr ip, port uint16) {
	p := &w.p
	if dst {
		p.ct.dnat = p.dst != addr || p.dport != port
		p.dst, p.dport = addr, port
		kind := flow.WhyDNAT
		if a.kind == natRedirect {
			kind = flow.WhyRedirected
		}
		o.why = flow.Because(kind, p.dstPort().String(), portWord(port))
		return
	}
	p.ct.snat = p.src != addr || p.sport != port
	p.src, p.sport, p.srcUnknown = addr, port, false
	kind := flow.WhySNAT
	if a.kind == natMasquerade {
		kind = flow.WhyMasquerade
	}
	o.why = flow.Because(kind, sourceWord(p))
}

// sourceWord is the source, without a port that is not known.
func sourceWord(p *packet) string {
	if p.sport == 0 {
		return p.src.addr(p.v6).String()
	}
	return p.srcPort().String()
}

// address chooses the new address; ok is false where that ends the packet or is unknown.
func (a *natAct) address(w *walk, o *outcome) (addr ip, ok bool) {
	p := &w.p
	switch {
	case a.kind == natRedirect && p.hook == output:
		return loopbackIP(p.v6), true
	case a.kind == natRedirect:
		// The first address of the device, whichever was asked for (nf_nat_redirect.c).
		addr, found := w.h.redirectAddr(p.in, p.dst, p.v6)
		if found == flow.No {
			o.verdict, o.why = vDrop, flow.Because(flow.WhyDeviceNoAddress, p.in)
			return addr, false
		}
		if found == flow.Maybe {
			o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyAddrAssumed, p.dst.addr(p.v6).String(), p.in)})
			return p.dst, true
		}
		return addr, true
	case a.kind == natMasquerade:
		if p.src.zero() && !p.v6 && !p.srcUnknown {
			o.verdict = vAccept
			return p.src, false
		}
		return w.masqueradeAddr(o)
	case a.kind == natMap:
		old := p.dst
		if p.hook == postrouting || p.hook == input {
			old = p.src
		}
		return a.from.or(old.and(a.to.not().and(allOnes(p.v6)))), true
	case !a.hasAddr:
		if a.src {
			return p.src, true
		}
		return p.dst, true
	case a.from == a.to:
		return a.from, true
	}
	return a.oneOf(w, o)
}

// masqueradeAddr is the address of the device that the packet leaves by
// (nf_nat_masquerade.c).
func (w *walk) masqueradeAddr(o *outcome) (ip, bool) {
	p := &w.p
	addr, found := w.h.sourceFor(p.out, w.route.gateway(p.dst), p.dst, p.v6)
	switch found {
	case flow.No:
		o.verdict, o.why = vDrop, flow.Because(flow.WhyDeviceNoAddress, p.out)
		return addr, false
	case flow.Maybe:
		o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyAddrAssumed, p.src.addr(p.v6).String(), p.out)})
		return p.src, true
	}
	return addr, true
}

// maxOptions bounds the ways of one choice that are followed.
const maxOptions = 16

// oneOf chooses from a range of addresses: the kernel hashes them.
func (a *natAct) oneOf(w *walk, o *outcome) (ip, bool) {
	var opts []flow.Option
	var addrs []ip
	for x := a.from; !a.to.less(x) && len(opts) <= maxOptions; x.lo++ {
		opts = append(opts, flow.Option{Value: x.addr(w.p.v6).String()})
		addrs = append(addrs, x)
	}
	if len(opts) > maxOptions || len(opts) < 2 {
		*o = opaqueAct{}.do(w)
		return ip{}, false
	}
	i := w.ch.Take(flow.Choice{Ref: w.ref() + " address", Kind: flow.Unmodelled, Options: opts})
	o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyAddrHashed, opts[i].Value), Flag: "--pick \"" + w.ref() + " address\"=" + opts[(i+1)%len(opts)].Value})
	return addrs[i], true
}

// port chooses the new port (nf_nat_core.c, get_unique_tuple): one inside the range is
// kept, else a destination gets the first, and a source a random one.
func (a *natAct) port(w *walk, o *outcome, dst bool) (uint16, bool) {
	p := &w.p
	old := p.sport
	if dst {
		old = p.dport
	}
	switch {
	case !a.hasPorts || !p.hasPorts():
		if a.random && !dst {
			old = 0 // drawn anew
		}
		return old, true
	case a.ports.from == a.ports.to:
		return a.ports.from, true
	case !a.random && a.ports.has(old):
		return old, true
	case !dst:
		return 0, true
	case !a.random:
		return a.ports.from, true
	}
	return a.randomPort(w, o)
}

func (a *natAct) randomPort(w *walk, o *outcome) (uint16, bool) {
	n := int(a.ports.to) - int(a.ports.from) + 1
	if n > maxOptions {
		*o = opaqueAct{}.do(w)
		return 0, false
	}
	opts := make([]flow.Option, n)
	for i := range opts {
		opts[i] = flow.Option{Value: strconv.Itoa(int(a.ports.from) + i), Weight: 1}
	}
	i := w.ch.Take(flow.Choice{Ref: w.ref() + " port", Kind: flow.Chance, Options: opts})
	o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyPortDrawn, opts[i].Value), Flag: "--pick \"" + w.ref() + " port\"=" + opts[(i+1)%n].Value})
	return a.ports.from + uint16(i), true
}

func loopbackIP(v6 bool) ip {
	if v6 {
		return ip{0, 1}
	}
	return ip{0, 127<<24 | 1}
}

// tproxyAct is TPROXY: the packet goes to a listener of this host although its address
// stays (xt_TPROXY.c; nft_tproxy.c).
type tproxyAct struct {
	addr        ip // zero: the device's own
	port        uint16
	value, mask uint32 // of the mark; xt only
	nft         bool
	family      string // nft: only for this family; empty: both
}

func (a *tproxyAct) do(w *walk) outcome {
	p := &w.p
	if a.family == "ip" && p.v6 || a.family == "ip6" && !p.v6 || p.proto != protoTCP && p.proto != protoUDP {
		return outcome{verdict: vBreak}
	}
	at := a.target(p)
	s, found := w.h.Listening(flow.Proto(p.proto), at)
	var assumed []flow.Assumption
	if found == flow.Maybe || found == flow.Yes && s.Transparent == flow.Maybe {
		assumed = append(assumed, flow.Assumption{Reason: flow.Because(flow.WhyTransparentAssumed, at.String())})
	}
	if found == flow.No || s.Transparent == flow.No && found == flow.Yes {
		if a.nft {
			return outcome{verdict: vBreak}
		}
		return outcome{verdict: vDrop, why: flow.Because(flow.WhyTProxyNone, at.String())}
	}
	p.assigned, p.listener = at, s
	o := outcome{verdict: vNext, why: flow.Because(flow.WhyTProxy, at.String()), assumed: assumed}
	if !a.nft {
		p.mark = p.mark&^a.mask ^ a.value
		o.verdict = vAccept
	}
	return o
}

// target is where the listener must be.
func (a *tproxyAct) target(p *packet) netip.AddrPort {
	addr, port := a.addr, a.port
	if addr.zero() {
		addr = p.dst
		if own, found := p.host.deviceAddr(p.in, p.v6); found == flow.Yes {
			addr = own
		}
	}
	if port == 0 {
		port = p.dport
	}
	return netip.AddrPortFrom(addr.addr(p.v6), port)
}

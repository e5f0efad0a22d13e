package doctor

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// podAddr is the pod's first global address of a family; without addr.json an IPv4 address
// is taken for the pod's.
func (e *examiner) podAddr(v6 bool) (netip.Addr, bool) {
	raw, read := e.snap.Files["addr.json"]
	if !read {
		return netip.MustParseAddr("198.18.0.1"), !v6
	}
	var links []struct {
		IfName   string `json:"ifname"`
		AddrInfo []struct {
			Local, Scope string
		} `json:"addr_info"`
	}
	if json.Unmarshal(raw, &links) != nil {
		return netip.Addr{}, false
	}
	for _, l := range links {
		for _, i := range l.AddrInfo {
			a, err := netip.ParseAddr(i.Local)
			if err == nil && i.Scope == "global" && a.Is6() == v6 && !a.IsLoopback() {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// interception asks whether the mesh takes the pod's traffic at all: each direction, each
// family, TCP and UDP.
func (e *examiner) interception() {
	e.outbound, e.inbound, e.undecided = map[bool]probe{}, map[bool]probe{}, map[string]bool{}
	for _, v6 := range []bool{false, true} {
		e.outbound[v6] = e.anyCaptured(e.outPacket(v6, flow.TCP))
		if p, ok := e.inPacket(v6, flow.TCP); ok {
			e.inbound[v6] = e.anyCaptured(p)
		}
	}
	for _, d := range []struct {
		name string
		by   map[bool]probe
	}{{"outbound", e.outbound}, {"inbound", e.inbound}} {
		for _, v6 := range []bool{false, true} {
			if p, asked := d.by[v6]; asked && !p.known && (!v6 || e.hasV6()) {
				e.cannotTell(d.name+" TCP over "+family(v6), p)
			}
		}
	}
	out, in := e.captures(e.outbound), e.captures(e.inbound)
	switch {
	case !out.known || !in.known:
	case !out.captured && !in.captured:
		e.nothing()
	case !in.captured:
		e.add(OnlyOutbound, Warning, out.evidence, portText(out.to.Port()))
	case !out.captured:
		e.add(OnlyInbound, Warning, in.evidence, portText(in.to.Port()))
	}
	e.families()
	e.datagrams()
}

// anyCaptured sends a packet, and asks again where it is not captured: a mesh may capture
// only the ports or addresses that its rules name.
func (e *examiner) anyCaptured(p netfilter.Packet) probe {
	first := e.send(p)
	if first.captured || !first.known {
		return first
	}
	for _, port := range e.words.ports {
		q := p
		q.Dst = netip.AddrPortFrom(q.Dst.Addr(), port)
		if got := e.send(q); got.captured && got.known {
			return got
		}
	}
	for _, a := range e.words.addrs {
		q := p
		if q.Dst = netip.AddrPortFrom(a, q.Dst.Port()); a.Is6() != p.Dst.Addr().Is6() || a.IsLoopback() || p.Dir == flow.Inbound {
			continue
		}
		if got := e.send(q); got.captured && got.known {
			return got
		}
	}
	return first
}

// captures joins the families: captured where one of them is.
func (e *examiner) captures(by map[bool]probe) probe {
	p := by[false]
	if q, asked := by[true]; asked && (!p.captured && q.captured || !p.known && q.known && q.captured) {
		return q
	}
	if _, asked := by[false]; !asked {
		p = by[true]
		p.known = true
	}
	return p
}

func (e *examiner) hasV6() bool {
	_, ok := e.podAddr(true)
	return ok
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

func (e *examiner) cannotTell(what string, p probe) {
	if e.undecided[what] {
		return
	}
	e.undecided[what] = true
	e.add(CannotTell, Unknown, p.evidence, what, p.why)
}

// nothing says that nothing is captured. Where the proxy waits for redirected connections,
// this is a fault; else the pod may be meant to be outside, or addressed explicitly.
func (e *examiner) nothing() {
	at := e.waiting()
	if at == "" {
		e.add(NoInterception, Warning, nil, "")
		return
	}
	e.add(NoInterception, Problem, nil, at)
}

// waiting is where a listener of Envoy waits for redirected connections, or empty.
func (e *examiner) waiting() string {
	if e.snap.Envoy == nil {
		return ""
	}
	dst := netip.AddrPortFrom(e.stranger(false), e.common())
	for _, d := range []flow.Direction{flow.Outbound, flow.Inbound} {
		if at, ok := e.snap.Envoy.Capture(d, dst); ok && at != dst {
			return at.String()
		}
	}
	return ""
}

// families compares IPv4 with IPv6. A family that the pod has no address of cannot leak.
func (e *examiner) families() {
	addr, has := e.podAddr(true)
	_, read := e.snap.Files["addr.json"]
	for _, d := range []struct {
		name string
		by   map[bool]probe
	}{{"outbound", e.outbound}, {"inbound", e.inbound}} {
		four, six := d.by[false], d.by[true]
		if !four.known || read && !has {
			continue
		}
		if d.name == "inbound" && !has || !six.known {
			continue
		}
		switch {
		case four.captured && !six.captured && has:
			e.add(IPv6Bypass, Problem, four.evidence, d.name, addr.String())
		case four.captured && !six.captured:
			e.add(IPv6Bypass, Note, four.evidence, d.name, "")
		case six.captured && !four.captured:
			e.add(IPv4Bypass, Problem, six.evidence, d.name)
		}
	}
}

// datagrams says that UDP is not captured, where TCP is.
func (e *examiner) datagrams() {
	if !e.captures(e.outbound).captured {
		return
	}
	p := e.outPacket(false, flow.UDP)
	if got := e.send(p); got.captured || !got.known {
		return
	}
	p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 53)
	dns := e.send(p)
	if !dns.captured { // resolvers are often named by address: ask each
		dns = e.anyDNS()
	}
	if dns.captured {
		e.add(UDPBypass, Note, dns.evidence, "dns")
		return
	}
	e.add(UDPBypass, Note, nil, "")
}

func (e *examiner) anyDNS() probe {
	for _, a := range e.words.addrs {
		p := e.outPacket(a.Is6(), flow.UDP)
		if a.IsLoopback() && !strings.HasPrefix(a.String(), "127.0.0.53") {
			continue
		}
		p.Dst = netip.AddrPortFrom(a, 53)
		if got := e.send(p); got.captured && got.known {
			return got
		}
	}
	return probe{}
}

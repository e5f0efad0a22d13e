package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// exclusions finds the ports and ranges that go another way than the rest.
func (e *examiner) exclusions() {
	for _, v6 := range []bool{false, true} {
		if v6 && !e.hasV6() {
			continue
		}
		e.ports("outbound", v6, e.outPacket(v6, flow.TCP))
		if p, ok := e.inPacket(v6, flow.TCP); ok {
			e.ports("inbound", v6, p)
		}
		e.ranges(v6)
	}
}

// ports asks for one port of each run, and joins runs that fare alike.
func (e *examiner) ports(direction string, v6 bool, p netfilter.Packet) {
	var in, out spans
	own := e.anyCaptured(p).to.Port() // a connection to it is redirected to itself, which looks like nothing
	for i, from := range e.words.ports {
		to := uint16(65535)
		if i+1 < len(e.words.ports) {
			to = e.words.ports[i+1] - 1
		}
		p.Dst = netip.AddrPortFrom(p.Dst.Addr(), from)
		got := e.send(p)
		if !got.known {
			e.cannotTell(direction+" TCP over "+family(v6), got)
			return
		}
		if !got.captured && from == own {
			continue
		}
		if got.captured {
			in.add(from, to, got.evidence)
		} else {
			out.add(from, to, got.evidence)
		}
	}
	switch {
	case len(in.list) == 0 || len(out.list) == 0:
	case out.size() <= in.size():
		e.add(ExcludedPorts, e.portSeverity(out), out.evidence, direction, out.String(), family(v6))
	default:
		e.add(OnlyPorts, Warning, in.evidence, direction, in.String(), family(v6))
	}
}

// portSeverity is Note where the proxy's side itself waits on each excluded port: it is
// what Istio and Linkerd exclude by themselves.
func (e *examiner) portSeverity(s spans) Severity {
	for _, r := range s.list {
		if r[1]-r[0] > 16 {
			return Warning
		}
		for p := r[0]; p <= r[1]; p++ {
			if !slices.Contains(ownPorts, p) {
				return Warning
			}
			if p == r[1] {
				break
			}
		}
	}
	return Note
}

// ownPorts are ports on which sidecars serve the mesh itself: Istio's (istio.io, "Ports
// used by Istio") and Linkerd's (4190, 4191).
var ownPorts = []uint16{15000, 15001, 15004, 15006, 15008, 15012, 15020, 15021, 15053, 15090, 4190, 4191}

// ranges asks for one address of each run of destinations.
func (e *examiner) ranges(v6 bool) {
	var inside, outside []string
	var ev []flow.Evidence
	p := e.outPacket(v6, flow.TCP)
	stranger := e.send(p)
	if !stranger.known {
		return
	}
	for _, n := range e.words.nets {
		if n.Addr().Is6() != v6 || n.Addr().IsLoopback() || n.Addr().IsUnspecified() || e.isPod(n) {
			continue
		}
		a := n.Addr()
		if !n.IsSingleIP() && a.Next().IsValid() {
			a = a.Next()
		}
		p.Dst = netip.AddrPortFrom(a, p.Dst.Port())
		got := e.send(p)
		switch text := n.String(); {
		case !got.known:
			e.cannotTell("outbound TCP to "+text, got)
		case stranger.captured && !got.captured && !slices.Contains(outside, text):
			outside = append(outside, text)
			ev = append(ev, tail(got.evidence)...)
		case !stranger.captured && got.captured && !slices.Contains(inside, text):
			inside = append(inside, text)
			ev = append(ev, tail(got.evidence)...)
		}
	}
	if len(outside) > 0 {
		e.add(ExcludedRanges, Warning, ev, "outbound", join(outside), family(v6))
	}
	if len(inside) > 0 {
		e.add(OnlyRanges, Warning, ev, "outbound", join(inside), family(v6))
	}
}

// isPod says whether a prefix is an address of the pod itself, which a mesh leaves alone.
func (e *examiner) isPod(n netip.Prefix) bool {
	a, ok := e.podAddr(n.Addr().Is6())
	return ok && n.IsSingleIP() && n.Addr() == a
}

func tail(ev []flow.Evidence) []flow.Evidence { return ev[max(0, len(ev)-1):] }

// join lists words, at most twelve.
func join(words []string) string {
	if len(words) > 12 {
		return strings.Join(words[:12], ", ") + fmt.Sprintf(" and %d more", len(words)-12)
	}
	return strings.Join(words, ", ")
}

// spans are runs of ports, neighbours joined.
type spans struct {
	list     [][2]uint16
	evidence []flow.Evidence
}

func (s *spans) add(from, to uint16, ev []flow.Evidence) {
	for _, x := range tail(ev) {
		if !slices.Contains(s.evidence, x) {
			s.evidence = append(s.evidence, x)
		}
	}
	if n := len(s.list); n > 0 && s.list[n-1][1]+1 == from {
		s.list[n-1][1] = to
		return
	}
	s.list = append(s.list, [2]uint16{from, to})
}

func (s spans) size() int {
	n := 0
	for _, r := range s.list {
		n += int(r[1]) - int(r[0]) + 1
	}
	return n
}

func (s spans) String() string {
	var words []string
	for _, r := range s.list {
		if r[0] == r[1] {
			words = append(words, portText(r[0]))
		} else {
			words = append(words, portText(r[0])+"-"+portText(r[1]))
		}
	}
	return join(words)
}

// owners finds who is exempt: the proxy must be, or its own connections come back to it.
func (e *examiner) owners() {
	base := e.captures(e.outbound)
	if !base.captured || !base.known {
		return
	}
	v6 := !e.outbound[false].captured
	p := e.outPacket(v6, flow.TCP)
	if !e.send(p).captured {
		return // only named destinations are captured: ExcludedOwners would mislead
	}
	exempt := map[string][]string{}
	var ev []flow.Evidence
	any := false
	for _, kind := range []string{"uid", "gid"} {
		for _, id := range e.words.owners[kind] {
			q := p
			if q.UID = id; kind == "gid" {
				q.UID, q.GID = p.UID, id
			}
			got := e.send(q)
			if !got.known {
				e.cannotTell("outbound TCP of "+kind+" "+strconv.Itoa(int(id)), got)
				return
			}
			if any = any || !got.captured; !got.captured {
				exempt[kind] = append(exempt[kind], strconv.Itoa(int(id)))
				ev = append(ev, tail(got.evidence)...)
			}
		}
	}
	for _, m := range e.words.marks {
		q := p
		q.Mark = m
		got := e.send(q)
		any = any || got.known && !got.captured
	}
	e.loop(p, any, exempt, ev)
}

// loop judges by the proxy's uid where its socket tells it, else by whether anybody is
// exempt at all.
func (e *examiner) loop(p netfilter.Packet, anyExempt bool, exempt map[string][]string, ev []flow.Evidence) {
	to := portText(e.captures(e.outbound).to.Port())
	uid, gid, known := e.snap.ProxyOwner()
	if known {
		p.UID, p.GID = uid, gid
		if got := e.send(p); got.known && got.captured && !e.marked(p) {
			e.add(ProxyLoop, Problem, got.evidence, strconv.Itoa(int(uid)), to)
			return
		}
	} else if !anyExempt {
		e.add(ProxyLoop, Problem, e.captures(e.outbound).evidence, "", to)
		return
	}
	for _, kind := range []string{"uid", "gid"} {
		var others []string
		for _, id := range exempt[kind] {
			if !known || id != strconv.Itoa(int(uid)) && id != strconv.Itoa(int(gid)) {
				others = append(others, id)
			}
		}
		if known && len(others) > 0 || len(others) > 1 {
			e.add(ExcludedOwners, Warning, ev, kind, join(others))
		}
	}
}

// marked says whether a mark exempts the proxy: ztunnel's and Linkerd's sockets carry one.
func (e *examiner) marked(p netfilter.Packet) bool {
	for _, m := range e.words.marks {
		if p.Mark = m; m != 0 {
			if got := e.send(p); got.known && !got.captured {
				return true
			}
		}
	}
	return false
}

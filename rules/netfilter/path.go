package netfilter

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// routeStep is a step of the kernel's choosing a route.
func (w *walk) routeStep(v flow.Verdict, why flow.Reason) flow.Step {
	s := flow.Step{Stage: flow.RouteLookup, Subject: "route to " + w.p.dst.addr(w.p.v6).String(), Verdict: v, Reason: why}
	if w.route.guess && !w.route.local() {
		src, _ := w.h.sourceFor(w.route.dev, w.p.dst, w.p.dst, w.p.v6)
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyOnlyDevice, w.route.dev, addrWord(src, w.p.v6))})
	}
	if w.route.viaRuleGuess {
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyRuleOfOther, w.route.table)})
	}
	if w.route.text != "" {
		part := "route.json"
		if w.p.v6 {
			part = "route6.json"
		}
		s.Evidence = []flow.Evidence{{Source: part, Ref: "table " + w.route.table, Text: w.route.text}}
	}
	return s
}

func addrWord(a ip, v6 bool) string {
	if a.zero() {
		return ""
	}
	return a.addr(v6).String()
}

// find looks a route up and settles which of several next hops it takes.
func (w *walk) find(q query) {
	w.route = w.h.lookup(q, w.p.v6)
	r := &w.route
	if len(r.hops) < 2 {
		return
	}
	ch := flow.Choice{Ref: w.prefix + "route to " + q.dst.addr(w.p.v6).String(), Kind: flow.Unmodelled}
	at := map[string]int{}
	var first []int
	for i, hop := range r.hops {
		if _, seen := at[hop.dev]; !seen {
			at[hop.dev] = i
			first = append(first, i)
			ch.Options = append(ch.Options, flow.Option{Value: hop.dev})
		}
	}
	if len(first) < 2 {
		return
	}
	n := w.ch.Take(ch)
	hop := r.hops[first[n]]
	r.dev, r.gw, r.hasGW = hop.dev, hop.gw, hop.hasGW
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyNextHop, hop.dev), Flag: pickFlag(ch, n)})
}

func (w *walk) query() query {
	p := &w.p
	q := query{src: p.src, dst: p.dst, mark: p.mark, in: p.in, proto: p.proto, sport: p.sport, dport: p.dport}
	if p.sock == fileSocket {
		q.uid = p.uid
	}
	return q
}

// usable says whether packets can go by the route found.
func (r *route) usable() bool {
	switch r.kind {
	case typeUnicast, typeLocal, typeBroadcast, typeMulticast, typeAnycast:
		return true
	}
	return false
}

// outRoute chooses device and source of a packet that is made here
// (net/ipv4/route.c, ip_route_output_key_hash_rcu).
func (w *walk) outRoute(choose bool) {
	p := &w.p
	if p.dst.zero() { // connect() to 0.0.0.0 or :: means this host
		p.dst = loopbackIP(p.v6)
		if !choose && !p.v6 {
			p.dst = p.src
		}
	}
	w.find(w.query())
	r := &w.route
	if !r.usable() {
		w.stop(w.routeStep(flow.Refused, flow.Because(flow.WhyNoRoute, p.dst.addr(p.v6).String())), FateRejected)
		return
	}
	p.out = r.device()
	if choose {
		w.chooseSource()
		if !p.v6 && !p.srcUnknown && w.h.local(p.src, false) == flow.No {
			// A local route of another table offers its destination as the source, which the
			// second look-up then refuses.
			w.stop(w.routeStep(flow.Refused, flow.Because(flow.WhyForeignSource, p.src.addr(false).String())), FateRejected)
			return
		}
	}
	if !w.mayLeave(p.src, p.out) {
		w.stop(w.routeStep(flow.Refused, flow.Because(flow.WhyLoopbackSource, p.src.addr(p.v6).String(), p.out)), FateRejected)
		return
	}
	why := flow.Because(flow.WhyRouteBy, p.out, p.dst.addr(p.v6).String())
	switch {
	case choose && !p.srcUnknown:
		why = flow.Because(flow.WhySourceChosen, p.src.addr(p.v6).String(), p.out)
	case r.local():
		why = flow.Because(flow.WhyRouteLocal, p.dst.addr(p.v6).String())
	}
	w.add(w.routeStep(flow.Continue, why))
}

func (w *walk) chooseSource() {
	p, r := &w.p, &w.route
	found := flow.Yes
	switch {
	case r.hasSrc:
		p.src = r.src
	case r.local() && !p.v6:
		p.src = p.dst
	default:
		p.src, found = w.h.sourceFor(r.dev, r.gateway(p.dst), p.dst, p.v6)
		if found == flow.No && p.v6 && r.local() {
			p.src, found = p.dst, flow.Yes
		}
	}
	p.srcUnknown = found != flow.Yes
}

// mayLeave says whether a source may leave by a device: one of 127.0.0.0/8 only by lo,
// unless route_localnet is on (net/ipv4/route.c, __mkroute_output).
func (w *walk) mayLeave(src ip, dev string) bool {
	if w.p.v6 || src.lo>>24 != 127 || w.p.srcUnknown || dev == loopback {
		return true
	}
	return w.routeLocalnet(dev)
}

// routeLocalnet is the sysctl of that name, of all devices or of this one. It is off
// unless somebody turned it on.
func (w *walk) routeLocalnet(dev string) bool { return w.setting4("route_localnet", dev, 0) > 0 }

// setting4 is the larger of a setting's value for all devices and for one; what was not
// read, or is no number, has its default, and the next step says so.
func (w *walk) setting4(name, dev string, byDefault int) int {
	value, known := -1, false
	for _, d := range [...]string{"all", strings.ReplaceAll(dev, ".", "/")} {
		v, _ := w.h.sysctl("net.ipv4.conf." + d + "." + name)
		if n, err := strconv.Atoi(v); err == nil {
			value, known = max(value, n), true
		}
	}
	if !known {
		value = byDefault
		w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhySysctlAssumed, "net.ipv4.conf."+dev+"."+name, string(rune('0'+byDefault)))})
	}
	return value
}

// reroute looks the route up again after a rule at OUTPUT changed address or mark
// (net/ipv4/netfilter.c, ip_route_me_harder). -o keeps naming the first device until
// POSTROUTING.
func (w *walk) reroute() {
	p := &w.p
	q := w.query()
	if !p.v6 {
		q.uid = 0 // the IPv4 side does not ask the socket for its owner
	}
	q.proto, q.sport, q.dport = 0, 0, 0
	w.find(q)
	dev := w.route.device()
	switch {
	case !w.route.usable():
		w.stop(w.routeStep(flow.Dropped, flow.Because(flow.WhyNoRoute, p.dst.addr(p.v6).String())), FateDropped)
	case !w.mayLeave(p.src, dev):
		w.stop(w.routeStep(flow.Dropped, flow.Because(flow.WhyLoopbackSource, p.src.addr(p.v6).String(), dev)), FateDropped)
	default:
		w.add(w.routeStep(flow.Continue, flow.Because(flow.WhyReroute, dev, p.dst.addr(p.v6).String())))
	}
}

// inDevice is the device that a packet comes in by, where the request does not say.
func (w *walk) inDevice(unknownSrc bool) {
	p := &w.p
	p.srcUnknown = unknownSrc
	if p.in != "" {
		return
	}
	back := w.h.lookup(query{dst: p.src}, p.v6)
	if !unknownSrc && back.kind == typeUnicast && !back.guess {
		p.in = back.dev
		return
	}
	for i := range w.h.devices {
		d := &w.h.devices[i]
		for _, a := range d.addrs {
			if !d.loopback && a.v6 == p.v6 && a.addr == p.dst {
				p.in = d.name
			}
		}
	}
	if p.in != "" {
		return
	}
	p.in = "eth0"
	for _, d := range w.h.devices {
		if !d.loopback {
			p.in = d.name
			break
		}
	}
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyInDevice, p.in), Flag: "--in"})
}

// inRoute decides where a packet from the wire goes: to this host, on to another, or
// nowhere (net/ipv4/route.c, ip_route_input_rcu; net/ipv6/ip6_output.c, ip6_forward).
func (w *walk) inRoute() bool {
	p := &w.p
	if !p.v6 && !w.sane() {
		return false
	}
	q := w.query()
	w.find(q)
	if w.h.unread(p.dst, p.v6) == flow.Maybe && !w.route.local() {
		// Nothing says which addresses are the pod's: a request to it names one of them.
		w.route = route{kind: typeLocal, table: "local"}
		w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyAddrAssumed, p.dst.addr(p.v6).String(), p.in)})
	}
	if !p.v6 && !w.validSource() {
		return false
	}
	if w.route.local() || w.route.kind == typeBroadcast || w.route.kind == typeAnycast || w.route.kind == typeMulticast {
		w.route.kind = typeLocal
		w.add(w.routeStep(flow.Continue, flow.Because(flow.WhyRouteLocal, p.dst.addr(p.v6).String())))
		return true
	}
	if !w.forwards() {
		v, fate := flow.Dropped, FateDropped
		if p.v6 && !w.route.usable() {
			v, fate = flow.Refused, FateRejected // it answers also where it does not forward
		}
		w.stop(w.routeStep(v, flow.Because(flow.WhyForwardOff, p.dst.addr(p.v6).String())), fate)
		return false
	}
	if !w.route.usable() {
		v, fate := flow.Refused, FateRejected
		if w.route.kind == typeBlackhole {
			v, fate = flow.Dropped, FateDropped
		}
		w.stop(w.routeStep(v, flow.Because(flow.WhyNoRoute, p.dst.addr(p.v6).String())), fate)
		return false
	}
	if p.assigned.IsValid() {
		// A packet that TPROXY gave a socket is not passed on (net/ipv4/ip_forward.c,
		// net/ipv6/ip6_output.c: skb->sk).
		w.stop(w.routeStep(flow.Dropped, flow.Because(flow.WhyTProxyNotLocal, p.dst.addr(p.v6).String())), FateDropped)
		return false
	}
	w.add(w.routeStep(flow.Continue, flow.Because(flow.WhyForwardBy, w.route.dev, p.dst.addr(p.v6).String())))
	return true
}

// sane drops packets from the wire with addresses of loopback.
func (w *walk) sane() bool {
	p := &w.p
	martian := func(a ip) bool { return a.lo>>24 == 127 }
	if !(martian(p.dst) || martian(p.src) && !p.srcUnknown) || p.in == loopback || w.routeLocalnet(p.in) {
		return true
	}
	why := flow.Because(flow.WhyMartianDst, p.dst.addr(false).String(), p.in)
	if !martian(p.dst) {
		why = flow.Because(flow.WhyMartianSrc, p.src.addr(false).String(), p.in)
	}
	w.route = route{}
	w.stop(w.routeStep(flow.Dropped, why), FateDropped)
	return false
}

// dropsMartians says whether no connection from a loopback address of another host comes to be:
// no device takes such packets. What was not read says nothing.
func (w *walk) dropsMartians() bool {
	off := func(dev string) bool {
		v, known := w.h.sysctl("net.ipv4.conf." + strings.ReplaceAll(dev, ".", "/") + ".route_localnet")
		return known && v == "0"
	}
	for _, d := range w.h.devices {
		if !d.loopback && !off(d.name) {
			return false
		}
	}
	return off("all")
}

// validSource is reverse path filtering (net/ipv4/fib_frontend.c, fib_validate_source).
func (w *walk) validSource() bool {
	p := &w.p
	if p.srcUnknown || p.in == loopback || w.h.devices == nil && !w.h.families[0].read {
		return true
	}
	back := w.h.lookup(query{src: p.dst, dst: p.src, in: p.in}, false)
	drop := func(why flow.Reason) bool {
		w.route = route{}
		w.stop(w.routeStep(flow.Dropped, why), FateDropped)
		return false
	}
	if back.kind == typeLocal && w.setting4("accept_local", p.in, 0) == 0 {
		return drop(flow.Because(flow.WhyOwnSource, p.src.addr(false).String(), p.in))
	}
	fits := back.dev == p.in && back.kind == typeUnicast
	for _, h := range back.hops {
		fits = fits || h.dev == p.in
	}
	if fits || back.guess {
		return true
	}
	switch w.setting4("rp_filter", p.in, 0) {
	case 1:
		return drop(flow.Because(flow.WhyReversePath, p.src.addr(false).String(), p.in))
	case 2:
		if !back.usable() {
			return drop(flow.Because(flow.WhyReversePath, p.src.addr(false).String(), p.in))
		}
	}
	return true
}

// forwards says whether this host passes packets on. It does not unless told to.
func (w *walk) forwards() bool {
	keys := []string{"net.ipv4.conf." + strings.ReplaceAll(w.p.in, ".", "/") + ".forwarding", "net.ipv4.ip_forward"}
	if w.p.v6 {
		keys = []string{"net.ipv6.conf.all.forwarding"}
	}
	for _, k := range keys {
		v, _ := w.h.sysctl(k)
		if n, err := strconv.Atoi(v); err == nil {
			return n != 0
		}
	}
	w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhySysctlAssumed, keys[len(keys)-1], "0")})
	return false
}

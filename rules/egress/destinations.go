package egress

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
)

// dest is one destination with the requests that are made to it in thought.
type dest struct {
	dst       netip.AddrPort
	hole      flow.Hole // the destinations that it stands for
	proto     flow.Proto
	uid, gid  uint32
	live      bool
	elsewhere bool // stands for all of its family that the configuration does not name
	port      bool // stands for every address at its port
	requests  []flow.Request
	sure      bool // the requests are all that can fare differently
}

// Bounds: a mesh may know tens of thousands of destinations.
const (
	maxDestinations = 256
	maxRequests     = 32 // to one destination
)

// Requests are those that Plan traces, for whoever reads on what they need.
func Requests(s *rules.Snapshot) []flow.Request {
	var out []flow.Request
	dests, _ := destinations(withoutOwn(s))
	for _, d := range dests {
		out = append(out, d.requests...)
	}
	return out
}

// Addresses that nobody has (RFC 5737, RFC 3849), and two that somebody has who is asked
// nothing: the first that neither a rule nor the configuration names stands for all others.
var (
	strangers4 = []string{"203.0.113.7", "198.51.100.7", "192.0.2.7", "8.8.8.8", "9.9.9.9"}
	strangers6 = []string{"2001:db8::7", "2001:db8:7::7", "2600::7", "2a00::7"}
)

// stranger is an address that nothing names.
func (f *finder) stranger(six bool, port uint16) netip.AddrPort {
	list := strangers4
	if six {
		list = strangers6
	}
	for _, s := range list {
		a := netip.MustParseAddr(s)
		if !slices.ContainsFunc(f.named, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return netip.AddrPortFrom(a, port)
		}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(list[0]), port)
}

var prefixes = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[0-9a-fA-F:.]{2,}(/[0-9]{1,3})?|"addr": ?"([^"]+)", ?"len": ?([0-9]+)`)
})

// names collects the prefixes that rules and listeners name.
func (f *finder) names(places []envoy.Place) {
	add := func(p netip.Prefix) {
		if p.IsValid() && p.Bits() > 0 {
			f.named = append(f.named, p.Masked())
		}
	}
	for _, part := range append([]string{"nft.json"}, saves...) {
		for _, m := range prefixes().FindAllStringSubmatch(string(f.s.Files[part]), -1) {
			text := m[0]
			if m[2] != "" {
				text = m[2] + "/" + m[3]
			}
			if p, err := netip.ParsePrefix(text); err == nil {
				add(p)
			} else if a, err := netip.ParseAddr(text); err == nil {
				add(netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	for _, l := range places {
		for _, a := range l.Addrs {
			if !a.Addr().IsUnspecified() {
				add(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
			}
		}
		for _, r := range f.form(l.Ref).ranges {
			add(r.Prefix)
		}
	}
}

// everything is the prefix of a whole family.
func everything(six bool) netip.Prefix {
	if six {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// finder collects destinations.
type finder struct {
	s        *rules.Snapshot
	own      []netip.Addr
	uid, gid uint32         // of a typical application
	named    []netip.Prefix // by rules or listeners
	forms    map[string]listenerForm
	wide     map[bool]listenerForm // of the listener that captures, by whether it is for IPv6
	seen     map[destKey]bool
	out      []dest
	untraced int
}

type destKey struct {
	dst   netip.AddrPort
	proto flow.Proto
	uid   uint32
}

// destinations are those of live connections, then those of the configuration, then what
// stands for all others.
func destinations(s *rules.Snapshot) (list []dest, untraced int) {
	f := &finder{s: s, own: live.Addresses(s.Files["addr.json"]), seen: map[destKey]bool{}, forms: map[string]listenerForm{}}
	conns := outgoing(s)
	f.uid, f.gid = application(s, conns)
	places := s.Envoy.Places()
	f.names(places)
	f.wide = map[bool]listenerForm{false: f.captured(places, false), true: f.captured(places, true)}
	for _, c := range conns {
		if c.Known {
			f.conn(places, c)
		}
	}
	for _, l := range places {
		f.listener(l)
	}
	for _, six := range []bool{false, true} {
		if !six || f.sixth() {
			f.elsewhere(places, six)
		}
	}
	return f.out, f.untraced
}

// conn adds what a live connection goes to. What it speaks is not known: what can be sent to
// the listener that stands for it, is.
func (f *finder) conn(places []envoy.Place, c live.Conn) {
	d := dest{dst: c.Dst, proto: c.Proto, uid: c.UID, gid: c.GID, live: true}
	if c.Proto != flow.TCP {
		d.requests = []flow.Request{{Dst: c.Dst, Proto: c.Proto, UID: c.UID, GID: c.GID}}
		f.add(d)
		return
	}
	form := f.wide[c.Dst.Addr().Is6()]
	if at := handedTo(places, c.Dst); at >= 0 {
		form = f.form(places[at].Ref)
	}
	d.ask(form)
	f.add(d)
}

// handedTo is the listener that a destination is handed over to: the one of its address, else
// the one of its port; -1: none.
func handedTo(places []envoy.Place, dst netip.AddrPort) int {
	at := -1
	for i, l := range places {
		for _, a := range l.Addrs {
			switch {
			case l.Binds || a.Port() != dst.Port():
			case a.Addr() == dst.Addr():
				return i
			case a.Addr().IsUnspecified() && a.Addr().Is4() == dst.Addr().Is4():
				at = i
			}
		}
	}
	return at
}

// outgoing are the connections that leave the pod, the proxy's left out where it is known
// which they are.
func outgoing(s *rules.Snapshot) []live.Conn {
	uid, _, known := s.ProxyOwner()
	own := live.Addresses(s.Files["addr.json"])
	var out []live.Conn
	for _, c := range live.Connections(s) {
		leaves := c.Dir == flow.Outbound && !live.Own(c.Dst.Addr(), own)
		proxys := isSidecar(c.Process) || c.Known && known && c.UID == uid && c.Process == ""
		if leaves && !proxys && (c.Established() || c.Proto == flow.UDP) {
			out = append(out, c)
		}
	}
	return out
}

// application is as whom a typical process of the pod connects: one that does, else one that
// listens, else nobody in particular.
func application(s *rules.Snapshot, conns []live.Conn) (uid, gid uint32) {
	proxy, _, _ := s.ProxyOwner()
	for _, c := range conns {
		if c.Known && c.UID != proxy {
			return c.UID, c.GID
		}
	}
	if s.Host != nil {
		for _, k := range s.Host.Sockets {
			if k.Owned && k.UID != proxy && strings.HasPrefix(k.State, "LISTEN") {
				return k.UID, k.GID
			}
		}
	}
	if proxy == 1000 {
		return 1001, 1001
	}
	return 1000, 1000
}

// sixth says whether the pod has an IPv6 address; where addresses were not read, it may.
func (f *finder) sixth() bool {
	for _, a := range f.own {
		if a.Is6() {
			return true
		}
	}
	return len(f.own) == 0
}

// add keeps a destination that is new, with what it is for whoever opens or spares it.
func (f *finder) add(d dest) {
	key := destKey{d.dst, d.proto, d.uid}
	if f.seen[key] || d.dst.Addr().IsLoopback() || live.Own(d.dst.Addr(), f.own) {
		return
	}
	f.seen[key] = true
	if !d.hole.Prefix.IsValid() {
		d.hole = flow.Hole{Prefix: netip.PrefixFrom(d.dst.Addr(), d.dst.Addr().BitLen()), Port: d.dst.Port()}
	}
	if len(f.out) >= maxDestinations && !d.elsewhere {
		f.untraced++
		d.requests = nil
	}
	f.out = append(f.out, d)
}

// listener adds what a listener stands for that connections are handed over to: an address,
// or a port of every address.
func (f *finder) listener(l envoy.Place) {
	if l.Binds && !l.Directed || l.Directed && l.Direction == flow.Inbound {
		return
	}
	form := f.form(l.Ref)
	f.ranges(l, form)
	if l.Binds {
		f.chainPorts(l, form)
		return
	}
	for _, at := range l.Addrs {
		d := dest{dst: at, proto: flow.TCP, uid: f.uid, gid: f.gid}
		if at.Addr().IsUnspecified() {
			d.port, d.dst = true, f.stranger(at.Addr().Is6(), at.Port())
			d.hole = flow.Hole{Prefix: everything(at.Addr().Is6()), Port: at.Port()}
			for _, w := range form.hosts {
				for _, a := range w.addrs {
					if a.Is4() == at.Addr().Is4() {
						one := dest{dst: netip.AddrPortFrom(a, at.Port()), proto: flow.TCP, uid: f.uid, gid: f.gid}
						one.ask(form)
						f.add(one)
					}
				}
			}
		}
		d.ask(form)
		f.add(d)
	}
}

// ranges adds the destinations for which a listener has filter chains of their own: a
// prefix, at the port of the chain, else of the listener where that is handed over to.
func (f *finder) ranges(l envoy.Place, form listenerForm) {
	for _, r := range form.ranges {
		if r.Port == 0 && !l.Binds && len(l.Addrs) > 0 {
			r.Port = l.Addrs[0].Port()
		}
		dst := netip.AddrPortFrom(r.Prefix.Addr(), r.Port)
		if next := dst.Addr().Next(); !r.Prefix.IsSingleIP() && r.Prefix.Contains(next) {
			dst = netip.AddrPortFrom(next, r.Port)
		}
		if dst.Port() == 0 {
			dst = netip.AddrPortFrom(dst.Addr(), somePort)
		}
		d := dest{dst: dst, hole: r, proto: flow.TCP, uid: f.uid, gid: f.gid}
		d.ask(form)
		f.add(d)
	}
}

// chainPorts adds the ports for which a listener that captures has filter chains of their own.
// Its own port is none: such a chain keeps connections from coming back to it.
func (f *finder) chainPorts(l envoy.Place, form listenerForm) {
	for _, port := range form.ports {
		for _, a := range l.Addrs {
			six := a.Addr().Is6()
			if port == a.Port() || !a.Addr().IsUnspecified() {
				continue
			}
			d := dest{dst: f.stranger(six, port), port: true, hole: flow.Hole{Prefix: everything(six), Port: port}, proto: flow.TCP, uid: f.uid, gid: f.gid}
			d.ask(form)
			f.add(d)
		}
	}
}

// somePort is a port that nobody is likely to have a listener for.
const somePort = 28080

// elsewhere adds what stands for all destinations that no listener names: at a port that no
// listener has.
func (f *finder) elsewhere(places []envoy.Place, six bool) {
	taken := map[uint16]bool{}
	for _, l := range places {
		for _, a := range l.Addrs {
			taken[a.Port()] = true
		}
	}
	port := uint16(somePort)
	for taken[port] {
		port++
	}
	dst := f.stranger(six, port)
	d := dest{dst: dst, hole: flow.Hole{Prefix: everything(six)}, proto: flow.TCP, uid: f.uid, gid: f.gid, elsewhere: true}
	d.ask(f.wide[six])
	f.add(d)
}

// unlisted is a server name that no configuration has (RFC 2606).
const unlisted = "unlisted.invalid"

// ask fills in what can be sent to a listener: to each of its hosts and routes over HTTP, to
// each of its server names over TLS, or bytes. Where an address is one of a host's, it is that
// host's. sure says that nothing else can be sent that fares otherwise.
func (d *dest) ask(form listenerForm) {
	base := flow.Request{Dst: d.dst, Proto: flow.TCP, UID: d.uid, GID: d.gid}
	d.sure = !form.doubt
	add := func(change func(*flow.Request)) {
		if len(d.requests) == maxRequests {
			d.sure = false
			return
		}
		r := base
		change(&r)
		d.requests = append(d.requests, r)
	}
	http := func(w hostWay, authority string) {
		d.sure = d.sure && !w.doubt
		for _, path := range w.paths {
			add(func(r *flow.Request) { r.HTTP = &flow.HTTP{Authority: authority, Path: path} })
		}
	}
	if form.speaksHTTP {
		own := slices.IndexFunc(form.hosts, func(w hostWay) bool { return slices.Contains(w.addrs, d.dst.Addr()) })
		if own >= 0 && !d.port {
			http(form.hosts[own], d.dst.Addr().String())
		}
		for i, w := range form.hosts {
			if own < 0 && w.host != "" {
				http(form.hosts[i], w.host)
			}
		}
		if own < 0 {
			http(anyHost(form.hosts), d.dst.Addr().String())
		}
	}
	if form.speaksTLS {
		for _, name := range append(slices.Clone(form.names), unlisted) {
			add(func(r *flow.Request) { r.TLS = &flow.TLS{SNI: strings.Replace(name, "*", "any", 1)} })
		}
	}
	if form.speaksBytes || len(d.requests) == 0 {
		add(func(*flow.Request) {})
	}
}

// anyHost is the virtual host that takes any authority; where there is none, a request still
// shows that.
func anyHost(hosts []hostWay) hostWay {
	for _, w := range hosts {
		if w.host == "" {
			return w
		}
	}
	return hostWay{paths: []string{"/"}}
}

// captured is what the listener says that takes what leaves and has no listener of its own: of
// a pod that redirects nothing, nothing.
func (f *finder) captured(places []envoy.Place, six bool) listenerForm {
	t := rules.Trace(f.s, flow.Request{Dst: f.stranger(six, somePort), Proto: flow.TCP, UID: f.uid, GID: f.gid})
	if !redirected(t) {
		return listenerForm{}
	}
	for _, l := range places {
		for _, a := range l.Addrs {
			if l.Binds && a.Port() == t.Legs[0].To.Dst.Port() {
				return f.form(l.Ref)
			}
		}
	}
	return listenerForm{doubt: true}
}

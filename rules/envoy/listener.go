package envoy

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// span is where a member's value stands in the part; zero: it is not there.
type span struct{ start, end int }

// listenerHead is what the index keeps of a listener, so that the address table is made
// without decoding listeners.
type listenerHead struct {
	entry *entry
	// members of config.listener.v3.Listener
	address, additional, bind, deprecated, original, internal, direction span
}

func (h *listenerHead) note(name []byte, start, end int) {
	at := span{start, end}
	switch {
	case tree.Named(name, "address"):
		h.address = at
	case tree.Named(name, "additional_addresses"):
		h.additional = at
	case tree.Named(name, "bind_to_port"):
		h.bind = at
	case tree.Named(name, "deprecated_v1"):
		h.deprecated = at
	case tree.Named(name, "use_original_dst"), tree.Named(name, "hidden_envoy_deprecated_use_original_dst"):
		h.original = at
	case tree.Named(name, "internal_listener"):
		h.internal = at
	case tree.Named(name, "traffic_direction"):
		h.direction = at
	}
}

// listener is one listener that can take connections.
type listener struct {
	*entry
	addrs     []listenAddr
	binds     bool // it has sockets of its own
	internal  bool // found by name only
	original  bool // use_original_dst
	direction flow.Direction
	directed  bool // traffic_direction says so; else direction is not known
	wrong     bool // a member that the table is made of is of a wrong kind
}

// listenAddr is one address of a listener.
type listenAddr struct {
	netip.AddrPort
	proto  flow.Proto
	compat bool // ipv4_compat of a v6 wildcard
}

// key is the address as Envoy's table of handlers prints it.
func (a listenAddr) key() addrKey { return addrKey{a.AddrPort, a.proto} }

type addrKey struct {
	addr  netip.AddrPort
	proto flow.Proto
}

// listeners is the table of a Config: what connection_handler_impl.cc holds.
type listeners struct {
	all    []*listener
	catch  []*listener // those that may capture a direction's traffic
	byName map[string]*listener
	byAddr map[addrKey]*listener // every address, of listeners that bind and that do not
	// For near misses: numbers in all.
	byPort map[uint16][]int32
	byIP   map[netip.Addr][]int32
}

// newListeners makes the address table. A later entry replaces an earlier one of the same address;
// only active versions count, and draining ones where there is no active one.
func newListeners(heads []*listenerHead) *listeners {
	t := &listeners{byName: map[string]*listener{}, byAddr: map[addrKey]*listener{}, byPort: map[uint16][]int32{}, byIP: map[netip.Addr][]int32{}}
	for _, h := range heads {
		if h.entry.state != active {
			continue
		}
		l := h.read()
		t.all = append(t.all, l)
		if l.binds && !l.internal && len(l.addrs) > 0 && l.addrs[0].proto == flow.TCP && (l.original || l.directed) {
			t.catch = append(t.catch, l)
		}
		if l.name != "" {
			t.byName[l.name] = l
		}
	}
	for i, l := range t.all {
		for _, a := range l.addrs {
			t.byAddr[a.key()] = l
			t.byPort[a.Port()] = append(t.byPort[a.Port()], int32(i))
			t.byIP[a.Addr()] = append(t.byIP[a.Addr()], int32(i))
		}
	}
	// [::]:p with ipv4_compat owns 0.0.0.0:p too, unless another listener does (2.2).
	for _, l := range t.all {
		for _, a := range l.addrs {
			if k := (addrKey{netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()), a.proto}); a.compat && a.Addr().Is6() && a.Addr().IsUnspecified() && t.byAddr[k] == nil {
				t.byAddr[k] = l
			}
		}
	}
	return t
}

func (h *listenerHead) read() *listener {
	l := &listener{entry: h.entry, binds: true}
	get := func(s span, field string) tree.Node {
		d, err := tree.Parse(h.entry.part.raw[s.start:s.end], int64(s.start))
		if err != nil {
			return tree.Node{}
		}
		judgeAs(d, *messageOf("envoy.config.listener.v3.Listener").Members[field])
		if what, _ := wrong(d.Root()); what != "" {
			l.wrong = true
		}
		return d.Root()
	}
	at := func(n tree.Node) {
		a, ok := readAddress(n)
		if ok {
			l.addrs = append(l.addrs, a)
		} else if n.Field("socket_address").Exists() { // Envoy listens on numbers only
			l.wrong = true
		}
	}
	at(get(h.address, "address"))
	for _, n := range get(h.additional, "additional_addresses").List() {
		at(n.Field("address"))
	}
	l.binds = get(h.bind, "bind_to_port").Bool(true) && get(h.deprecated, "deprecated_v1").Field("bind_to_port").Bool(true)
	l.original = get(h.original, "use_original_dst").Bool(false)
	l.internal = h.internal.end > 0
	switch get(h.direction, "traffic_direction").Enum() {
	case "INBOUND":
		l.direction, l.directed = flow.Inbound, true
	case "OUTBOUND":
		l.directed = true
	}
	return l
}

// readAddress reads a core.v3.Address that holds an IP address and a port.
func readAddress(n tree.Node) (listenAddr, bool) {
	s := n.Field("socket_address")
	ip, err := netip.ParseAddr(s.Field("address").Str())
	port := s.Field("port_value").Uint(0)
	if err != nil || port > 65535 || s.Field("named_port").Str() != "" {
		return listenAddr{}, false
	}
	a := listenAddr{AddrPort: netip.AddrPortFrom(ip, uint16(port)), proto: flow.TCP, compat: s.Field("ipv4_compat").Bool(false)}
	if s.Field("protocol").Enum() == "UDP" {
		a.proto = flow.UDP
	}
	if ip.Is4In6() { // with compat also the plain IPv4 key; without it nothing can reach it
		a.AddrPort = netip.AddrPortFrom(ip.Unmap(), a.Port())
	}
	return a, true
}

// lookup is the listener that owns a restored destination: its own address, else the
// wildcard of its family (getBalancedHandlerByAddress).
func (t *listeners) lookup(dst netip.AddrPort, p flow.Proto) (l *listener, exact bool) {
	if l := t.byAddr[addrKey{dst, p}]; l != nil {
		return l, true
	}
	return t.byAddr[addrKey{netip.AddrPortFrom(wildcard(dst.Addr()), dst.Port()), p}], false
}

// bound is the listener whose socket the kernel gives a connection to addr to.
func (t *listeners) bound(addr netip.AddrPort, p flow.Proto) *listener {
	if l := t.byAddr[addrKey{addr, p}]; l != nil && l.binds {
		return l
	}
	if l := t.byAddr[addrKey{netip.AddrPortFrom(wildcard(addr.Addr()), addr.Port()), p}]; l != nil && l.binds {
		return l
	}
	return nil
}

func wildcard(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// nearListeners bounds the near misses of a hand-off.
const nearListeners = 16

// near are listeners that own the destination's address at another port, or its port at
// another address; total counts all of them.
func (t *listeners) near(dst netip.AddrPort, not *listener) (out []flow.Miss, total int) {
	for failed, list := range [][]int32{t.byIP[dst.Addr()], t.byPort[dst.Port()]} {
		for _, i := range list {
			if t.all[i] == not {
				continue
			}
			if total++; len(out) < nearListeners {
				out = append(out, flow.Miss{Index: i, Failed: flow.Criterion(failed), Near: true})
			}
		}
	}
	return out, total
}

// listenerWhy words the listeners that a hand-off just missed.
type listenerWhy struct {
	t   *listeners
	dst netip.AddrPort
}

// Explain words one listener: failed 0 is the port, 1 the address.
func (w *listenerWhy) Explain(m flow.Miss) flow.Explained {
	if m.Index < 0 || int(m.Index) >= len(w.t.all) {
		return flow.Explained{}
	}
	l := w.t.all[m.Index]
	e := flow.Explained{Ref: l.reference(), Kind: flow.Listener, Name: l.name, Text: l.name}
	for _, a := range l.addrs {
		if m.Failed == 0 && a.Addr() == w.dst.Addr() {
			e.Reason = flow.Because(flow.WhyListenerPort, a.String(), strconv.Itoa(int(w.dst.Port())))
		}
		if m.Failed == 1 && a.Port() == w.dst.Port() {
			e.Reason = flow.Because(flow.WhyListenerAddress, a.String(), w.dst.Addr().String())
		}
	}
	return e
}

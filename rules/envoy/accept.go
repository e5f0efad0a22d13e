package envoy

import (
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Accept is what Envoy does with one connection and the request on it. It is a function of
// its arguments. A nil Config knows nothing.
func (c *Config) Accept(conn Conn, req *flow.Request, ch *flow.Choices) Result {
	p := &pass{cfg: c, conn: conn, req: req, ch: ch, local: conn.Accept, direct: conn.Src, remote: conn.Src}
	p.res.Outcome.RouteIndex = -1
	p.res.Steps = append(make([]flow.Step, 0, len(conn.Before)+16), conn.Before...)
	if c == nil {
		p.need(flow.Listener, partListener, conn.Accept.String())
		return p.res
	}
	if conn.Transparent && conn.Orig.IsValid() {
		p.local = conn.Orig
	}
	if l := p.accepting(); l != nil {
		p.enter(l, false)
	}
	return p.res
}

// accepting finds the listener whose socket took the connection; nil: the pass has ended.
func (p *pass) accepting() *listener {
	c := p.cfg
	if p.conn.Listener != "" {
		l := c.listeners.byName[p.conn.Listener]
		if l == nil {
			p.missing(p.conn.Listener)
			return nil
		}
		p.accepted(l, flow.Because(flow.WhyListenerNamed))
		return l
	}
	l := c.listeners.bound(p.conn.Accept, p.conn.Proto)
	if l == nil {
		if c.isAdmin(p.conn.Accept) {
			p.add(flow.Step{Stage: flow.Listener, Subject: "admin", Verdict: flow.Delivered, Reason: flow.Because(flow.WhyAdmin, p.conn.Accept.String()), Evidence: p.evidence(c.boot().Path("admin", "address"))})
			p.end(flow.Delivered, p.wellAnswered())
			return nil
		}
		p.missing(p.liveName(p.conn.Accept))
		return nil
	}
	p.accepted(l, flow.Because(flow.WhyListenerAccepts, p.conn.Accept.String()))
	return l
}

// wellAnswered is what the caller sees of an endpoint that answers well.
func (p *pass) wellAnswered() flow.Symptom {
	s := flow.Symptom{TCP: flow.TCPOK}
	if p.req.HTTP != nil {
		s.Code = 200
	}
	return s
}

// missing ends the pass at a listener that the configuration does not hold.
func (p *pass) missing(name string) {
	if name == "" {
		name = p.conn.Accept.String()
	}
	if p.cfg.has(name, staticListeners, dynamicListeners) == unread {
		p.need(flow.Listener, partListener, name)
		return
	}
	p.add(flow.Step{Stage: flow.Listener, Subject: name, Verdict: flow.Unknown, Reason: flow.Because(flow.WhyNoListener, p.conn.Accept.String())})
	p.idle(p.last())
	p.end(flow.Unknown, flow.Symptom{})
}

// liveName is the name that /listeners gives the listener which owns addr.
func (p *pass) liveName(addr netip.AddrPort) string {
	best := ""
	for _, l := range p.cfg.live {
		for _, a := range l.addrs {
			if a.proto != p.conn.Proto {
				continue
			}
			if a.AddrPort == addr {
				return l.name
			}
			if a.Port() == addr.Port() && a.Addr() == wildcard(addr.Addr()) {
				best = l.name
			}
		}
	}
	return best
}

// accepted adds the listener's step, and closes the connection if its limit is 0.
func (p *pass) accepted(l *listener, why flow.Reason) {
	n := l.node()
	p.add(flow.Step{Stage: flow.Listener, Subject: l.name, Verdict: flow.Continue, Reason: why, Evidence: p.evidence(n), Origin: p.cfg.listenerOrigin(n), Decision: true})
	p.versions(p.last())
	if a, taken := p.cfg.versionTaken(); taken {
		p.last().Assumed = append(p.last().Assumed, a)
	}
}

// limited says whether the accepting listener's connection limit (runtime) refuses everything.
func (p *pass) limited(l *listener) bool {
	if len(p.cfg.runtime) == 0 {
		return false
	}
	key := "envoy.resource_limits.listener." + l.name + ".connection_limit"
	v, ok := p.cfg.value(key)
	if !ok {
		return false
	}
	s := p.last()
	if v != "0" {
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyBelowLimit, key, v)})
		return false
	}
	s.Verdict, s.Reason = flow.Refused, flow.Because(flow.WhyListenerLimit, key)
	p.res.Outcome.Listener = l.name
	p.end(flow.Refused, flow.Symptom{TCP: flow.TCPResetOrClosed})
	return true
}

// enter runs a listener's filters and goes on: hand-off, filter chain, network filters.
// handed says that another listener handed the connection over.
func (p *pass) enter(l *listener, handed bool) {
	if !handed && p.limited(l) {
		return
	}
	p.listener, p.listenerName = l.node(), l.name
	p.res.Outcome.Listener = l.name
	if p.wrong(flow.Listener, l.name, p.listener, elements(p.listener, "filter_chains", "default_filter_chain")...) || !p.odd(flow.Listener, l.name, p.listener, p.listener.Unknown(listenerFields...)) {
		return
	}
	if p.conn.Proto == flow.UDP || p.listener.Field("udp_listener_config").Exists() {
		p.stop(flow.Listener, l.name, flow.Because(flow.WhyNotModelled, "UDP"), p.listener)
		return
	}
	// A handed-over socket keeps what the first listener's inspectors saw, not its metadata.
	p.state, p.meta, p.unsure = nil, nil, nil
	if !p.listenerFilters(l) {
		return
	}
	to := p.handoff(l, handed)
	if p.over {
		return
	}
	if to != nil {
		p.enter(to, true)
		return
	}
	if p.transport == "" {
		p.transport = "raw_buffer"
	}
	if p.pickChain() {
		p.serve()
	}
}

// handoff finds the listener that the restored destination names (section 2.3, 2.4).
func (p *pass) handoff(l *listener, handed bool) *listener {
	if handed || !l.original {
		return nil
	}
	if !p.restored {
		p.add(flow.Step{Stage: flow.Handoff, Subject: l.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyNotRestored)})
		return nil
	}
	to, exact := p.cfg.listeners.lookup(p.local, flow.TCP)
	if !exact && p.unreadListener(p.local) {
		return nil
	}
	s := flow.Step{Stage: flow.Handoff, Subject: l.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyHandoffExact, p.local.String()), Decision: true}
	if !exact {
		wild := netip.AddrPortFrom(wildcard(p.local.Addr()), p.local.Port())
		s.Reason = flow.Because(flow.WhyHandoffWildcard, wild.String(), p.local.String())
		if to == nil {
			s.Reason = flow.Because(flow.WhyNoHandoff, p.local.String(), wild.String())
		}
		if s.Passed, s.PassedTotal = p.cfg.listeners.near(p.local, to); s.PassedTotal > 0 {
			s.Explain = &listenerWhy{p.cfg.listeners, p.local}
		}
	}
	if to != nil {
		n := to.node()
		s.Subject, s.Evidence, s.Origin = to.name, p.evidence(n), p.cfg.listenerOrigin(n)
	}
	p.add(s)
	return to
}

// unreadListener ends the pass with a Need if the listener of addr may exist and was not read.
func (p *pass) unreadListener(addr netip.AddrPort) bool {
	c := p.cfg
	if c.complete[dynamicListeners] && c.complete[staticListeners] {
		return false
	}
	name := p.liveName(addr)
	switch {
	case name == "" && c.liveRead:
		return false // /listeners lists them all
	case name == "":
		name = addr.String()
	case c.listeners.byName[name] != nil:
		return false
	}
	if c.has(name, staticListeners, dynamicListeners) == absent {
		return false
	}
	p.need(flow.Handoff, partListener, name)
	return true
}

// isAdmin says whether the admin interface listens at addr.
func (c *Config) isAdmin(addr netip.AddrPort) bool {
	a, ok := readAddress(c.boot().Path("admin", "address"))
	return ok && (a.AddrPort == addr || a.Port() == addr.Port() && a.Addr() == wildcard(addr.Addr()))
}

// extensionKind is the short name of an extension, such as "tcp_proxy": the part of its
// type after filters.FAMILY (filter.FAMILY in v2 types), the whole type where it has none,
// and for a configuration without a type the last part of its name.
func extensionKind(typ, name string) string {
	if typ == "" {
		return name[strings.LastIndexByte(name, '.')+1:]
	}
	parts := strings.Split(typ, ".")
	for i, s := range parts {
		if (s == "filters" || s == "filter") && i+2 < len(parts) && parts[0] == "envoy" {
			return parts[i+2]
		}
	}
	return typ
}

// extension is a configured filter: its name, its kind, and its configuration, which for
// one that comes by ECDS is what was received, else its default.
type extension struct {
	name, kind string
	config     tree.Node
	missing    bool // it comes by ECDS and nothing was received: connections are closed
	unread     bool // the same, but what was received is not known
	// wrong is what in the configuration that was received is no value of its field, which
	// is then config.
	wrong flow.Reason
}

// unusable ends the pass at a filter whose configuration was not read, or holds what cannot
// be told; false: it can be used.
func (p *pass) unusable(stage flow.Stage, e *extension) bool {
	switch {
	case e.unread:
		p.need(stage, partECDS, e.name)
	case e.wrong != flow.Reason{}:
		p.stop(stage, e.name, e.wrong, e.config)
	default:
		return false
	}
	return true
}

func (p *pass) extension(n tree.Node) extension {
	return *memo(p.cfg, n, func() *extension { return p.cfg.extension(n) })
}

func (c *Config) extension(n tree.Node) *extension {
	e := &extension{name: n.Field("name").Str()}
	typed := n.Field("typed_config")
	if d := n.Field("config_discovery"); d.Exists() {
		if got := c.ecds[e.name]; got != nil {
			n := got.node()
			if what, newer := wrong(n); what != "" {
				e.wrong, e.config = wrongWhy(what, newer), n
				return e
			}
			_, body := n.Any()
			typed = body.Field("typed_config")
		} else if e.unread = !c.complete[dynamicListeners] && c.has(e.name, ecdsFilters) == unread; e.unread {
			return e // a whole dump holds every configuration that came, and need not have the section
		} else if typed = d.Field("default_config"); !typed.Exists() {
			e.missing = true
			return e
		}
	}
	typ, config := typed.Any()
	if typ == "" && !typed.Exists() {
		config = n.Field("config", "hidden_envoy_deprecated_config")
	}
	e.kind, e.config = extensionKind(typ, e.name), config
	if e.name == "" {
		e.name = e.kind
	}
	return e
}

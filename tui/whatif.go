package tui

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// change is a request with one input changed so that a near miss should match. Whether
// it then does is the trace's to say.
type change struct {
	what string // such as "uid 1337"
	of   string // the near miss
	req  flow.Request
}

// whatIf lists the changes for the near misses of a step of the request's own connection.
func whatIf(st flow.Step, req flow.Request) []change {
	const most = 30
	var out []change
	if st.Explain == nil {
		return nil
	}
	for _, m := range st.Passed {
		if !m.Near || len(out) == most {
			continue
		}
		e := st.Explain.Explain(m)
		r := clone(req)
		if what, ok := alter(&r, e); ok {
			out = append(out, change{what, render.Clean(or(e.Text, e.Ref)), r})
		}
	}
	return out
}

// clone copies what a change may write to.
func clone(r flow.Request) flow.Request {
	if r.TLS != nil {
		t := *r.TLS
		r.TLS = &t
	}
	if r.HTTP != nil {
		h := *r.HTTP
		h.Headers = append([][2]string(nil), h.Headers...)
		r.HTTP = &h
	}
	return r
}

// alter changes the input that the one failed test looked at.
func alter(r *flow.Request, e flow.Explained) (what string, ok bool) {
	reason, text := e.Reason, ""
	n := 0
	for _, t := range e.Tests {
		if t.Answer == flow.No {
			n++
			reason, text = t.Reason, t.Text
		}
	}
	if n > 1 {
		return "", false
	}
	switch e.Reason.Kind {
	case flow.WhyChainField:
		return alterChain(r, e.Reason.Args[0], e.Reason.Args[1])
	case flow.WhyDomainsAre:
		return alterHost(r, e.Reason.Args[0])
	}
	if reason.Kind >= flow.WhyPacketSrc && reason.Kind <= flow.WhyPacketMark {
		return alterPacket(r, reason.Kind, or(text, reason.Args[0]))
	}
	return alterHTTP(r, text)
}

// wanted is the first value of a condition as iptables writes it: what follows the last
// option, the lower end of a range. What is negated has no one value.
func wanted(cond string) (string, bool) {
	f := strings.Fields(cond)
	for i, w := range f {
		if w == "!" {
			return "", false
		}
		if i == len(f)-1 && i > 0 {
			w, _, _ = strings.Cut(w, ",")
			return w, true
		}
	}
	return "", false
}

func alterPacket(r *flow.Request, kind flow.ReasonKind, cond string) (string, bool) {
	v, ok := wanted(cond)
	if !ok {
		return "", false
	}
	switch kind {
	case flow.WhyPacketUID, flow.WhyPacketGID, flow.WhyPacketMark:
		return alterOwner(r, kind, v)
	case flow.WhyPacketDport, flow.WhyPacketSport:
		return alterPort(r, kind, v)
	case flow.WhyPacketDst, flow.WhyPacketSrc:
		return alterAddr(r, kind, v)
	case flow.WhyPacketProto:
		return alterProto(r, v)
	case flow.WhyPacketIn:
		if r.Dir != flow.Inbound || strings.HasSuffix(v, "+") {
			return "", false
		}
		r.In = v
		return "by " + v, true
	}
	return "", false
}

func alterOwner(r *flow.Request, kind flow.ReasonKind, v string) (string, bool) {
	v, _, _ = strings.Cut(v, "-")
	v, _, _ = strings.Cut(v, "/")
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil || r.Dir != flow.Outbound {
		return "", false
	}
	switch kind {
	case flow.WhyPacketUID:
		r.UID = uint32(n)
		return "uid " + v, true
	case flow.WhyPacketGID:
		r.GID = uint32(n)
		return "gid " + v, true
	}
	r.Mark = uint32(n)
	return "mark " + v, true
}

func alterPort(r *flow.Request, kind flow.ReasonKind, v string) (string, bool) {
	v, _, _ = strings.Cut(v, ":")
	v, _, _ = strings.Cut(v, "-")
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return "", false
	}
	if kind == flow.WhyPacketSport {
		if !r.Src.Addr().IsValid() {
			return "", false
		}
		r.Src = netip.AddrPortFrom(r.Src.Addr(), uint16(n))
		return "from port " + v, true
	}
	r.Dst = netip.AddrPortFrom(r.Dst.Addr(), uint16(n))
	return "to port " + v, true
}

func alterAddr(r *flow.Request, kind flow.ReasonKind, v string) (string, bool) {
	a, err := netip.ParseAddr(v)
	if p, perr := netip.ParsePrefix(v); perr == nil {
		if a, err = p.Addr(), nil; p.Bits() < a.BitLen() {
			a = a.Next() // not the network's own address
		}
	}
	if err != nil {
		return "", false
	}
	if kind == flow.WhyPacketSrc {
		r.Src = netip.AddrPortFrom(a, r.Src.Port())
		return "from " + a.String(), true
	}
	r.Dst = netip.AddrPortFrom(a, r.Dst.Port())
	return "to " + a.String(), true
}

func alterProto(r *flow.Request, v string) (string, bool) {
	switch v {
	case "tcp", "6":
		r.Proto = flow.TCP
	case "udp", "17":
		r.Proto, r.TLS, r.HTTP = flow.UDP, nil, nil
	default:
		return "", false
	}
	return "over " + r.Proto.String(), true
}

// alterChain changes what a filter chain's match looks at (config.listener.v3.FilterChainMatch).
func alterChain(r *flow.Request, field, want string) (string, bool) {
	first, _, _ := strings.Cut(want, ",")
	tls := func() *flow.TLS {
		if r.TLS == nil {
			r.TLS = &flow.TLS{}
		}
		return r.TLS
	}
	switch field {
	case "server_names":
		tls().SNI = strings.Replace(first, "*", "any", 1)
		return "SNI " + r.TLS.SNI, true
	case "application_protocols":
		if r.TLS == nil && strings.HasPrefix(first, "http/") && r.HTTP == nil {
			r.HTTP = &flow.HTTP{Authority: r.Dst.Addr().String(), Path: "/"}
			return "HTTP", true
		}
		tls().ALPN = []string{first}
		return "ALPN " + first, true
	case "transport_protocol":
		if first == "tls" {
			tls()
			return "TLS", true
		}
		r.TLS = nil
		return "no TLS", true
	case "destination_port":
		return alterPort(r, flow.WhyPacketDport, first)
	case "prefix_ranges":
		return alterAddr(r, flow.WhyPacketDst, first)
	case "source_prefix_ranges", "direct_source_prefix_ranges":
		return alterAddr(r, flow.WhyPacketSrc, first)
	}
	return "", false
}

// alterHost takes the first domain of a virtual host (config.route.v3.VirtualHost).
func alterHost(r *flow.Request, domains string) (string, bool) {
	first, _, _ := strings.Cut(domains, ",")
	first = strings.TrimSpace(first)
	if r.HTTP == nil || first == "" || first == "*" {
		return "", false
	}
	r.HTTP.Authority = strings.Replace(first, "*", "any", 1)
	return "host " + r.HTTP.Authority, true
}

// alterHTTP changes the path or the header that a route's test names. The tests' words
// are Envoy's own: header NAME exact "VALUE".
func alterHTTP(r *flow.Request, test string) (string, bool) {
	if r.HTTP == nil || strings.HasSuffix(test, " inverted") {
		return "", false
	}
	if rest, ok := strings.CutPrefix(test, "header "); ok {
		name, rest, _ := strings.Cut(rest, " ")
		switch rest {
		case "present":
			return setHeader(r, name, "x")
		case "absent":
			return dropHeader(r, name)
		}
		if kind, v, ok := quotedValue(rest); ok && kind != "safe_regex" {
			return setHeader(r, name, v)
		}
		return "", false
	}
	kind, v, ok := quotedValue(test)
	if !ok {
		return "", false
	}
	switch kind {
	case "prefix", "path", "path_separated_prefix", "exact":
		r.HTTP.Path = v
		return "path " + v, true
	}
	return "", false
}

// quotedValue splits KIND "VALUE".
func quotedValue(s string) (kind, value string, ok bool) {
	kind, rest, ok := strings.Cut(s, ` "`)
	if !ok {
		return "", "", false
	}
	q, err := strconv.QuotedPrefix(`"` + rest)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(q)
	return kind, value, err == nil
}

func setHeader(r *flow.Request, name, value string) (string, bool) {
	switch name {
	case ":path":
		r.HTTP.Path = value
		return "path " + value, true
	case ":authority", "host":
		r.HTTP.Authority = value
		return "host " + value, true
	case ":method":
		r.HTTP.Method = value
		return "method " + value, true
	}
	if strings.HasPrefix(name, ":") {
		return "", false
	}
	for i, kv := range r.HTTP.Headers {
		if strings.EqualFold(kv[0], name) {
			r.HTTP.Headers[i][1] = value
			return name + ": " + value, true
		}
	}
	r.HTTP.Headers = append(r.HTTP.Headers, [2]string{name, value})
	return name + ": " + value, true
}

func dropHeader(r *flow.Request, name string) (string, bool) {
	for i, kv := range r.HTTP.Headers {
		if strings.EqualFold(kv[0], name) {
			r.HTTP.Headers = append(r.HTTP.Headers[:i], r.HTTP.Headers[i+1:]...)
			return "without " + name, true
		}
	}
	return "", false
}

// askWhatIf is key i: trace again with the one change, or choose among several.
func (t *traceScreen) askWhatIf(s *state, leg flow.Leg, st flow.Step) effect {
	if leg.Owner == flow.OwnerProxy {
		return say("this is the proxy's own connection: no input of the request decides here")
	}
	list := whatIf(st, s.trace.Request)
	switch len(list) {
	case 0:
		return say("no near miss here that one input of the request decides")
	case 1:
		return effect{kind: effTrace, req: &list[0].req, note: "what if: " + render.Clean(list[0].what)}
	}
	d := &chooser{title: "What if: trace again with", prompt: "filter: ", foot: "enter traces it, e there shows the whole request"}
	for _, c := range list {
		d.items = append(d.items, item{name: render.Clean(c.what), note: "for " + c.of, ink: style.Faint,
			effect: effect{kind: effTrace, req: &c.req, note: "what if: " + render.Clean(c.what)}})
	}
	return effect{kind: effDialog, dialog: d}
}

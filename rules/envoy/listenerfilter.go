package envoy

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// listenerFilters runs the listener's filters in order (active_tcp_socket.cc); false: the
// pass has ended.
func (p *pass) listenerFilters(l *listener) bool {
	for _, f := range p.listener.Field("listener_filters").All() {
		switch p.listenerFilter(f) {
		case filterEnds:
			return false
		case filterWaits:
			if !p.timeout(f) {
				return false
			}
			return true // the rest is skipped, the implicit original_dst too
		}
	}
	if l.original {
		p.originalDst("original_dst (by use_original_dst)", p.listener)
	}
	if p.listener.Field("filter_chains").Index(0).Field("use_proxy_proto").Bool(false) {
		return p.proxyProtocol("proxy_protocol (by use_proxy_proto)", tree.Node{}) == filterGoes
	}
	return true
}

// filterFate is what one listener filter does.
type filterFate uint8

const (
	filterGoes filterFate = iota
	filterWaits
	filterEnds
)

func goes(ok bool) filterFate {
	if ok {
		return filterGoes
	}
	return filterEnds
}

func (p *pass) listenerFilter(f tree.Node) filterFate {
	e := p.extension(f)
	name := e.name
	if d := f.Field("filter_disabled"); d.Exists() {
		switch p.predicate(d) {
		case flow.Yes:
			p.listenerStep(name, f, flow.Because(flow.WhyFilterDisabled, strconv.Itoa(int(p.local.Port()))))
			return filterGoes
		case flow.Maybe:
			return goes(p.opaque(flow.ListenerFilter, name, flow.Because(flow.WhyNotModelled, "filter_disabled"), d))
		}
	}
	if p.unusable(flow.ListenerFilter, &e) {
		return filterEnds
	}
	if e.missing {
		p.refuse(flow.Step{Stage: flow.ListenerFilter, Subject: name, Reason: flow.Because(flow.WhyFilterConfigMissing), Evidence: p.evidence(f)}, "", "")
		return filterEnds
	}
	if !p.odd(flow.ListenerFilter, name, e.config, oddListenerFilter(e.kind, e.config)) {
		return filterEnds
	}
	switch e.kind {
	case "tls_inspector":
		return p.tlsInspector(name, f)
	case "http_inspector":
		return p.httpInspector(name, f)
	case "original_dst":
		p.originalDst(name, f)
		return filterGoes
	case "original_src":
		p.originalSrc, p.mark = true, uint32(e.config.Field("mark").Uint(0))
		p.listenerStep(name, f, flow.Because(flow.WhyOriginalSrc, strconv.FormatUint(uint64(p.mark), 10)))
		return filterGoes
	case "proxy_protocol":
		return p.proxyProtocol(name, e.config)
	case "local_ratelimit", "listener_local_ratelimit":
		if key, off := p.cfg.off(e.config, "runtime_enabled"); off {
			p.listenerStep(name, f, flow.Because(flow.WhyRuntimeOff, key))
			return filterGoes
		}
		return goes(p.bucket(flow.ListenerFilter, name, f, e.config, "", ""))
	}
	return goes(p.opaque(flow.ListenerFilter, name, flow.Because(flow.WhyOpaque, e.kind), f))
}

func (p *pass) listenerStep(subject string, n tree.Node, why flow.Reason) {
	p.add(flow.Step{Stage: flow.ListenerFilter, Subject: subject, Verdict: flow.Continue, Reason: why, Evidence: p.evidence(n)})
}

// timeout is a filter that waits for bytes which do not come; true: the listener goes on
// without the rest (continue_on_listener_filters_timeout).
func (p *pass) timeout(f tree.Node) bool {
	d, ok := p.listener.Field("listener_filters_timeout").Duration()
	if !ok {
		d = 15 * time.Second
	}
	s := flow.Step{Stage: flow.ListenerFilter, Subject: f.Field("name").Str(), Verdict: flow.Continue, Evidence: p.evidence(f)}
	switch {
	case d <= 0:
		s.Verdict, s.Reason = flow.Dropped, flow.Because(flow.WhyWaitsForEver)
		p.add(s)
		p.end(flow.Dropped, flow.Symptom{TCP: flow.TCPOK})
		return false
	case p.listener.Field("continue_on_listener_filters_timeout").Bool(false):
		s.Reason = flow.Because(flow.WhyContinueOnTimeout, d.String())
		p.add(s)
		return true
	}
	s.Reason = flow.Because(flow.WhyFilterTimeout, d.String())
	p.refuse(s, "", "")
	return false
}

// predicate is a ListenerFilterChainMatchPredicate on the present destination port.
func (p *pass) predicate(n tree.Node) flow.Answer {
	if len(n.Unknown("or_match", "and_match", "not_match", "any_match", "destination_port_range")) > 0 {
		return flow.Maybe
	}
	if r := n.Field("or_match"); r.Exists() {
		a := flow.No
		for _, x := range r.Field("rules").All() {
			a = a.Or(p.predicate(x))
		}
		return a
	}
	if r := n.Field("and_match"); r.Exists() {
		a := flow.Yes
		for _, x := range r.Field("rules").All() {
			a = a.And(p.predicate(x))
		}
		return a
	}
	if r := n.Field("not_match"); r.Exists() {
		return p.predicate(r).Not()
	}
	if r := n.Field("destination_port_range"); r.Exists() {
		port := int64(p.local.Port())
		return flow.Is(!p.local.IsValid() || port >= r.Field("start").Int(0) && port < r.Field("end").Int(0))
	}
	return flow.Is(n.Field("any_match").Bool(false))
}

// sends says whether the client sends anything of itself.
func (p *pass) sends() bool {
	return p.proxied() || p.req == nil || p.req.HTTP != nil || p.req.TLS != nil || p.req.Payload == nil || len(p.req.Payload) > 0
}

// firstBytes is what a client sends first that speaks neither TLS nor HTTP.
func (p *pass) firstBytes() []byte {
	switch {
	case p.proxied():
		return []byte("\r\n\r\n\x00\r\nQUIT\n") // the v2 signature; v1 is no TLS and no HTTP either
	case p.req == nil || p.req.Payload == nil:
		return []byte{0} // bytes of no known protocol
	}
	return p.req.Payload
}

// hello is the ClientHello, if that is what comes next on the socket.
func (p *pass) hello() *flow.TLS {
	if p.req == nil || p.proxied() {
		return nil
	}
	return p.req.TLS
}

// proxied says that a PROXY header comes first, and that nobody has read it yet.
func (p *pass) proxied() bool { return p.req != nil && p.req.Proxy != nil && !p.proxyTaken }

func orDefault(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}

// tlsInspector sets transport protocol, SNI and ALPN from the ClientHello.
func (p *pass) tlsInspector(name string, f tree.Node) filterFate {
	if t := p.hello(); t != nil {
		p.transport, p.sni = "tls", strings.ToLower(t.SNI)
		if len(t.ALPN) > 0 {
			p.alpn = t.ALPN
		}
		p.listenerStep(name, f, flow.Because(flow.WhyTLSSeen, p.sni, strings.Join(t.ALPN, ",")))
		return filterGoes
	}
	if !p.sends() {
		return filterWaits
	}
	if p.req != nil && p.req.HTTP == nil && p.firstBytes()[0] == 0x16 { // a handshake record (RFC 8446, 5.1): a hello nobody described
		return goes(p.opaque(flow.ListenerFilter, name, flow.Because(flow.WhyPayloadTLS), f))
	}
	p.listenerStep(name, f, flow.Because(flow.WhyNotTLS))
	return filterGoes
}

// preface is how an HTTP/2 connection begins (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// httpInspector sets ALPN from the first bytes of a plain-text connection.
func (p *pass) httpInspector(name string, f tree.Node) filterFate {
	if p.transport != "" && p.transport != "raw_buffer" {
		p.listenerStep(name, f, flow.Because(flow.WhyInspectorSkipped, p.transport))
		return filterGoes
	}
	if p.hello() != nil { // nobody looked for TLS before: a ClientHello is no HTTP
		p.listenerStep(name, f, flow.Because(flow.WhyNotHTTP))
		return filterGoes
	}
	if !p.sends() {
		return filterWaits
	}
	alpn, wait := "", false
	if p.req != nil && p.req.HTTP != nil && !p.proxied() {
		alpn = httpALPN(p.req.HTTP, p.cfg.version)
	} else {
		alpn, wait = httpSniff(p.firstBytes(), p.cfg.version)
	}
	if wait {
		return filterWaits
	}
	if alpn == "" {
		p.listenerStep(name, f, flow.Because(flow.WhyNotHTTP))
		return filterGoes
	}
	p.alpn = []string{alpn}
	p.listenerStep(name, f, flow.Because(flow.WhyHTTPSeen, alpn))
	return filterGoes
}

// httpALPN is what http_inspector takes a request for.
func httpALPN(h *flow.HTTP, v Version) string {
	switch {
	case h.Version == "2":
		return "h2c"
	case h.Method != "" && !knownMethod(h.Method, v):
		return ""
	case h.Version == "" || h.Version == "1.1":
		return "http/1.1"
	}
	return "http/1.0"
}

// httpSniff is what http_inspector takes text for: "h2c", "http/1.1", "http/1.0" or nothing;
// wait: it wants more bytes.
func httpSniff(text []byte, v Version) (alpn string, wait bool) {
	if len(text) < len(preface) && strings.HasPrefix(preface, string(text)) {
		return "", true
	}
	if bytes.HasPrefix(text, []byte(preface)) {
		return "h2c", false
	}
	line, _, whole := bytes.Cut(text, []byte{'\n'})
	method, rest, ok := strings.Cut(string(line), " ")
	if !ok {
		return "", !whole && couldBeMethod(method)
	}
	if !knownMethod(method, v) {
		return "", false
	}
	if !whole {
		return "", true
	}
	fields := strings.Fields(rest)
	if len(fields) < 2 || !strings.HasPrefix(fields[len(fields)-1], "HTTP/") {
		return "", false
	}
	if fields[len(fields)-1] == "HTTP/1.1" {
		return "http/1.1", false
	}
	return "http/1.0", false
}

func couldBeMethod(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// knownMethod says whether Envoy's HTTP/1 parser takes the method
// (balsa_parser.cc, isMethodValid).
func knownMethod(m string, v Version) bool {
	switch m {
	case "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "MSEARCH", "M-SEARCH",
		"NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	case "QUERY":
		return v.atLeast(1, 40, 0)
	}
	return false
}

// originalDst restores the destination that the connection had before it was redirected
// (original_dst.cc): restored is set even when it is the socket's own address.
func (p *pass) originalDst(name string, f tree.Node) {
	switch {
	case p.conn.Orig.IsValid():
		p.local, p.restored = p.conn.Orig, true
		p.listenerStep(name, f, flow.Because(flow.WhyRestored, p.local.String()))
	case p.conn.Transparent:
		p.restored = true
		p.listenerStep(name, f, flow.Because(flow.WhyRestored, p.local.String()))
	default:
		p.listenerStep(name, f, flow.Because(flow.WhyNoOriginal))
	}
}

// proxyProtocol takes the addresses of the PROXY header.
func (p *pass) proxyProtocol(name string, config tree.Node) filterFate {
	f := config
	if !p.proxied() {
		if !p.sends() {
			return filterWaits
		}
		if config.Field("allow_requests_without_proxy_protocol").Bool(false) {
			p.listenerStep(name, f, flow.Because(flow.WhyNoProxyHeader))
			return filterGoes
		}
		p.refuse(flow.Step{Stage: flow.ListenerFilter, Subject: name, Reason: flow.Because(flow.WhyNoProxyHeader), Evidence: p.evidence(f)}, "", "")
		return filterEnds
	}
	h := p.req.Proxy
	p.proxyTaken = true
	p.remote = h.Src
	if h.Dst != p.local {
		p.local, p.restored = h.Dst, true
	}
	p.listenerStep(name, f, flow.Because(flow.WhyProxyHeader, h.Src.String(), h.Dst.String()))
	return filterGoes
}

// bucket is a token bucket, whose state no snapshot holds: it has tokens, or it is empty.
// It says whether the connection goes on.
func (p *pass) bucket(stage flow.Stage, subject string, f, config tree.Node, flags, details string) bool {
	b := config.Field("token_bucket")
	size, fill := b.Field("max_tokens").Str(), b.Field("fill_interval").Str()
	why := flow.Because(flow.WhyBucket, size, orDefault(b.Field("tokens_per_fill").Str(), "1"), fill)
	ref := p.ref("bucket " + subject)
	s := flow.Step{Stage: stage, Subject: subject, Verdict: flow.Continue, Reason: why, Evidence: p.evidence(f)}
	choice := flow.Choice{Ref: ref, Kind: flow.Condition, Options: []flow.Option{{Value: "tokens"}, {Value: "empty", When: "bucket empty"}}}
	if p.ch.Take(choice) == 1 {
		s.Reason = flow.Because(flow.WhyBucketEmpty, size, orDefault(b.Field("tokens_per_fill").Str(), "1"), fill)
		p.refuse(s, flags, details)
		return false
	}
	s.Assumed = []flow.Assumption{{Reason: flow.Because(flow.WhyBucketHasTokens), Flag: "--pick " + quoteRef(ref) + "=tokens"}}
	p.add(s)
	return true
}

// quoteRef is a reference as a shell wants it.
func quoteRef(ref string) string {
	if strings.ContainsAny(ref, " ") {
		return strconv.Quote(ref)
	}
	return ref
}

// sourceLocal is the test of source_type: a pipe, 127.0.0.1, ::1, or the destination's own
// address (filter_chain_manager_impl.cc, isLocalConnection); other loopback addresses are not.
func sourceLocal(remote, local netip.Addr) bool {
	return remote == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || remote == netip.IPv6Loopback() || remote == local
}

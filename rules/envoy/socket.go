package envoy

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// originalMetadata is the namespace in which original_dst looks for the destination of an
// internal connection, under the key local (original_dst.cc).
const originalMetadata = "envoy.filters.listener.original_dst"

// unwrapSocket goes through transport sockets that only wrap another one, and answers the
// kind and configuration of the innermost: "" for plain text.
func unwrapSocket(ts tree.Node) (kind string, config tree.Node) {
	for range 8 {
		if !ts.Exists() {
			return "", tree.Node{}
		}
		kind, config = kindOf(ts)
		if kind == "" { // by name only, as old configurations do
			kind = ts.Field("name").Str()
			config = ts.Field("config", "hidden_envoy_deprecated_config")
		}
		switch kind {
		case "RawBuffer", "raw_buffer", "envoy.transport_sockets.raw_buffer":
			return "", config
		case "DownstreamTlsContext", "UpstreamTlsContext", "tls", "envoy.transport_sockets.tls":
			return "tls", config
		case "Tap", "Config", "ProxyProtocolUpstreamTransport", "InternalUpstreamTransport":
			ts = config.Field("transport_socket")
		default:
			return kind, config
		}
	}
	return kind, config
}

// downstreamSocket is the filter chain's transport socket; false: the pass has ended.
func (p *pass) downstreamSocket() bool {
	ts := p.chain.Field("transport_socket")
	kind, config := unwrapSocket(ts)
	if old := p.chain.Field("tls_context", "hidden_envoy_deprecated_tls_context"); old.Exists() && !ts.Exists() {
		kind, config = "tls", old
	}
	hello := p.hello()
	s := flow.Step{Stage: flow.TransportSocket, Subject: "downstream", Verdict: flow.Continue, Evidence: p.evidence(ts)}
	switch {
	case kind == "" && hello == nil:
		s.Reason = flow.Because(flow.WhyPlainSocket)
		s.Evidence = nil
	case kind == "":
		s.Reason = flow.Because(flow.WhyTLSPassed)
	case kind != "tls":
		p.stop(flow.TransportSocket, "downstream", flow.Because(flow.WhyNotModelled, "transport socket "+kind), ts)
		return false
	case p.awaits(&s, config):
		return false
	case hello == nil:
		if !p.sends() {
			s.Verdict, s.Reason = flow.Dropped, flow.Because(flow.WhyHandshakeWaits)
			p.add(s)
			p.end(flow.Dropped, flow.Symptom{TCP: flow.TCPOK})
			return false
		}
		s.Reason = flow.Because(flow.WhyTLSExpected)
		p.refuse(s, "", "")
		return false
	case !p.odd(flow.TransportSocket, "downstream", config, oddDownstream(config, hello)):
		return false
	default:
		if p.terminate(&s, config, hello); p.over {
			return false
		}
	}
	p.add(s)
	return true
}

// awaits ends the pass at a chain whose secret did not come: whatever the client does, Envoy
// closes (measured in e2e/envoy, TestSecrets).
func (p *pass) awaits(s *flow.Step, config tree.Node) bool {
	why, ev := p.cfg.unsupplied(config.Field("common_tls_context"))
	if why == (flow.Reason{}) {
		return false
	}
	s.Reason, s.Evidence = why, append(slices.Clip(s.Evidence), ev...)
	p.refuse(*s, "", "")
	return true
}

// terminate is the handshake of a TLS chain; s has not been added yet, unless the pass has ended.
func (p *pass) terminate(s *flow.Step, config tree.Node, hello *flow.TLS) {
	common := config.Field("common_tls_context")
	alpn := negotiate(common.Field("alpn_protocols"), hello.ALPN)
	p.downTLS = &flow.TLS{SNI: strings.ToLower(hello.SNI)}
	if alpn != "" {
		p.downTLS.ALPN = []string{alpn}
	}
	p.lacks(p.cfg.unreadSecrets(common))
	s.Assumed = append(s.Assumed, p.cfg.taken(common)...)
	if p.clientCertificate(s, config, hello) {
		s.Reason = flow.Because(flow.WhyTLSTerminated, hello.SNI, alpn, p.cfg.certificates(common))
	}
}

// negotiate is the protocol that the server takes of the client's list: the first of the
// server's own that the client offers (ssl_socket: SSL_select_next_proto).
func negotiate(server tree.Node, client []string) string {
	for _, n := range server.All() {
		for _, a := range client {
			if n.Str() == a {
				return a
			}
		}
	}
	return ""
}

// upstreamSocket is a transport socket of a cluster, compiled.
type upstreamSocket struct {
	node  tree.Node
	name  string    // of the match
	match tree.Node // what the endpoint's metadata must hold
	kind  string    // "" plain text, "tls", or what is not modelled
	tls   flow.TLS
	sans  string   // names that the peer's certificate must hold
	cert  string   // what Envoy presents itself
	lacks []string // secrets that were not read
	// hands says that an internal_upstream socket hands the endpoint's original_dst
	// metadata to the internal listener.
	hands bool
	auto  bool // auto_host_sni
}

func (c *Config) newUpstreamSocket(ts tree.Node) upstreamSocket {
	s := upstreamSocket{node: ts}
	var config tree.Node
	if s.kind, config = unwrapSocket(ts); s.kind == "tls" {
		s.readTLS(config)
		common := config.Field("common_tls_context")
		s.cert, s.lacks = c.certificates(common), c.unreadSecrets(common)
	}
	if kind, outer := kindOf(ts); kind == "InternalUpstreamTransport" {
		for _, m := range outer.Field("passthrough_metadata").All() {
			s.hands = s.hands || m.Field("name").Is(originalMetadata) && m.Path("kind", "host").Exists()
		}
	}
	return s
}

// readTLS reads an UpstreamTlsContext.
func (s *upstreamSocket) readTLS(config tree.Node) {
	common := config.Field("common_tls_context")
	s.kind, s.tls.SNI = "tls", config.Field("sni").Str()
	for _, a := range common.Field("alpn_protocols").All() {
		s.tls.ALPN = append(s.tls.ALPN, a.Str())
	}
	s.tls.Cert = flow.Is(common.Field("tls_certificates").Len()+common.Field("tls_certificate_sds_secret_configs").Len() > 0)
	s.sans, s.auto = sanNames(common), config.Field("auto_host_sni").Bool(false)
}

// sockets compiles the cluster's transport sockets.
func (c *cluster) sockets(cfg *Config) {
	for _, m := range c.node.Field("transport_socket_matches").All() {
		s := cfg.newUpstreamSocket(m.Field("transport_socket"))
		s.name, s.match = m.Field("name").Str(), m.Field("match")
		c.matches = append(c.matches, s)
	}
	ts := c.node.Field("transport_socket")
	c.socket = cfg.newUpstreamSocket(ts)
	if old := c.node.Field("tls_context", "hidden_envoy_deprecated_tls_context"); old.Exists() && !ts.Exists() {
		c.socket.readTLS(old)
	}
}

// speak is what Envoy speaks to the chosen host: the cluster's transport socket, or the one
// that the host's metadata selects (transport_socket_match_impl.cc).
func (p *pass) speak(c *cluster, h *host, hints lbHints) fate {
	spoken := fate{ok: true, name: h.name, addr: h.addr, cluster: c}
	if m := c.node.Field("transport_socket_matcher"); m.Exists() {
		if !p.opaque(flow.TransportSocket, "upstream", flow.Because(flow.WhyNotModelled, "transport_socket_matcher"), m) {
			return fate{unknown: true}
		}
		return spoken
	}
	ts, why := &c.socket, flow.Because(flow.WhyNoSocket)
	if h.socket >= 0 && int(h.socket) < len(c.matches) {
		ts = &c.matches[h.socket]
		why = flow.Because(flow.WhySocketMatch, ts.name)
	}
	if ts.hands && h.internal != "" {
		p.res.Upstream.Orig = h.orig
	}
	if ts.kind != "" && ts.kind != "tls" {
		p.stop(flow.TransportSocket, "upstream", flow.Because(flow.WhyNotModelled, "transport socket "+ts.kind), ts.node)
		return fate{unknown: true}
	}
	s := flow.Step{Stage: flow.TransportSocket, Subject: "upstream", Verdict: flow.Continue, Reason: why, Evidence: p.evidence(ts.node)}
	if ts.name != "" {
		s.Tests = []flow.Test{{Text: ts.name + " " + shorten(ts.match.Raw()), Answer: flow.Yes, Reason: flow.Because(flow.WhySocketMatch, ts.name)}}
	}
	_, config := unwrapSocket(ts.node)
	common := config.Field("common_tls_context")
	if why, ev := p.cfg.unsupplied(common); why != (flow.Reason{}) {
		s.Verdict, s.Reason, s.Evidence = flow.Refused, why, append(slices.Clip(s.Evidence), ev...)
		p.add(s)
		p.res.Upstream = Upstream{}
		return unmade(hints, "TLS_error:_Secret_is_not_supplied_by_SDS")
	}
	if ts.kind == "tls" {
		t, known := p.upstreamHello(ts, c, h, hints)
		if !known && !p.opaque(flow.TransportSocket, "upstream", flow.Because(flow.WhyStateUnknown, stateServerName), ts.node) {
			return fate{unknown: true}
		}
		p.lacks(ts.lacks)
		s.Assumed = append(s.Assumed, p.cfg.taken(common)...)
		p.res.Upstream.TLS = t
		s.Reason = flow.Because(flow.WhyTLSUpstream, t.SNI, ts.sans, ts.cert)
		if known {
			s.Facts = append(s.Facts, flow.Because(flow.WhyTLSOffers, strings.Join(t.ALPN, ",")))
		}
	}
	p.add(s)
	return spoken
}

// socketOf is the transport socket match that fits a host: by its own metadata, else by its
// locality's; -1: none.
func (c *cluster) socketOf(meta, localityMeta tree.Node) int16 {
	for i := range c.matches {
		if m := c.matches[i].match; matchesSocket(m, meta) || matchesSocket(m, localityMeta) {
			return int16(min(i, 1<<15-1))
		}
	}
	return -1
}

// matchesSocket says whether every key of want has an equal value in the metadata
// namespace envoy.transport_socket_match; an empty match fits every host.
func matchesSocket(want, meta tree.Node) bool {
	have := meta.Field("filter_metadata").Key("envoy.transport_socket_match")
	for k, v := range want.Members() {
		if !tree.Equal(v, have.Key(k)) {
			return false
		}
	}
	return true
}

// sanNames are the names that the peer's certificate must hold.
func sanNames(common tree.Node) string {
	var names []string
	for _, v := range []tree.Node{common.Field("validation_context"), common.Path("combined_validation_context", "default_validation_context")} {
		for _, m := range v.Field("match_typed_subject_alt_names").All() {
			names = append(names, sanText(m.Field("matcher")))
		}
		for _, m := range v.Field("match_subject_alt_names").All() {
			names = append(names, sanText(m))
		}
	}
	return strings.Join(names, ", ")
}

func sanText(m tree.Node) string {
	for _, k := range []string{"exact", "prefix", "suffix", "contains"} {
		if v := m.Field(k); v.Exists() {
			return k + " " + v.Str()
		}
	}
	return string(m.Raw())
}

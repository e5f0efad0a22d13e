package envoy

import (
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Keys of filter state that say more than the cluster's transport socket does
// (source/common/network/upstream_server_name.h, application_protocol.h).
const (
	stateServerName = "envoy.network.upstream_server_name"
	stateProtocols  = "envoy.network.application_protocols"
)

// versions are the HTTP versions that Envoy offers to the cluster's hosts; of two the
// host's TLS takes one. (ClusterInfoImpl::upstreamHttpProtocol)
func (c *cluster) versions(h2 bool) []string {
	o := c.options
	down := o.Field("use_downstream_protocol_config").Exists()
	if e := c.node.Field("protocol_selection").Enum(); e == "USE_DOWNSTREAM_PROTOCOL" || e == "1" {
		down = true
	}
	switch explicit := o.Field("explicit_http_config"); {
	case o.Field("auto_config").Exists():
		return []string{"2", "1.1"}
	case down && h2, explicit.Field("http2_protocol_options").Exists(), !down && !o.Exists() && c.node.Field("http2_protocol_options").Exists():
		return []string{"2"}
	case explicit.Field("http3_protocol_options").Exists():
		return []string{"3"}
	}
	return []string{"1.1"}
}

// alpnOf are the protocol names of HTTP versions.
func alpnOf(versions []string) (names []string) {
	for _, v := range versions {
		names = append(names, map[string]string{"1.1": "http/1.1", "2": "h2", "3": "h3"}[v])
	}
	return names
}

// hello is what Envoy's ClientHello to the host says: filter state and auto_sni before the
// transport socket's own name, and of protocols what the HTTP codec needs where the socket
// names none. (ssl/client_context_impl.cc: newSsl); false: not known
func (p *pass) upstreamHello(ts *upstreamSocket, c *cluster, h *host, hints lbHints) (*flow.TLS, bool) {
	t := ts.tls
	if ts.auto && h.name != "" {
		t.SNI = h.name
	}
	name := p.state[stateServerName]
	if name == "" {
		name = c.autoSNI(hints)
	}
	if name != "" {
		t.SNI = name
	}
	if list := p.state[stateProtocols]; list != "" {
		t.ALPN = strings.Split(list, ",")
	} else if len(t.ALPN) == 0 && (hints.http || hints.tunnel) {
		t.ALPN = alpnOf(c.versions(hints.h2))
	}
	return &t, !p.unsure[stateServerName] && !p.unsure[stateProtocols]
}

// autoSNI is the name by auto_sni: the request's authority without port, no address
// (router.cc, Filter::decodeHeaders).
func (c *cluster) autoSNI(hints lbHints) string {
	o := c.options.Field("upstream_http_protocol_options")
	if !hints.http || !o.Field("auto_sni").Bool(false) {
		return ""
	}
	name := hints.authority
	if override := o.Field("override_auto_sni_header").Str(); override != "" && hints.header != nil {
		if v, ok := hints.header(override); ok && v != "" {
			name = v
		}
	}
	name = hostOnly(name)
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}

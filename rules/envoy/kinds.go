package envoy

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// strange is where an extension of a type that is not understood stands first.
type strange struct {
	part *part
	at   int // of its type's text
	hold *entry
	of   *flow.NotModelled
}

// notUnderstood counts the extensions that decide about a request, of types that are not
// understood, and whatever bears a type of somebody other than Envoy that is not known.
func (c *Config) notUnderstood(x *indexer) {
	for _, t := range x.scan.Types.List {
		typ := tree.TypeName(string(t.URL))
		if understood(typ) {
			continue
		}
		typ = brief([]byte(typ))
		fresh := x.unmodelled[typ] == nil
		x.countMany(typ, "", "", t.Count)
		if u := x.unmodelled[typ]; fresh && u != nil {
			c.strange = append(c.strange, strange{part: x.part, at: t.First, hold: x.holder(t.First), of: u})
		}
	}
	if more := x.scan.Types.More; more > 0 {
		x.countMany("other types", "", "", more)
	}
}

// holder is the entry that a byte of the part belongs to.
func (x *indexer) holder(at int) *entry {
	for _, e := range x.entries {
		if e.start <= at && at < e.end {
			return e
		}
	}
	return nil
}

// nameStrange finds the names and places of the extensions: it decodes the objects that hold
// them, once.
func (c *Config) nameStrange() {
	c.naming.Do(func() {
		for _, s := range c.strange {
			for _, n := range around(s.root(), int64(s.at)) {
				s.of.Name, s.of.Ref = orDefault(n.Field("name").Str(), s.of.Name), reference(n)
			}
			if s.hold != nil {
				s.of.Name, s.of.Ref = orDefault(s.of.Name, s.hold.name), orDefault(s.of.Ref, s.hold.reference())
			}
		}
	})
}

// root is the object, decoded, that holds the type; none where its text is not in one piece.
func (s *strange) root() tree.Node {
	if s.hold == nil {
		return tree.Node{}
	}
	if s.hold.hosts == nil {
		return s.hold.decode()
	}
	t := s.hold.table()
	for i, span := range t.spans {
		if span.start <= s.at && s.at < span.end {
			return t.host(i)
		}
	}
	return tree.Node{}
}

// around are the objects that hold a byte, the outermost first.
func around(n tree.Node, at int64) (out []tree.Node) {
	for n.Exists() {
		if n.IsObject() {
			out = append(out, n)
		}
		next := tree.Node{}
		look := func(c tree.Node) {
			if c.Offset() <= at && at < c.Offset()+c.Size() {
				next = c
			}
		}
		for _, c := range n.Members() {
			look(c)
		}
		if n.Kind() == tree.List {
			for _, c := range n.All() {
				look(c)
			}
		}
		n = next
	}
	return out
}

// understood says whether this package knows what a message of the type does, or whether it
// is none that decides about a request, as loggers and tracers do not.
func understood(typ string) bool {
	own, rest, _ := strings.Cut(typ, ".")
	last := typ[strings.LastIndexByte(typ, '.')+1:]
	switch family, kind := family(typ); {
	case family == "network":
		return networkKind(kind)
	case family == "http":
		return httpKind(kind)
	case family == "listener":
		return listenerKind(kind)
	case family == "transport_sockets":
		return socketKind(last) || kind == "tls" && last == "Secret"
	case (own == "xds" || own == "envoy") && strings.HasPrefix(rest, "type.matcher."):
		return inputKind(last)
	case own == "envoy" && strings.HasPrefix(rest, "extensions."):
		return extensionKnown(strings.TrimPrefix(rest, "extensions."), last)
	case own == "envoy" || own == "google" || own == "udpa" || own == "xds":
		return networkKind(typ) || !strings.HasPrefix(rest, "tcp.")
	}
	return networkKind(typ) || httpKind(typ)
}

// extensionKnown is understood for Envoy's extensions other than filters and transport
// sockets: path is a type's name after envoy.extensions.
func extensionKnown(path, last string) bool {
	family, rest, _ := strings.Cut(path, ".")
	kind, _, _ := strings.Cut(rest, ".")
	switch family {
	case "load_balancing_policies":
		return policyKind(last)
	case "clusters":
		return last == "DnsCluster" || clusterKnown(kind)
	case "router":
		return last == "MatcherClusterSpecifier" || last == "ClusterAction"
	case "matching", "string_matcher":
		return inputKind(last)
	case "rbac":
		return kind == "audit_loggers"
	case "path":
		return last == "UriTemplateMatchConfig" || last == "UriTemplateRewriteConfig"
	case "http":
		return httpPart(kind, last)
	}
	return silent(family)
}

// silentFamilies are those of extensions of which none decides where a request goes, or
// whether: they count, log, compress, probe, say how bytes are sent, or work for a filter
// that counts itself.
const silentFamilies = ` access_loggers bootstrap common compression config content_parsers early_data filters formatter geoip_providers grpc_service
 health_check health_checkers http.cache http.cache_v2 http.header_formatters http.header_validators http.injected_credentials
 http.stateful_session internal_redirect io_socket key_value local_address_selectors network outlier_detection_monitors overload_actions
 private_key_providers quic rate_limit_descriptors regex_engines request_id resource_monitors retry stat_sinks tracers udp_packet_writer upstreams
 wasm watchdog `

// silent says whether a family is one of silentFamilies.
func silent(family string) bool {
	return slices.Contains(strings.Fields(silentFamilies), family)
}

// httpPart says whether the connection manager, or a filter, knows an extension of it.
func httpPart(kind, last string) bool {
	switch kind {
	case "original_ip_detection":
		return last == "XffConfig" || last == "CustomHeaderConfig"
	case "early_header_mutation":
		return last == "HeaderMutation"
	case "custom_response":
		return last == "LocalResponsePolicy" || last == "RedirectPolicy"
	}
	return silent("http." + kind)
}

// policyKind says whether typedPolicy knows a message.
func policyKind(name string) bool {
	switch name {
	case "RoundRobin", "LeastRequest", "Random", "RingHash", "Maglev", "ClusterProvided", "ClientSideWeightedRoundRobin", "Subset", "WrrLocality":
		return true
	}
	return false
}

// clusterKnown says whether a kind of cluster is one that toCluster knows.
func clusterKnown(kind string) bool {
	switch kind {
	case "static", "eds", "original_dst", "strict_dns", "logical_dns", "aggregate", "dynamic_forward_proxy":
		return true
	}
	return false
}

// family is that of an extension of Envoy, and its kind there.
func family(typ string) (family, kind string) {
	parts := strings.Split(typ, ".")
	for i, s := range parts[:max(len(parts)-2, 0)] {
		switch {
		case parts[0] != "envoy":
		case s == "filters" || s == "filter":
			if f := parts[i+1]; f == "network" || f == "http" || f == "listener" {
				return f, parts[i+2]
			}
		case s == "transport_sockets":
			return s, parts[i+1]
		}
	}
	return "", ""
}

// networkKind says whether network.filter knows a kind.
func networkKind(kind string) bool {
	switch kind {
	case "rbac", "sni_cluster", "set_filter_state", "ext_authz", "ext_proc", "ratelimit", "local_ratelimit", "connection_limit", "tcp_proxy",
		"http_connection_manager", "direct_response", "echo":
		return true
	}
	return countsOnly(kind)
}

// listenerKind says whether listenerFilter knows a kind.
func listenerKind(kind string) bool {
	switch kind {
	case "tls_inspector", "http_inspector", "original_dst", "original_src", "proxy_protocol", "local_ratelimit":
		return true
	}
	return false
}

// httpKind says whether stream.filter knows a kind, if only as one that may do anything.
func httpKind(kind string) bool {
	switch kind {
	case "router", "rbac", "local_ratelimit", "fault", "cors", "csrf", "health_check", "header_mutation", "lua", "buffer", "jwt_authn", "basic_auth",
		"ext_authz", "ext_proc", "ratelimit", "original_src", "set_filter_state", "admission_control", "adaptive_concurrency", "composite", "wasm",
		"kill_request", "dynamic_forward_proxy", "on_demand", "custom_response":
		return true
	}
	return passes(kind)
}

// socketKind says whether unwrapSocket knows a message.
func socketKind(name string) bool {
	switch name {
	case "RawBuffer", "DownstreamTlsContext", "UpstreamTlsContext", "Tap", "Config", "ProxyProtocolUpstreamTransport", "InternalUpstreamTransport":
		return true
	}
	return false
}

// inputKind says whether a matcher knows an input or a custom match.
func inputKind(name string) bool {
	switch name {
	case "DestinationIPInput", "SourceIPInput", "DirectSourceIPInput", "DestinationPortInput", "SourcePortInput", "SourceTypeInput", "ServerNameInput",
		"TransportProtocolInput", "ApplicationProtocolInput", "FilterStateInput", "HttpRequestHeaderMatchInput", "HttpRequestQueryParamMatchInput",
		"UriSanInput", "DnsSanInput", "SubjectInput", "HttpResponseStatusCodeMatchInput", "HttpResponseStatusCodeClassMatchInput",
		"HttpResponseHeaderMatchInput", "HttpResponseTrailerMatchInput", "IPMatcher", "ServerNameMatcher", "Ip":
		return true
	}
	return false
}

package envoy

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// originalAddress is the client as the connection manager sees it.
type originalAddress struct {
	addr netip.Addr
	// trusted says that it may be called internal; sure that it is known at all.
	trusted, sure bool
}

// lastXFF is the address at the end of X-Forwarded-For after n entries were skipped, and
// whether it is the only one. (Http::Utility::getLastAddressFromXFF)
func lastXFF(xff string, skip uint64) (addr netip.Addr, single bool) {
	for range min(skip, uint64(len(xff)+1)) {
		i := strings.LastIndexByte(xff, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		xff = xff[:i]
	}
	i := strings.LastIndexByte(xff, ',')
	if i >= 0 && i+1 < len(xff) {
		xff = xff[i+1:]
	}
	xff = strings.Trim(xff, " \t")
	a, err := netip.ParseAddr(xff) // one with a port is none
	return a, err == nil && i < 0 && skip == 0
}

// sanitize is ConnectionManagerUtility::mutateRequestHeaders: what of the request's headers
// later tests can still see, and whether the request counts as internal.
func (s *stream) sanitize() bool {
	if !s.connectionHeader() {
		return false
	}
	h := s.h
	if !s.upgrades || s.upgrade == "CONNECT" {
		h.remove("connection")
		h.remove("upgrade")
	}
	for _, name := range []string{"x-envoy-internal", "keep-alive", "proxy-connection", "transfer-encoding"} {
		h.remove(name)
	}
	s.te()
	if equalFold(h.value("expect"), "100-continue") && !s.m.node.Field("proxy_100_continue").Bool(false) {
		h.remove("expect")
	}
	if v, ok, _ := h.first("referer"); ok && !validReferer(v) {
		h.remove("referer")
	}
	if !s.earlyMutations() {
		return false
	}
	s.clientAddress()
	s.scheme()
	s.markInternal()
	s.identify()
	return true
}

// te keeps of the TE header only "trailers", in lower case (measured on 1.40).
func (s *stream) te() {
	v := s.h.value("te")
	if v == "" { // an empty one stays
		return
	}
	for _, t := range strings.Split(v, ",") {
		if strings.TrimSpace(t) == "trailers" {
			s.h.set("te", "trailers")
			return
		}
	}
	s.h.remove("te")
}

// connectionHeader removes the headers that Connection nominates; some must not be.
// (Http::Utility::sanitizeConnectionHeader)
func (s *stream) connectionHeader() bool {
	v, ok, _ := s.h.first("connection")
	if !ok || s.http2 {
		return true
	}
	for _, t := range strings.Split(v, ",") {
		name := lower(strings.TrimSpace(t))
		switch name {
		case "", "close", "http2-settings", "keep-alive", "upgrade", "connection", "te":
			continue
		case "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto":
			return s.codecAnswer(&codecError{400, "http1.connection_header_rejected"}, flow.Because(flow.WhyEarlyAnswer, "400", "http1.connection_header_rejected"))
		}
		if name[0] == ':' {
			return s.codecAnswer(&codecError{400, "http1.connection_header_rejected"}, flow.Because(flow.WhyEarlyAnswer, "400", "http1.connection_header_rejected"))
		}
		s.h.remove(name)
	}
	return true
}

// clientAddress finds the client and sets X-Forwarded-For and X-Forwarded-Proto.
func (s *stream) clientAddress() {
	xff, has, sure := s.h.first("x-forwarded-for")
	peer := s.p.remote.Addr()
	s.from.sure = sure
	if !s.m.useRemote {
		s.detectAddress(xff, has)
	} else {
		s.from.trusted = !has
		if s.m.hops > 0 && has {
			s.from.addr, _ = lastXFF(xff, s.m.hops-1)
		}
		if !s.from.addr.IsValid() {
			s.from.addr = peer
		}
		s.appendXFF(peer)
		if _, hasProto, _ := s.h.first("x-forwarded-proto"); s.m.hops == 0 || !hasProto {
			s.h.set("x-forwarded-proto", s.schemeByTLS())
		}
		if s.m.hops == 0 && s.m.node.Field("append_x_forwarded_port").Bool(false) {
			s.h.remove("x-forwarded-port") // as it is not trusted
		}
	}
	if !s.h.has("x-forwarded-proto") {
		s.h.set("x-forwarded-proto", s.schemeByTLS())
	}
	if s.m.node.Field("append_x_forwarded_port").Bool(false) && !s.h.has("x-forwarded-port") {
		s.h.set("x-forwarded-port", strconv.Itoa(int(s.p.local.Port())))
	}
}

// appendXFF adds the peer. For a loopback peer Envoy writes its own address, which the
// configuration does not tell.
func (s *stream) appendXFF(peer netip.Addr) {
	switch {
	case s.m.skipXFF || !peer.IsValid():
	case isLoopback(peer):
		s.h.setUnsure("x-forwarded-for")
	default:
		s.h.add("x-forwarded-for", peer.String())
	}
}

// isLoopback is Network::Utility::isLoopbackAddress: exactly 127.0.0.1 and ::1.
func isLoopback(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback()
}

// detectAddress is the client by X-Forwarded-For, or by the configured extensions.
func (s *stream) detectAddress(xff string, has bool) {
	exts := s.m.node.Field("original_ip_detection_extensions").List()
	if len(exts) == 0 {
		if has {
			s.from.addr, s.from.trusted = lastXFF(xff, s.m.hops)
		}
		return
	}
	for _, e := range exts {
		kind, config := kindOf(e)
		switch kind {
		case "XffConfig":
			if has && !config.Field("xff_trusted_cidrs").Exists() {
				s.from.addr, s.from.trusted = lastXFF(xff, config.Field("xff_num_trusted_hops").Uint(0))
			} else if has {
				s.from.sure = false
			}
		case "CustomHeaderConfig":
			v, ok, _ := s.h.first(lower(config.Field("header_name").Str()))
			if a, err := netip.ParseAddr(v); ok && err == nil {
				s.from.addr, s.from.trusted = a, config.Field("allow_extension_to_set_address_as_trusted").Bool(false)
			}
		default:
			s.from.sure = false
		}
		if s.from.addr.IsValid() || !s.from.sure {
			return
		}
	}
}

func (s *stream) schemeByTLS() string {
	if s.p.downTLS != nil {
		return "https"
	}
	return "http"
}

// scheme sets :scheme, from X-Forwarded-Proto where that is a scheme, else by TLS.
func (s *stream) scheme() {
	if to := s.m.node.Path("scheme_header_transformation", "scheme_to_overwrite").Str(); to != "" {
		s.h.set(":scheme", to)
		s.h.set("x-forwarded-proto", to)
		return
	}
	if s.m.node.Path("scheme_header_transformation", "match_upstream").Bool(false) && s.h.has(":scheme") {
		return
	}
	if s.h.has(":scheme") {
		return
	}
	if v := lower(s.h.value("x-forwarded-proto")); v == "http" || v == "https" {
		s.h.set(":scheme", v)
		return
	}
	s.h.set(":scheme", s.schemeByTLS())
}

// internalOnly says whether only an internal request may bring this header.
// (ConnectionManagerUtility::cleanInternalHeaders)
func internalOnly(name string) bool {
	switch name {
	case "x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names",
		"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout":
		return true
	}
	return false
}

// edgeOnly says whether a request from the edge may not bring this header either.
func edgeOnly(name string) bool {
	switch name {
	case "x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-original-path", "x-envoy-original-host":
		return true
	}
	return false
}

// markInternal decides whether the request is internal, and takes away what others may not say.
func (s *stream) markInternal() {
	if !s.from.addr.IsValid() {
		s.from.addr, s.from.trusted = s.p.remote.Addr(), false
	}
	if s.from.trusted && s.from.sure {
		for _, r := range s.m.internal {
			if r.Contains(s.from.addr.Unmap()) {
				s.internal = true
			}
		}
	}
	if s.internal {
		s.h.set("x-envoy-internal", "true")
		return
	}
	s.h.filter(0, func(e *header) bool {
		return !strings.HasPrefix(e.name, "x-envoy-") || !internalOnly(e.name) && !(s.m.useRemote && edgeOnly(e.name))
	})
	for _, n := range s.internalHeaders() {
		s.h.remove(n)
	}
	if s.m.useRemote {
		s.h.set("x-envoy-external-address", s.from.addr.String())
	}
}

// internalHeaders are RouteConfiguration.internal_only_headers of the table.
func (s *stream) internalHeaders() []string {
	t := s.quietTable()
	if t == nil {
		return nil
	}
	return t.internalOnly
}

// identify adds what names the request and its client to the endpoint.
func (s *stream) identify() {
	n := s.m.node
	edge := s.m.useRemote && !s.internal
	if n.Field("generate_request_id").Bool(true) && (s.h.value("x-request-id") == "" || edge && !n.Field("preserve_external_request_id").Bool(false)) {
		s.h.setUnsure("x-request-id")
	}
	if n.Field("add_user_agent").Bool(false) {
		s.nameNode()
	}
	if via := n.Field("via").Str(); via != "" {
		if before := s.h.value("via"); before != "" {
			via = before + ", " + via
		}
		s.h.set("via", via)
	}
	s.clientCertHeader(n)
}

// nameNode tells the endpoint by which Envoy the request comes.
func (s *stream) nameNode() {
	node := s.p.cfg.boot().Field("node")
	put := func(name, value string) {
		if value == "" {
			s.h.setUnsure(name) // the command line may give one
			return
		}
		s.h.set(name, value)
	}
	put("x-envoy-downstream-service-cluster", node.Field("cluster").Str())
	if s.h.value("user-agent") == "" {
		put("user-agent", node.Field("cluster").Str())
	}
	put("x-envoy-downstream-service-node", node.Field("id").Str())
}

// clientCertHeader is x-forwarded-client-cert by forward_client_cert_details.
func (s *stream) clientCertHeader(n tree.Node) {
	mutual := s.p.downTLS != nil && s.p.downTLS.Cert == flow.Yes
	switch details := n.Field("forward_client_cert_details").Enum(); {
	case details == "ALWAYS_FORWARD_ONLY" || details == "4":
	case details == "" || details == "SANITIZE" || details == "0" || !mutual:
		s.h.remove("x-forwarded-client-cert")
	case details == "FORWARD_ONLY" || details == "1":
	default:
		s.h.setUnsure("x-forwarded-client-cert")
	}
}

// earlyMutations are the early_header_mutation_extensions.
func (s *stream) earlyMutations() bool {
	for _, e := range s.m.node.Field("early_header_mutation_extensions").All() {
		kind, config := kindOf(e)
		if kind != "HeaderMutation" {
			if !s.p.opaque(flow.NetworkFilter, e.Field("name").Str(), flow.Because(flow.WhyFilterOpaque, kind, "changes headers"), e) {
				return false
			}
			continue
		}
		s.mutate(config.Field("mutations"))
	}
	return true
}

package envoy

import (
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// upstreamFilters run between the router and the endpoint, once it is chosen: the cluster's
// own, else the router's; false: the pass has ended. (router/upstream_request.cc)
func (s *stream) upstreamFilters(c *cluster) bool {
	list := c.options.Field("http_filters")
	if list.Len() == 0 {
		list = s.last.config.Field("upstream_http_filters")
	}
	if list.Len() == 0 {
		return true
	}
	levels := s.levels()
	for _, f := range s.p.cfg.readFilters(list) {
		rc := perRoute(levels, f.name)
		off, by := f.off(rc)
		switch {
		case f.kind == "upstream_codec":
			return true
		case off:
			s.step(&f, flow.Because(flow.WhyHTTPFilterOff, by))
		case !s.p.odd(flow.HTTPFilter, f.name, f.config, f.odd):
			return false
		case f.kind == "header_mutation":
			s.headerMutation(&f, rc)
		case passes(f.kind):
			s.touch(&f)
			s.step(&f, flow.Because(flow.WhyFilterPasses, f.kind))
		case !s.p.opaque(flow.HTTPFilter, f.name, flow.Because(flow.WhyFilterOpaque, "upstream filter "+f.kind, ""), f.node):
			return false
		}
	}
	return true
}

// touched are headers that filters which let every request pass set or take away.
var touched = map[string][]string{
	"aws_request_signing": {"authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"},
	"gcp_authn":           {"authorization"},
	"decompressor":        {"accept-encoding", "content-encoding", "content-length"},
	"compressor":          {"accept-encoding"},
	"gzip":                {"accept-encoding"},
	"grpc_web":            {"accept", "content-length", "content-type", "grpc-accept-encoding", "te"},
	"connect_grpc_bridge": {"accept-encoding", "connect-accept-encoding", "connect-content-encoding", "connect-protocol-version", "connect-timeout-ms",
		"content-encoding", "content-length", "content-type", "grpc-accept-encoding", "grpc-encoding", "grpc-timeout", "te"},
	"metadata_exchange": {"x-envoy-peer-metadata", "x-envoy-peer-metadata-id"},
}

// touch marks the headers that such a filter may have changed.
func (s *stream) touch(f *httpFilter) {
	names := touched[f.kind]
	switch {
	case strings.HasSuffix(f.kind, "metadata_exchange"), strings.Contains(f.kind, "peer_metadata"):
		names = touched["metadata_exchange"]
	case f.kind == "header_to_metadata":
		names = removedNames(f.config)
	case f.kind == "grpc_web" && !strings.HasPrefix(s.h.value("content-type"), "application/grpc-web"), f.kind == "connect_grpc_bridge" && !s.connects():
		names = nil
	}
	if len(names) == 0 {
		return
	}
	s.own()
	if f.kind == "connect_grpc_bridge" && s.connectsByQuery() {
		s.h.set(":method", "POST")
		s.h.set(":path", withoutQuery(s.h.value(":path")))
	}
	for _, name := range names {
		s.h.setUnsure(name)
	}
}

// connects says whether a request may be one of the Connect protocol: a stream by its type, a
// call by its version, or a GET by its query. (TestPassedHeaders)
func (s *stream) connects() bool {
	return strings.HasPrefix(s.h.value("content-type"), "application/connect+") || s.h.has("connect-protocol-version") || s.connectsByQuery()
}

// connectsByQuery says whether a call's message stands in the query.
func (s *stream) connectsByQuery() bool {
	v, _ := queryValue(s.h.value(":path"), "connect")
	return v == "v1" && s.h.value(":method") == "GET"
}

// removedNames are the headers that header_to_metadata may take away.
func removedNames(config tree.Node) (names []string) {
	for _, r := range config.Field("request_rules").All() {
		if r.Field("remove").Bool(false) {
			names = append(names, lowerHeader(r.Field("header").Str()))
		}
	}
	return slices.Compact(names)
}

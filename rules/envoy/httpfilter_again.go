package envoy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// again says that the route is to be chosen again, once somebody asks for it.
// (Http::DownstreamStreamFilterCallbacks::clearRouteCache: TestRouteAgain)
func (s *stream) again(f *httpFilter) {
	st := s.p.last()
	st.Facts = append(st.Facts, flow.Because(flow.WhyRouteAgain, f.name))
	s.stale = true
}

// asksLate says that a filter of this kind changes the request before it asks for the route,
// or does not ask for it.
func asksLate(kind string) bool {
	return kind == "header_mutation" || kind == "set_filter_state" || kind == "ip_tagging"
}

// fresh chooses the route again where it must be; false: the pass has ended.
func (s *stream) fresh() bool {
	if !s.stale {
		return true
	}
	s.stale = false
	s.vhost, s.route, s.index, s.action, s.missed, s.assumed = nil, nil, -1, routeAction{}, nil, nil
	o := &s.p.res.Outcome
	o.VirtualHost, o.Route, o.RouteIndex, o.Cluster = "", "", -1, ""
	if s.m.node.Field("scoped_routes").Exists() {
		s.table = nil
		if !s.findTable() {
			return false
		}
	}
	return s.chooseRoute() && !s.p.over
}

// clears says whether a filter of a kind whose doing is known, or does not matter for the
// choice of a route, is told to have it chosen again.
func (f *httpFilter) clears() bool { return f.config.Field("clear_route_cache").Bool(false) }

// ipTagging is envoy.filters.http.ip_tagging: it tells the networks that the client is in by a
// header, and has the route chosen again where that changed.
// (source/extensions/filters/http/ip_tagging: applyTags)
func (s *stream) ipTagging(f *httpFilter) bool {
	if s.skipsTags(f.config) {
		s.step(f, flow.Because(flow.WhyHTTPFilterOff, "request_type"))
		return true
	}
	header := f.config.Field("ip_tag_header")
	name := lowerHeader(orDefault(header.Field("header").Str(), "x-envoy-ip-tags"))
	tags, known := s.tags(f.config)
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	had := s.h.has(name)
	if known && len(tags) == 0 && (!header.Exists() || !had || header.Field("action").Enum() == "APPEND_IF_EXISTS_OR_ADD") {
		return true
	}
	s.own()
	switch joined := strings.Join(tags, ","); {
	case !known || len(tags) > 1: // in which order is Envoy's affair
		s.h.setUnsure(name)
	case len(tags) == 0:
		s.h.remove(name)
	case had && (!header.Exists() || header.Field("action").Enum() == "APPEND_IF_EXISTS_OR_ADD"):
		s.h.join(name, joined)
	default:
		s.h.set(name, joined)
	}
	s.again(f)
	return true
}

// skipsTags says whether only requests of another kind, from inside or outside, are looked at.
func (s *stream) skipsTags(config tree.Node) bool {
	switch config.Field("request_type").Enum() {
	case "INTERNAL":
		return s.h.value("x-envoy-internal") != "true"
	case "EXTERNAL":
		return s.h.value("x-envoy-internal") == "true"
	}
	return false
}

// tags are the names of the networks that the client is in; false: that cannot be told.
func (s *stream) tags(config tree.Node) (tags []string, known bool) {
	if config.Field("ip_tags_file_provider").Exists() || !s.from.sure {
		return nil, false
	}
	for _, t := range config.Field("ip_tags").All() {
		in := slices.ContainsFunc(t.Field("ip_list").List(), func(n tree.Node) bool {
			p, ok := readCIDR(n)
			return ok && contains(p, s.from.addr)
		})
		if name := t.Field("ip_tag_name").Str(); in && !slices.Contains(tags, name) {
			tags = append(tags, name)
		}
	}
	return tags, true
}

func contains(p netip.Prefix, a netip.Addr) bool { return p.Contains(a.WithZone("")) }

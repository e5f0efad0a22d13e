package envoy

import (
	"maps"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// lua is envoy.filters.http.lua. A script without envoy_on_request sees no request.
func (s *stream) lua(f *httpFilter, rc routeConfig) bool {
	if rc.config.Field("disabled").Bool(false) {
		s.step(f, flow.Because(flow.WhyDisabledPerPath, rc.by))
		return true
	}
	script, known := luaScript(f.config, rc.config)
	if known && script == "" {
		s.step(f, flow.Because(flow.WhyLuaNone))
		return true
	}
	if known && !luaHandlesRequests(script) {
		s.step(f, flow.Because(flow.WhyLuaNoRequest))
		return true
	}
	ref := s.p.ref("lua " + f.name)
	choice := flow.Choice{Ref: ref, Kind: flow.Unmodelled, Options: []flow.Option{{Value: "passes"}, {Value: "answers", Stop: true}}}
	why := flow.Because(flow.WhyFilterOpaque, "lua", "")
	if s.p.ch.Take(choice) == 1 {
		s.p.stop(flow.HTTPFilter, f.name, why, f.node)
		s.astray(f)
		return false
	}
	s.marked = true
	s.step(f, why)
	st := s.p.last()
	st.Assumed = append(st.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyAssumedPass, f.name), Flag: "--pick " + quoteRef(ref) + "=passes"})
	return true
}

// luaScript is the script that runs; known is false where the configuration only says
// where it lies.
func luaScript(config, route tree.Node) (text string, known bool) {
	source := config.Field("default_source_code")
	switch {
	case route.Field("source_code").Exists():
		source = route.Field("source_code")
	case route.Field("name").Str() != "":
		source = config.Field("source_codes").Key(route.Field("name").Str())
	case !source.Exists():
		return config.Field("inline_code").Str(), true
	}
	if !source.Exists() {
		return "", true // a name without a script
	}
	if t := source.Field("inline_string"); t.Exists() {
		return t.Str(), true
	}
	return "", false
}

// luaHandlesRequests says whether a script may define envoy_on_request, by name or by ways
// that a look at its text does not see through.
func luaHandlesRequests(script string) bool { return luaDefines(script, "envoy_on_request") }

// luaDefines says the same of any function.
func luaDefines(script, function string) bool {
	for _, word := range []string{function, "_G", "_ENV", "setfenv", "loadstring", "load(", "dofile", "loadfile", "require", "rawset", "getfenv", "debug"} {
		if strings.Contains(script, word) {
			return true
		}
	}
	return false
}

// headerMutation is envoy.filters.http.header_mutation: the filter's own mutations, then
// those of all levels; the last one wins.
func (s *stream) headerMutation(f *httpFilter, rc routeConfig) bool {
	s.own()
	s.mutate(f.config.Path("mutations", "request_mutations"))
	if s.stale {
		if !s.fresh() {
			return false
		}
		rc = perRoute(s.levels(), f.name)
		s.own()
	}
	// From the most specific level to the table, unless the filter says the reverse.
	levels := rc.all
	if f.config.Field("most_specific_header_mutations_wins").Bool(false) {
		levels = nil
		for i := len(rc.all) - 1; i >= 0; i-- {
			levels = append(levels, rc.all[i])
		}
	}
	for _, n := range levels {
		s.mutate(n.Path("mutations", "request_mutations"))
	}
	for _, n := range append([]tree.Node{f.config}, levels...) {
		if n.Path("mutations", "query_parameter_mutations").Len() > 0 {
			s.h.setUnsure(":path")
		}
	}
	s.step(f, flow.Because(flow.WhyHeadersChanged, strings.Join(mutatedNames("request_mutations", f.config, levels), ", ")))
	st := s.p.last()
	st.Facts = append(st.Facts, changes(f.kind, mutatedNames("response_mutations", f.config, levels))...)
	return true
}

// mutatedNames are the names of the headers that mutations of a kind name, as headers are
// told apart: without regard to case.
func mutatedNames(kind string, config tree.Node, levels []tree.Node) (names []string) {
	for _, n := range append([]tree.Node{config}, levels...) {
		for _, m := range n.Path("mutations", kind).All() {
			name := m.Field("remove").Str()
			if name == "" {
				name = m.Path("append", "header", "key").Str()
			}
			names = append(names, lower(name))
		}
	}
	return names
}

// oneFrame is the most that a frame of HTTP/2 holds (Envoy leaves SETTINGS_MAX_FRAME_SIZE at its
// initial value; RFC 9113, 6.5.2).
const oneFrame = 16384

// buffer is envoy.filters.http.buffer: only a larger body is refused. What ends the stream is not
// held back by it, and so not counted: a body of HTTP/2 in one frame passes (measured on 1.40).
func (s *stream) buffer(f *httpFilter, rc routeConfig) bool {
	if rc.config.Field("disabled").Bool(false) {
		s.step(f, flow.Because(flow.WhyDisabledPerPath, rc.by))
		return true
	}
	limit := f.config.Field("max_request_bytes").Str()
	if b := rc.config.Field("buffer"); b.Exists() {
		limit = b.Field("max_request_bytes").Str()
	}
	most, err := strconv.Atoi(limit)
	b := s.p.req.HTTP.Body
	switch {
	case err != nil || b == nil || b.Size <= most:
		s.step(f, flow.Because(flow.WhyBodyTooLarge, limit))
		return true
	case s.http2 && b.Size <= oneFrame:
		return s.p.opaque(flow.HTTPFilter, f.name, flow.Because(flow.WhyBodyFrames, strconv.Itoa(b.Size), limit), f.node)
	}
	return s.deny(f, flow.Because(flow.WhyBodyOver, strconv.Itoa(b.Size), limit), 413, s.flags(""), "request_payload_too_large")
}

// basicAuth is envoy.filters.http.basic_auth: without credentials it refuses; what given
// ones are worth is a secret that a dump does not show.
func (s *stream) basicAuth(f *httpFilter) bool {
	header := lower(orDefault(f.config.Field("authentication_header").Str(), "authorization"))
	s.marked = s.marked || f.config.Field("emit_dynamic_metadata").Bool(false)
	given := s.h.value(header)
	if f.config.Field("allow_missing").Bool(false) && !hasPrefixFold(given, "basic ") {
		s.step(f, flow.Because(flow.WhyFilterPasses, f.kind+" without credentials"))
		return true
	}
	if s.h.has(header) {
		return s.opaque(f, f.kind, "")
	}
	return s.deny(f, flow.Because(flow.WhyNoHeader, header), 401, s.flags(""), "no_credential_for_basic_auth")
}

// service meets the filters that ask outside: ext_authz, ext_proc, ratelimit.
func (s *stream) service(f *httpFilter, rc routeConfig) bool {
	if rc.config.Field("disabled").Bool(false) {
		s.step(f, flow.Because(flow.WhyDisabledPerPath, rc.by))
		return true
	}
	switch f.kind {
	case "ext_authz":
		if s.never(f, "filter_enabled") {
			if deny := f.config.Field("deny_at_disable"); deny.Exists() && s.p.cfg.flag(deny) {
				code := statusCode(f.config.Path("status_on_error", "code"))
				if code == 0 {
					code = 403
				}
				return s.deny(f, flow.Because(flow.WhyHTTPFilterOff, "filter_enabled"), code, s.flags("UAEX"), "ext_authz_error")
			}
			s.step(f, flow.Because(flow.WhyHTTPFilterOff, "filter_enabled"))
			return true
		}
	case "ext_proc":
		if m := f.config.Field("processing_mode"); m.Field("request_header_mode").Enum() == "SKIP" && orDefault(m.Field("request_body_mode").Enum(), "NONE") == "NONE" && !rc.config.Exists() {
			s.step(f, flow.Because(flow.WhyFilterPasses, "ext_proc that sees no request"))
			return true
		}
	case "ratelimit":
		if !s.limited(f, rc) {
			s.step(f, flow.Because(flow.WhyFilterPasses, "ratelimit without actions for this route"))
			return true
		}
		if s.never(f, "filter_enabled") {
			s.step(f, flow.Because(flow.WhyHTTPFilterOff, "filter_enabled"))
			return true
		}
	}
	s.marked = true
	return s.opaque(f, f.kind, serviceKnown(f.config))
}

// never says whether a filter's RuntimeFractionalPercent lets it run for no request; one that
// is not there lets it run.
func (s *stream) never(f *httpFilter, field string) bool {
	n := f.config.Field(field)
	return n.Exists() && s.p.cfg.readFraction(n, "default_value").never()
}

// serviceKnown says whom a filter asks, and what a failure means.
func serviceKnown(c tree.Node) string {
	who := ""
	for _, path := range [][]string{{"grpc_service"}, {"rate_limit_service", "grpc_service"}} {
		if n := c.Path(path...); n.Exists() {
			who = orDefault(n.Path("envoy_grpc", "cluster_name").Str(), n.Path("google_grpc", "target_uri").Str())
		}
	}
	if n := c.Path("http_service", "server_uri"); n.Exists() {
		who = orDefault(n.Field("cluster").Str(), n.Field("uri").Str())
	}
	if c.Field("failure_mode_allow").Bool(false) {
		return who + ", lets pass when it fails"
	}
	return who
}

// limited says whether anything makes a descriptor for the rate limit service.
func (s *stream) limited(f *httpFilter, rc routeConfig) bool {
	if f.config.Field("rate_limits").Len() > 0 || rc.config.Field("rate_limits").Len() > 0 {
		return true
	}
	return s.route != nil && s.act().Field("rate_limits").Len()+s.vhost.node.Field("rate_limits").Len() > 0
}

// shed are the filters that refuse by load.
func (s *stream) shed(f *httpFilter) bool {
	if key, off := s.p.cfg.off(f.config, "enabled"); off {
		s.step(f, flow.Because(flow.WhyRuntimeOff, key))
		return true
	}
	choice := flow.Choice{Ref: s.p.ref(f.kind), Kind: flow.Condition, Options: []flow.Option{{Value: "passes"}, {Value: "sheds", When: f.kind + " sheds load"}}}
	if s.p.ch.Take(choice) == 1 {
		details := "denied_by_admission_control"
		if f.kind == "adaptive_concurrency" {
			details = "reached_concurrency_limit"
		}
		return s.deny(f, flow.Because(flow.WhyFilterOpaque, f.kind, ""), 503, s.flags(""), details)
	}
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	s.assumeChoice(choice, "passes")
	return true
}

// kill is envoy.filters.http.kill_request: its header ends the process.
func (s *stream) kill(f *httpFilter) bool {
	name := lower(orDefault(f.config.Field("kill_request_header").Str(), "x-envoy-kill-request"))
	if s.h.has(name) {
		return s.opaque(f, f.kind, "header "+name+" may end the process")
	}
	s.step(f, flow.Because(flow.WhyFilterPasses, f.kind))
	return true
}

// setFilterState is envoy.filters.http.set_filter_state: what later steps may read.
func (s *stream) setFilterState(f *httpFilter) {
	s.p.state = maps.Clone(s.p.state) // the conditions of routes were tried on what was there before
	for _, v := range f.config.Field("on_request_headers").All() {
		key := v.Field("object_key").Str()
		text, sure := s.format(v.Path("format_string", "text_format_source", "inline_string").Str())
		if !sure || text == "" {
			if s.p.unsure == nil {
				s.p.unsure = map[string]bool{}
			}
			s.p.unsure[key] = true
			continue
		}
		s.p.setState(key, text)
	}
}

package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// jwt is envoy.filters.http.jwt_authn: which rule asks for a token can be told, what a token
// is worth cannot. (source/extensions/filters/http/jwt_authn/filter.cc)
func (s *stream) jwt(f *httpFilter, rc routeConfig) bool {
	c := f.config
	if rc.config.Field("disabled").Bool(false) {
		s.step(f, flow.Because(flow.WhyDisabledPerPath, rc.by))
		return true
	}
	if c.Field("bypass_cors_preflight").Bool(false) && s.h.value(":method") == "OPTIONS" && s.h.has("origin") && s.h.has("access-control-request-method") {
		s.step(f, flow.Because(flow.WhyJWTNoRule))
		return true
	}
	req, known := s.requirement(c, rc)
	for _, p := range c.Field("providers").Members() {
		s.marked = s.marked || s.hasToken(p) // the payload of a good token becomes metadata
	}
	if !known {
		return s.opaque(f, f.kind, "")
	}
	if !req.Exists() {
		s.step(f, flow.Because(flow.WhyJWTNoRule))
		return true
	}
	switch s.tokenAnswer(c, req, 0) {
	case flow.Yes:
		s.step(f, flow.Because(flow.WhyJWTRequires, providers(req)))
		return true
	case flow.No:
		return s.deny(f, flow.Because(flow.WhyJWTRequires, providers(req)), 401, s.flags(""), "jwt_authn_access_denied{Jwt_is_missing}")
	}
	return s.opaque(f, f.kind, "asks for a token of "+providers(req))
}

// requirement is what the first rule that matches asks for; missing: nothing.
func (s *stream) requirement(c tree.Node, rc routeConfig) (tree.Node, bool) {
	if name := rc.config.Field("requirement_name").Str(); name != "" {
		r := c.Field("requirement_map").Key(name)
		return r, r.Exists() // an unknown name is refused: not told how
	}
	in := s.input()
	for _, r := range c.Field("rules").All() {
		m := memo(s.p.cfg, r, func() *route {
			m := s.p.cfg.readRoute(r)
			return &m
		})
		switch m.check(&in).answer {
		case flow.Maybe:
			return tree.Node{}, false
		case flow.No:
			continue
		}
		if m.conds != nil && m.conds.chance != nil && !m.conds.chance.always() {
			return tree.Node{}, false
		}
		if name := r.Field("requirement_name").Str(); name != "" {
			return c.Field("requirement_map").Key(name), true
		}
		return r.Field("requires"), true
	}
	if c.Field("filter_state_rules").Exists() {
		return tree.Node{}, false
	}
	return tree.Node{}, true
}

// tokenAnswer says whether a requirement is met for sure (Yes), or cannot be because there
// is no token at all (No).
func (s *stream) tokenAnswer(c, req tree.Node, depth int) flow.Answer {
	if depth > 8 {
		return flow.Maybe
	}
	name := req.Field("provider_name").Str()
	if p := req.Field("provider_and_audiences"); p.Exists() {
		name = p.Field("provider_name").Str()
	}
	switch {
	case name != "":
		if s.hasToken(c.Field("providers").Key(name)) {
			return flow.Maybe
		}
		return flow.No
	case req.Field("allow_missing_or_failed").Exists():
		return flow.Yes
	case req.Field("allow_missing").Exists():
		for _, p := range c.Field("providers").Members() {
			if s.hasToken(p) {
				return flow.Maybe
			}
		}
		return flow.Yes
	}
	if any := req.Field("requires_any"); any.Exists() {
		a := flow.No
		for _, r := range any.Field("requirements").All() {
			a = a.Or(s.tokenAnswer(c, r, depth+1))
		}
		return a
	}
	if all := req.Field("requires_all"); all.Exists() {
		a := flow.Yes
		for _, r := range all.Field("requirements").All() {
			a = a.And(s.tokenAnswer(c, r, depth+1))
		}
		return a
	}
	return flow.Maybe
}

// hasToken says whether the request may carry a token where the provider looks for one: by
// default in Authorization: Bearer and the query parameter access_token.
func (s *stream) hasToken(p tree.Node) bool {
	headers, params, cookies := p.Field("from_headers").List(), p.Field("from_params").List(), p.Field("from_cookies").List()
	path := s.h.value(":path")
	if len(headers)+len(params)+len(cookies) == 0 {
		v, ok, sure := s.h.first("authorization")
		_, param := queryValue(path, "access_token")
		return !sure || ok && strings.Contains(v, "Bearer ") || param
	}
	for _, h := range headers {
		v, ok, sure := s.h.first(lowerHeader(h.Field("name").Str()))
		if !sure || ok && strings.Contains(v, h.Field("value_prefix").Str()) {
			return true
		}
	}
	for _, n := range params {
		if _, ok := queryValue(path, n.Str()); ok {
			return true
		}
	}
	for _, n := range cookies {
		if _, ok, sure := cookieValue(s.h, n.Str()); ok || !sure {
			return true
		}
	}
	return false
}

// providers names whose token a requirement asks for.
func providers(req tree.Node) string {
	var names []string
	var visit func(n tree.Node, depth int)
	visit = func(n tree.Node, depth int) {
		if name := n.Field("provider_name").Str(); name != "" {
			names = append(names, name)
		}
		if name := n.Path("provider_and_audiences", "provider_name").Str(); name != "" {
			names = append(names, name)
		}
		if depth > 8 {
			return
		}
		for _, f := range []string{"requires_any", "requires_all"} {
			for _, r := range n.Path(f, "requirements").All() {
				visit(r, depth+1)
			}
		}
	}
	visit(req, 0)
	return strings.Join(names, ", ")
}

package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// mutation is one HeaderValueOption that passed its condition.
type mutation struct {
	name, value string
	sure, set   bool // set: overwrite, else add
}

// changeHeaders applies request_headers_to_remove and then request_headers_to_add of one
// level; what exists is asked after the removal and before the first change.
// (Router::HeaderParser::evaluateHeaders)
func (s *stream) changeHeaders(n tree.Node) {
	for _, name := range n.Field("request_headers_to_remove").All() {
		s.h.remove(lowerHeader(name.Str()))
	}
	s.addHeaders(n.Field("request_headers_to_add"))
}

func (s *stream) addHeaders(list tree.Node) {
	var mutations []mutation
	for _, o := range list.All() {
		if m, ok := s.mutation(o); ok {
			mutations = append(mutations, m)
		}
	}
	for _, set := range []bool{true, false} {
		for _, m := range mutations {
			if m.set == set {
				s.apply(m)
			}
		}
	}
}

func (s *stream) apply(m mutation) {
	switch {
	case m.set && !m.sure:
		s.h.setUnsure(m.name)
	case m.set:
		s.h.set(m.name, m.value)
	case !m.sure:
		s.h.list = append(s.h.list, header{name: m.name, unsure: true})
	default:
		s.h.add(m.name, m.value)
	}
}

// mutation reads a config.core.v3.HeaderValueOption; false where its action does nothing.
func (s *stream) mutation(o tree.Node) (mutation, bool) {
	h := o.Field("header")
	m := mutation{name: lowerHeader(h.Field("key").Str())}
	m.value, m.sure = s.format(h.Field("value").Str()) // raw_value is not heeded (measured on 1.40)
	if m.value == "" && m.sure && !o.Field("keep_empty_value").Bool(false) {
		return m, false
	}
	exists := s.h.has(m.name)
	switch o.Field("append_action").Enum() {
	case "ADD_IF_ABSENT", "1":
		return m, !exists
	case "OVERWRITE_IF_EXISTS_OR_ADD", "2":
		m.set = true
	case "OVERWRITE_IF_EXISTS", "3":
		m.set = true
		return m, exists
	default:
		m.set = !o.Field("append").Bool(true)
	}
	return m, true
}

// mutate applies a list of config.common.mutation_rules.v3.HeaderMutation, in order.
func (s *stream) mutate(list tree.Node) {
	for _, m := range list.All() {
		if name := m.Field("remove").Str(); name != "" {
			s.h.remove(lowerHeader(name))
		}
		if o := m.Field("append"); o.Exists() {
			if x, ok := s.mutation(o); ok {
				s.apply(x)
			}
		}
		if r := m.Field("remove_on_match"); r.Exists() {
			s.removeOnMatch(r.Field("key_matcher"))
		}
	}
}

func (s *stream) removeOnMatch(n tree.Node) {
	t := readStringMatcher(n, s.p.cfg.version)
	out := s.h.list[:0:0]
	for _, e := range s.h.list {
		switch t.match(e.name) {
		case flow.Yes:
			if e.name[0] != ':' {
				continue
			}
		case flow.Maybe:
			e.unsure = true
		}
		out = append(out, e)
	}
	s.h.list = out
}

// format is a substitution format string (access log syntax) for this request; sure is
// false where an operator's value cannot be told. A missing value is empty.
func (s *stream) format(text string) (out string, sure bool) { return s.formatOr(text, "") }

// formatOr is format where a missing value is written as another text.
func (s *stream) formatOr(text, missing string) (out string, sure bool) {
	if !strings.Contains(text, "%") {
		return text, true
	}
	var b strings.Builder
	sure = true
	for text != "" {
		before, after, ok := strings.Cut(text, "%")
		b.WriteString(before)
		if !ok {
			break
		}
		if strings.HasPrefix(after, "%") {
			b.WriteByte('%')
			text = after[1:]
			continue
		}
		end := operatorEnd(after)
		if end < 0 {
			return "", false
		}
		v, known := s.operator(after[:end], missing)
		b.WriteString(v)
		sure = sure && known
		text = after[end+1:]
	}
	return b.String(), sure
}

// operatorEnd is the index of the '%' that ends an operator; one in parentheses does not.
func operatorEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '%':
			if depth <= 0 {
				return i
			}
		}
	}
	return -1
}

// operator is the value of one command operator.
func (s *stream) operator(op, missing string) (string, bool) {
	name, rest, _ := strings.Cut(op, "(")
	arg, limit, _ := strings.Cut(rest, ")")
	switch name {
	case "REQ":
		return s.operatorREQ(arg, strings.TrimPrefix(limit, ":"), missing)
	case "DOWNSTREAM_LOCAL_ADDRESS":
		return s.p.local.String(), true
	case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
		return s.p.local.Addr().String(), true
	case "DOWNSTREAM_LOCAL_PORT":
		return strconv.Itoa(int(s.p.local.Port())), true
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return s.from.addr.String(), s.from.sure && s.from.addr.IsValid()
	case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT":
		return s.p.direct.Addr().String(), true
	case "REQUESTED_SERVER_NAME":
		if s.p.downTLS != nil {
			return s.p.downTLS.SNI, true
		}
		return s.p.sni, true
	case "PROTOCOL":
		switch {
		case s.http2:
			return "HTTP/2", true
		case s.low(): // whatever the client calls it
			return "HTTP/1.0", true
		}
		return "HTTP/1.1", true
	case "ROUTE_NAME":
		return s.p.res.Outcome.Route, true
	}
	return "", false
}

// operatorREQ is %REQ(NAME?ALTERNATIVE):LENGTH%.
func (s *stream) operatorREQ(arg, limit, missing string) (string, bool) {
	name, alt, _ := strings.Cut(arg, "?")
	v, ok, sure := s.h.first(lowerHeader(name))
	if !ok && alt != "" {
		v, ok, sure = s.h.first(lowerHeader(alt))
	}
	if !ok {
		return missing, sure
	}
	if n, err := strconv.Atoi(limit); err == nil && n >= 0 && n < len(v) {
		v = v[:n]
	}
	return v, sure
}

// finalize applies what weighted entry, route, virtual host and table say of the request's
// headers, host and path. (router.cc: Filter::decodeHeaders)
func (s *stream) finalize() {
	s.h = s.h.clone()
	a := s.act()
	timeout := s.timeout(a)
	s.boundTime(a)
	if s.vhost.node.Field("include_request_attempt_count").Bool(false) {
		s.h.set("x-envoy-attempt-count", "1")
	}
	s.finalizeRoute(a)
	s.boundTries(a, timeout)
}

// finalizeRoute is RouteEntryImplBase::finalizeRequestHeaders.
func (s *stream) finalizeRoute(a tree.Node) {
	if s.action.entry.Exists() {
		s.changeHeaders(s.action.entry)
		if host := s.action.entry.Field("host_rewrite_literal").Str(); host != "" {
			s.h.set(":authority", host) // unlike the route's own rewrite it leaves no trace
		}
	}
	levels := []tree.Node{s.route.node, s.vhost.node, s.table.head}
	if s.table.specificWin {
		levels = []tree.Node{s.table.head, s.vhost.node, s.route.node}
	}
	for _, n := range levels {
		s.changeHeaders(n)
	}
	s.rewriteHost(a)
	from := s.h.value(":path")
	if !s.h.has(":path") {
		return
	}
	switch to, how := s.rewritePath(a, from); how {
	case pathUnsure:
		s.h.setUnsure(":path")
	case pathChanged:
		s.h.set(":path", to)
	default:
		return
	}
	if !s.suppresses() {
		s.h.set("x-envoy-original-path", from)
	}
}

func (s *stream) rewriteHost(a tree.Node) {
	if s.port != "" && s.upgrade == "CONNECT" {
		s.h.set(":authority", s.h.value(":authority")+":"+s.port)
	}
	switch {
	case a.Field("host_rewrite_literal", "host_rewrite").Kind() == tree.String && a.Field("host_rewrite_literal").Exists():
		s.setHost(a.Field("host_rewrite_literal").Str(), true, a)
	case a.Field("host_rewrite_header", "auto_host_rewrite_header").Exists():
		name := lowerHeader(a.Field("host_rewrite_header", "auto_host_rewrite_header").Str())
		if v, ok, sure := s.h.first(name); ok && (v != "" || !sure) {
			s.setHost(v, sure, a)
		}
	case a.Field("host_rewrite_path_regex").Exists():
		host, sure := s.p.cfg.regexRewrite(a.Field("host_rewrite_path_regex")).replace(withoutQuery(s.h.value(":path")))
		s.setHost(host, sure, a)
	case a.Field("host_rewrite").Str() != "":
		// Only here a missing value is "-" (measured on 1.40).
		if host, sure := s.formatOr(a.Field("host_rewrite").Str(), "-"); host != "" || !sure {
			s.setHost(host, sure, a)
		}
	}
}

// setHost replaces the host; the old one goes to x-forwarded-host where that is asked for
// and does not end in it yet, and to x-envoy-original-host. (Http::Utility::updateAuthority)
func (s *stream) setHost(host string, sure bool, a tree.Node) {
	old := s.h.value(":authority")
	if a.Field("append_x_forwarded_host").Bool(false) && old != "" {
		before := s.h.value("x-forwarded-host")
		if i := strings.LastIndexByte(strings.TrimRight(before, ","), ','); strings.TrimRight(before, ",")[i+1:] != old {
			s.h.add("x-forwarded-host", old)
		}
	}
	if old != "" && !s.suppresses() {
		s.h.set("x-envoy-original-host", old)
	}
	if !sure {
		s.h.setUnsure(":authority")
		return
	}
	s.h.set(":authority", host)
}

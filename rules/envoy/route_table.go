package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// httpTable is a route configuration with what a choice among its virtual hosts needs,
// built once for a Config.
type httpTable struct {
	*table
	name        string
	index       *vhostIndex
	ignorePort  bool
	ignoreParam bool
	vhostHeader string
	vhds        bool
	specificWin bool // most_specific_header_mutations_wins
	// internalOnly are headers that only an internal request may bring.
	internalOnly []string
	where        []flow.Evidence
	unknown      []string // members that are not modelled
}

// vhost is one virtual host with its routes compiled.
type vhost struct {
	node   tree.Node
	name   string
	routes *routeList
	where  []flow.Evidence
	origin string
	// routesRef is the reference of the list of routes; empty where it is no list.
	routesRef string
	unknown   []string // members that are not modelled
}

// vhostFields are the members of VirtualHost that are modelled, or do not matter for where
// a request goes.
var vhostFields = []string{"name", "domains", "routes", "matcher", "require_tls", "virtual_clusters", "rate_limits", "request_headers_to_add",
	"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove", "cors", "per_filter_config", "typed_per_filter_config",
	"include_request_attempt_count", "include_attempt_count_in_response", "retry_policy", "retry_policy_typed_config", "hedge_policy",
	"include_is_timeout_retry_header", "per_request_buffer_limit_bytes", "request_body_buffer_limit", "request_mirror_policies", "metadata"}

// tableFields are those of RouteConfiguration.
var tableFields = []string{"name", "virtual_hosts", "vhds", "internal_only_headers", "response_headers_to_add", "response_headers_to_remove",
	"request_headers_to_add", "request_headers_to_remove", "most_specific_header_mutations_wins", "validate_clusters",
	"max_direct_response_body_size_bytes", "cluster_specifier_plugins", "request_mirror_policies", "ignore_port_in_host_matching",
	"ignore_path_parameters_in_path_matching", "per_filter_config", "typed_per_filter_config", "metadata", "vhost_header"}

func (c *Config) httpTable(t *table) *httpTable {
	return memoTable(c, t, func() *httpTable {
		h := t.head
		x := &httpTable{where: where(h), unknown: h.Unknown(tableFields...), table: t, name: h.Field("name").Str(), index: newVhostIndex(t.hosts),
			ignorePort: h.Field("ignore_port_in_host_matching").Bool(false), ignoreParam: h.Field("ignore_path_parameters_in_path_matching").Bool(false),
			vhostHeader: lower(h.Field("vhost_header").Str()), vhds: h.Field("vhds").Exists(),
			specificWin: h.Field("most_specific_header_mutations_wins").Bool(false)}
		for _, n := range h.Field("internal_only_headers").All() {
			x.internalOnly = append(x.internalOnly, lowerHeader(n.Str()))
		}
		return x
	})
}

// tableKey keys what is built of a table: for one that RDS brought for good, for one that a
// connection manager holds as long as that is kept.
type tableKey struct{ of *table }

func memoTable(c *Config, t *table, build func() *httpTable) *httpTable {
	key := tableKey{t}
	if t.part == nil {
		if v, ok := c.cache.load(key); ok {
			return v.(*httpTable)
		}
		return c.cache.store(key, build(), t.head.Size()/4).(*httpTable)
	}
	if v, ok := c.tables.Load(key); ok {
		return v.(*httpTable)
	}
	v, _ := c.tables.LoadOrStore(key, build())
	return v.(*httpTable)
}

// vhost compiles virtual host i of the table, once.
func (c *Config) vhost(t *httpTable, i int32) *vhost {
	n := t.host(int(i))
	return memo(c, n, func() *vhost {
		v := &vhost{node: n, name: n.Field("name").Str(), where: where(n), origin: origin(n), unknown: n.Unknown(vhostFields...)}
		list := n.Field("routes")
		routes := list.List()
		if list.Kind() == tree.List {
			v.routesRef = reference(list)
		}
		compiled := make([]route, 0, len(routes))
		for _, r := range routes {
			compiled = append(compiled, c.readRoute(r))
		}
		v.routes = listRoutes(compiled)
		return v
	})
}

// findTable finds the route table (sections 6.4, 6.5); false: the pass has ended.
func (s *stream) findTable() bool {
	n := s.m.node
	if rc := n.Field("route_config"); rc.Exists() {
		s.table = s.p.cfg.httpTable(s.p.cfg.inlineTable(rc))
		return s.tableStep(flow.WhyInlineTable)
	}
	if rds := n.Field("rds"); rds.Exists() {
		return s.namedTable(rds.Field("route_config_name").Str(), flow.Reason{})
	}
	if sc := n.Field("scoped_routes"); sc.Exists() {
		return s.scopedTable(sc)
	}
	s.noTable("")
	return true
}

func (s *stream) tableStep(why flow.ReasonKind) bool {
	return s.addTable(flow.Because(why, s.table.name, strconv.Itoa(len(s.table.hosts))))
}

// addTable adds the table's step; false: the pass has ended.
func (s *stream) addTable(why flow.Reason) bool {
	t := s.table
	s.p.res.Outcome.RouteConfig = t.name
	if s.p.wrong(flow.RouteConfig, t.name, t.head, t.unchosen()...) {
		return false
	}
	s.p.add(flow.Step{Stage: flow.RouteConfig, Subject: t.name, Verdict: flow.Continue, Reason: why, Evidence: t.where})
	return s.p.odd(flow.RouteConfig, t.name, t.head, t.unknown)
}

// where is evidence of an object too large to quote: its place only.
func where(n tree.Node) []flow.Evidence {
	if !n.Exists() {
		return nil
	}
	return []flow.Evidence{{Source: n.Source(), Ref: reference(n)}}
}

// namedTable is the table that RDS brought under a name.
func (s *stream) namedTable(name string, why flow.Reason) bool {
	t, found := s.p.cfg.routeTable(name)
	switch found {
	case unread:
		s.p.res.Outcome.RouteConfig = name
		s.p.need(flow.RouteConfig, partRoute, name)
		return false
	case absent:
		s.noTable(name)
		return true
	}
	s.p.res.Outcome.RouteConfig = name
	s.table = s.p.cfg.httpTable(t)
	if why.Kind != flow.NoReason {
		return s.addTable(why)
	}
	return s.tableStep(flow.WhyRDSTable)
}

// noTable: nothing was received, so nothing matches.
func (s *stream) noTable(name string) {
	s.p.res.Outcome.RouteConfig = name
	s.p.add(flow.Step{Stage: flow.RouteConfig, Subject: name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyNoTable, name)})
}

// scopedTable finds the table by the request's scope key (scoped_config_impl.cc).
func (s *stream) scopedTable(sc tree.Node) bool {
	var key []string
	for _, f := range sc.Path("scope_key_builder", "fragments").All() {
		x := f.Field("header_value_extractor")
		part, ok := s.scopeFragment(x)
		if !ok {
			s.p.add(flow.Step{Stage: flow.RouteConfig, Subject: sc.Field("name").Str(), Verdict: flow.Continue, Reason: flow.Because(flow.WhyNoScopeKey, x.Field("name").Str())})
			return true
		}
		key = append(key, part)
	}
	name := sc.Field("name").Str()
	scopes, found := s.p.cfg.scopes(sc)
	if found == unread {
		s.p.need(flow.RouteConfig, "scope", name)
		return false
	}
	text := strings.Join(key, ", ")
	for _, n := range scopes {
		if !sameKey(n.Path("key", "fragments"), key) {
			continue
		}
		if rc := n.Field("route_configuration"); rc.Exists() {
			s.table = s.p.cfg.httpTable(s.p.cfg.inlineTable(rc))
			return s.addTable(flow.Because(flow.WhyScopedTable, text, s.table.name))
		}
		to := n.Field("route_configuration_name").Str()
		return s.namedTable(to, flow.Because(flow.WhyScopedTable, text, to))
	}
	s.p.add(flow.Step{Stage: flow.RouteConfig, Subject: name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyNoScope, text)})
	return true
}

// scopes are the ScopedRouteConfigurations of a scoped_routes: inline ones, or those that
// SRDS brought (ScopedRoutesConfigDump).
func (c *Config) scopes(sc tree.Node) ([]tree.Node, found) {
	if l := sc.Field("scoped_route_configurations_list"); l.Exists() {
		return l.Field("scoped_route_configurations").List(), present
	}
	return c.scopedRoutes(sc.Field("name").Str())
}

func sameKey(fragments tree.Node, key []string) bool {
	i := 0
	for _, f := range fragments.All() {
		if i >= len(key) || f.Field("string_key").Str() != key[i] {
			return false
		}
		i++
	}
	return i == len(key)
}

// scopeFragment is one part of the scope key, cut from the first value of a header.
func (s *stream) scopeFragment(x tree.Node) (string, bool) {
	v, ok, _ := s.h.first(lowerHeader(x.Field("name").Str()))
	if !ok {
		return "", false
	}
	elements := []string{v}
	if sep := x.Field("element_separator").Str(); sep != "" {
		elements = strings.Split(v, sep)
	}
	if e := x.Field("element"); e.Exists() {
		for _, part := range elements {
			k, val, ok := strings.Cut(part, e.Field("separator").Str())
			if ok && k == e.Field("key").Str() {
				return val, true
			}
		}
		return "", false
	}
	i := x.Field("index").Uint(0)
	if i >= uint64(len(elements)) {
		return "", false
	}
	return elements[i], true
}

// scopedRoutes are the scopes of a set that the dump holds.
func (c *Config) scopedRoutes(name string) ([]tree.Node, found) {
	var out []tree.Node
	state := absent
	for _, e := range c.entries {
		if e.res != inlineScopedRouteConfigs && e.res != dynamicScopedRouteConfigs || e.name != name {
			continue
		}
		state = present
		for _, s := range e.node().Field("scoped_route_configs").All() {
			_, scope := s.Any()
			out = append(out, scope)
		}
	}
	if state == absent && !c.complete[dynamicScopedRouteConfigs] {
		return nil, unread
	}
	return out, state
}

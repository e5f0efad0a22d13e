package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// resource is a repeated field of a config dump, as `?resource=` names it
// (envoy/admin/v3/config_dump_shared.proto).
type resource uint8

const (
	resNone resource = iota
	staticListeners
	dynamicListeners
	staticClusters
	dynamicActiveClusters
	dynamicWarmingClusters
	staticRouteConfigs
	dynamicRouteConfigs
	staticEndpointConfigs
	dynamicEndpointConfigs
	inlineScopedRouteConfigs
	dynamicScopedRouteConfigs
	staticSecrets
	dynamicActiveSecrets
	dynamicWarmingSecrets
	ecdsFilters
	resourceEnd
)

// resourceFacts is what the reader must know of a resource.
type resourceFacts struct {
	field   string // its name in the section
	section string // the section's type, without envoy.admin.v3.
	element string // the element's type, inside the section's
	body    string // the element's member that holds the object
	key     string // the body's member that names it
	message string // what the body is, unless it says so itself
}

// resources is read only.
var resources = [resourceEnd]resourceFacts{
	staticListeners:           {"static_listeners", "ListenersConfigDump", "StaticListener", "listener", "name", "envoy.config.listener.v3.Listener"},
	dynamicListeners:          {"dynamic_listeners", "ListenersConfigDump", "DynamicListener", "listener", "name", "envoy.config.listener.v3.Listener"},
	staticClusters:            {"static_clusters", "ClustersConfigDump", "StaticCluster", "cluster", "name", "envoy.config.cluster.v3.Cluster"},
	dynamicActiveClusters:     {"dynamic_active_clusters", "ClustersConfigDump", "DynamicCluster", "cluster", "name", "envoy.config.cluster.v3.Cluster"},
	dynamicWarmingClusters:    {"dynamic_warming_clusters", "ClustersConfigDump", "DynamicCluster", "cluster", "name", "envoy.config.cluster.v3.Cluster"},
	staticRouteConfigs:        {"static_route_configs", "RoutesConfigDump", "StaticRouteConfig", "route_config", "name", "envoy.config.route.v3.RouteConfiguration"},
	dynamicRouteConfigs:       {"dynamic_route_configs", "RoutesConfigDump", "DynamicRouteConfig", "route_config", "name", "envoy.config.route.v3.RouteConfiguration"},
	staticEndpointConfigs:     {"static_endpoint_configs", "EndpointsConfigDump", "StaticEndpointConfig", "endpoint_config", "cluster_name", "envoy.config.endpoint.v3.ClusterLoadAssignment"},
	dynamicEndpointConfigs:    {"dynamic_endpoint_configs", "EndpointsConfigDump", "DynamicEndpointConfig", "endpoint_config", "cluster_name", "envoy.config.endpoint.v3.ClusterLoadAssignment"},
	inlineScopedRouteConfigs:  {"inline_scoped_route_configs", "ScopedRoutesConfigDump", "InlineScopedRouteConfigs", "", "name", "envoy.admin.v3.ScopedRoutesConfigDump.InlineScopedRouteConfigs"},
	dynamicScopedRouteConfigs: {"dynamic_scoped_route_configs", "ScopedRoutesConfigDump", "DynamicScopedRouteConfigs", "", "name", "envoy.admin.v3.ScopedRoutesConfigDump.DynamicScopedRouteConfigs"},
	staticSecrets:             {"static_secrets", "SecretsConfigDump", "StaticSecret", "secret", "name", "envoy.extensions.transport_sockets.tls.v3.Secret"},
	dynamicActiveSecrets:      {"dynamic_active_secrets", "SecretsConfigDump", "DynamicSecret", "secret", "name", "envoy.extensions.transport_sockets.tls.v3.Secret"},
	dynamicWarmingSecrets:     {"dynamic_warming_secrets", "SecretsConfigDump", "DynamicSecret", "secret", "name", "envoy.extensions.transport_sockets.tls.v3.Secret"},
	ecdsFilters:               {"ecds_filters", "EcdsConfigDump", "EcdsFilterConfig", "ecds_filter", "name", "envoy.config.core.v3.TypedExtensionConfig"},
}

func (r resource) facts() *resourceFacts { return &resources[r] }

// state is which version of a resource an entry is.
type state uint8

const (
	active   state = iota // serves
	warming               // waits for what it needs; traffic does not see it
	draining              // serves what it has, takes nothing new
	rejected              // an update that Envoy refused; the body is its error_state
)

// part is one file of the snapshot.
type part struct {
	name  string
	raw   []byte
	cache *cache
}

// entry is one resource as the index knows it: where its text stands. It is decoded when
// a request touches it.
type entry struct {
	res        resource
	state      state
	name       string
	part       *part
	start, end int // of the body in the part
	base       *string
	n          int32      // in the list that base names; -1: base is the element itself
	suffix     string     // from the element to the body, as a JSON pointer
	hosts      *hostIndex // of a route configuration
}

// pointer is the body's JSON pointer in its part.
func (e *entry) pointer() string {
	p := *e.base
	if e.n >= 0 {
		p += "/" + strconv.Itoa(int(e.n))
	}
	return p + e.suffix
}

// hostIndex is where the virtual hosts of a route configuration stand.
type hostIndex struct {
	field      string // the member's name as written
	start, end int    // of its value
	spans      []hostSpan
	wrong      string // what of the hosts is of a wrong kind
}

// node is the body, decoded, and kept for a while; of a route configuration without its virtual hosts.
func (e *entry) node() tree.Node {
	if e == nil {
		return tree.Node{}
	}
	return e.part.cache.doc(e, func() *tree.Doc { return e.decode().Doc() }).Root()
}

// decode is node, not kept.
func (e *entry) decode() tree.Node {
	raw := e.part.raw[e.start:e.end]
	if h := e.hosts; h != nil {
		raw = append(append(append([]byte{}, e.part.raw[e.start:h.start]...), "[]"...), e.part.raw[h.end:e.end]...)
	}
	d, err := tree.Parse(raw, int64(e.start))
	if err != nil {
		return tree.Node{} // the index has checked every byte, and leaves out what is too large
	}
	d.Source, d.Ref = e.part.name, e.pointer()
	if e.res != resNone && e.state != rejected { // neither the bootstrap nor /clusters
		judge(d, e.res.facts().message)
	}
	if e.hosts != nil {
		d.Text = e.part.raw[e.start:e.end]
		d.Wrong = orDefault(e.hosts.wrong, d.Wrong)
	}
	return d.Root()
}

// indexer makes entries of one part in one pass over its bytes.
type indexer struct {
	scan       tree.Scanner
	part       *part
	entries    []*entry
	heads      []*listenerHead
	bootstrap  *entry
	seen       [resourceEnd]bool // sections that were there, empty or not
	left       [resourceEnd]bool // something of them was left out
	unmodelled map[string]*flow.NotModelled
	loaded     map[*entry]string // of versions that drain, when each was loaded
	wrongs     []string          // what is of a wrong kind, with its place
	configs    bool              // there is a "configs"
	sections   int
}

const adminTypes = "envoy.admin.v3."

// index reads a config dump, whole or an element list.
func (x *indexer) index() error {
	i := x.scan.Space(0)
	end, err := x.scan.Object(i, func(name []byte, at int) (int, error) {
		if string(name) != "configs" {
			return x.unknown(adminTypes+"ConfigDump."+brief(name), "/"+brief(name), at)
		}
		x.configs = true
		return x.scan.List(at, x.config)
	})
	if err != nil {
		return err
	}
	if end = x.scan.Space(end); end != len(x.part.raw) {
		return &tree.SyntaxError{At: int64(end), Msg: "more text after the value"}
	}
	return nil
}

// config reads one member of ConfigDump.configs.
func (x *indexer) config(n, at int) (int, error) {
	x.sections++
	base := "/configs/" + strconv.Itoa(n)
	full, err := x.typeOf(at)
	if err != nil {
		return at, err
	}
	typ, _ := strings.CutPrefix(tree.TypeName(full), adminTypes)
	section, element, isElement := strings.Cut(typ, ".")
	for r := resNone + 1; r < resourceEnd; r++ {
		if f := r.facts(); isElement && f.section == section && f.element == element {
			return x.element(r, &base, -1, at)
		}
	}
	switch typ {
	case "BootstrapConfigDump":
		return x.boot(base, at)
	case "ListenersConfigDump", "ClustersConfigDump", "RoutesConfigDump", "EndpointsConfigDump", "ScopedRoutesConfigDump", "SecretsConfigDump", "EcdsConfigDump":
		return x.section(typ, base, at)
	}
	return x.unknown(orDefault(brief([]byte(tree.TypeName(full))), "a section without @type"), base, at)
}

// typeOf is the @type of the object at i: its first member in Envoy's own text.
func (x *indexer) typeOf(i int) (string, error) {
	typ := ""
	ahead := x.scan
	ahead.Notes, ahead.Types = nil, nil
	_, err := ahead.Object(i, func(name []byte, at int) (int, error) {
		if string(name) != "@type" {
			return ahead.Skip(at)
		}
		var err error
		if typ, at, err = ahead.String(at); err == nil {
			err = errFound
		}
		return at, err
	})
	if err == errFound {
		err = nil
	}
	return typ, err
}

// errFound ends a walk early.
var errFound = &tree.SyntaxError{Msg: "found"}

// boot reads the bootstrap. What it holds for requests stands in other sections again.
func (x *indexer) boot(base string, at int) (int, error) {
	defer x.uncounted()()
	return x.scan.Object(at, func(name []byte, at int) (int, error) {
		end, err := x.scan.Skip(at)
		if string(name) == "bootstrap" {
			x.bootstrap = &entry{part: x.part, start: at, end: end, base: &base, n: -1, suffix: "/bootstrap"}
		}
		return end, err
	})
}

// section reads a whole section of the dump.
func (x *indexer) section(typ, base string, at int) (int, error) {
	for r := resNone + 1; r < resourceEnd; r++ {
		x.seen[r] = x.seen[r] || r.facts().section == typ
	}
	return x.scan.Object(at, func(name []byte, at int) (int, error) {
		for r := resNone + 1; r < resourceEnd; r++ {
			if f := r.facts(); f.section == typ && tree.Named(name, f.field) {
				list := base + "/" + string(name)
				return x.scan.List(at, func(n, at int) (int, error) { return x.element(r, &list, int32(n), at) })
			}
		}
		if !tree.Named(name, "version_info") && string(name) != "@type" {
			return x.unknown(adminTypes+typ+"."+brief(name), base+"/"+brief(name), at)
		}
		return x.scan.Skip(at)
	})
}

// element reads one element of a resource's list.
func (x *indexer) element(r resource, base *string, n int32, at int) (int, error) {
	if !x.is(at, '{') {
		return x.wrong(r, *base+numbered(n)+" is no object", at)
	}
	f, name, first := r.facts(), "", len(x.entries)
	end, err := x.scan.Object(at, func(key []byte, at int) (int, error) {
		var err error
		pointer := func() string { return "/" + string(key) } // only of names that are known: a name may be long
		switch {
		case tree.Named(key, "name") && (r == dynamicListeners || f.body == "" || f.section == "SecretsConfigDump"):
			if !x.is(at, '"') {
				return x.wrong(r, *base+numbered(n)+"/name is no string", at)
			}
			name, at, err = x.scan.String(at)
			return at, err
		case r == dynamicListeners && tree.Named(key, "active_state"):
			return x.version(r, active, base, n, pointer(), at)
		case r == dynamicListeners && tree.Named(key, "warming_state"):
			return x.version(r, warming, base, n, pointer(), at)
		case r == dynamicListeners && tree.Named(key, "draining_state"):
			return x.version(r, draining, base, n, pointer(), at)
		case tree.Named(key, "error_state"):
			return x.plain(r, rejected, base, n, pointer(), at)
		case f.body != "" && tree.Named(key, f.body):
			st := active
			if r == dynamicWarmingClusters || r == dynamicWarmingSecrets {
				st = warming
			}
			return x.body(r, st, base, n, pointer(), at)
		}
		return x.scan.Skip(at)
	})
	if err != nil {
		return end, err
	}
	if f.body == "" {
		x.entries = append(x.entries, &entry{res: r, part: x.part, start: at, end: end, base: base, n: n})
	}
	if len(x.entries) == first {
		e := entry{base: base, n: n}
		x.count(adminTypes+f.section+"."+f.element+" without "+f.body, name, e.pointer())
	}
	for _, e := range x.entries[first:] { // a cluster's error has no name of its own
		if name == "" {
			name = e.name
		}
	}
	for _, e := range x.entries[first:] {
		if e.name == "" {
			e.name = name
		}
	}
	return end, nil
}

// version reads one state of a DynamicListener; of one that drains also since when it is
// there.
func (x *indexer) version(r resource, st state, base *string, n int32, suffix string, at int) (int, error) {
	first, loaded := len(x.entries), ""
	end, err := x.scan.Object(at, func(key []byte, at int) (int, error) {
		switch {
		case string(key) == "listener":
			return x.body(r, st, base, n, suffix+"/listener", at)
		case st == draining && tree.Named(key, "last_updated") && at < len(x.scan.Raw) && x.scan.Raw[at] == '"':
			var err error
			loaded, at, err = x.scan.String(at)
			return at, err
		}
		return x.scan.Skip(at)
	})
	if st == draining && len(x.entries) > first {
		x.loaded[x.entries[first]] = loaded
	}
	return end, err
}

// body reads the object itself, as far as its name.
func (x *indexer) body(r resource, st state, base *string, n int32, suffix string, at int) (int, error) {
	e := &entry{res: r, state: st, part: x.part, start: at, base: base, n: n, suffix: suffix}
	if !x.is(at, '{') {
		return x.wrong(r, e.pointer()+" is no object", at)
	}
	key := r.facts().key
	var head *listenerHead
	if r == staticListeners || r == dynamicListeners {
		head = &listenerHead{entry: e}
		x.heads = append(x.heads, head)
	}
	end, err := x.scan.Object(at, func(name []byte, at int) (int, error) {
		if tree.Named(name, key) {
			if !x.is(at, '"') {
				return x.wrong(r, e.pointer()+"/"+string(name)+" is no string", at)
			}
			var err error
			e.name, at, err = x.scan.String(at)
			return at, err
		}
		if r == dynamicRouteConfigs && tree.Named(name, "virtual_hosts") && at < len(x.scan.Raw) && x.scan.Raw[at] == '[' {
			return x.virtualHosts(e, string(name), at)
		}
		end, err := x.scan.Skip(at)
		if head != nil {
			head.note(name, at, end)
		}
		return end, err
	})
	e.end = end
	x.entries = append(x.entries, e)
	return end, err
}

// virtualHosts notes where each virtual host stands, and its name and domains in it.
func (x *indexer) virtualHosts(e *entry, field string, at int) (int, error) {
	h := &hostIndex{field: field, start: at}
	e.hosts = h
	must := func(is bool, n int, where string) {
		if !is && h.wrong == "" {
			h.wrong = e.reference() + "/" + field + "/" + strconv.Itoa(n) + where
		}
	}
	end, err := x.scan.List(at, func(n, at int) (int, error) {
		span := hostSpan{start: at, name: -1, domains: -1}
		must(x.is(at, '{'), n, " is no object")
		end, err := x.scan.Object(at, func(name []byte, at int) (int, error) {
			switch string(name) {
			case "name":
				span.name = at
				must(x.is(at, '"'), n, "/name is no string")
			case "domains":
				span.domains = at
				return x.scan.List(at, func(_, at int) (int, error) {
					must(x.is(at, '"'), n, "/domains is no list of strings")
					return x.scan.Skip(at)
				})
			}
			return x.scan.Skip(at)
		})
		span.end = end
		h.spans = append(h.spans, span)
		return end, err
	})
	h.end = end
	return end, err
}

// plain records a member as it is.
func (x *indexer) plain(r resource, st state, base *string, n int32, suffix string, at int) (int, error) {
	end, err := x.scan.Skip(at)
	x.entries = append(x.entries, &entry{res: r, state: st, part: x.part, start: at, end: end, base: base, n: n, suffix: suffix})
	return end, err
}

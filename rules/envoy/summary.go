package envoy

import (
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Summary counts what was read.
type Summary struct {
	Version                                string
	Listeners, Clusters, Routes, Endpoints int
	Secrets, Extensions, Warming, Draining int
	Rejected                               int
	Bytes                                  int64
	Unmodelled                             []flow.NotModelled // by type
}

// Summary is what was read, in numbers.
func (c *Config) Summary() Summary {
	if c == nil {
		return Summary{}
	}
	s := Summary{Bytes: c.bytes, Unmodelled: c.Unmodelled()}
	if c.version != (Version{}) {
		s.Version = c.version.String()
	}
	for _, e := range c.entries {
		switch {
		case e.state == rejected:
			s.Rejected++
			continue
		case e.state == warming:
			s.Warming++
			continue
		case e.state == draining:
			s.Draining++
			continue
		}
		switch e.res {
		case staticListeners, dynamicListeners:
			s.Listeners++
		case staticClusters, dynamicActiveClusters:
			s.Clusters++
		case staticRouteConfigs, dynamicRouteConfigs, inlineScopedRouteConfigs, dynamicScopedRouteConfigs:
			s.Routes++
		case staticEndpointConfigs, dynamicEndpointConfigs:
			s.Endpoints++
		case staticSecrets, dynamicActiveSecrets:
			s.Secrets++
		case ecdsFilters:
			s.Extensions++
		}
	}
	return s
}

// Takes says whether an Envoy listener with a socket of its own, or the admin interface,
// owns this address.
func (c *Config) Takes(addr netip.AddrPort, p flow.Proto) flow.Answer {
	if c == nil {
		return flow.Maybe
	}
	if c.listeners.bound(addr, p) != nil || p == flow.TCP && c.isAdmin(addr) {
		return flow.Yes
	}
	for _, l := range c.live { // bound or not cannot be told from /listeners
		for _, a := range l.addrs {
			if c.listeners.byName[l.name] == nil && a.proto == p && a.Port() == addr.Port() && (a.Addr() == addr.Addr() || a.Addr() == wildcard(addr.Addr())) {
				return flow.Maybe
			}
		}
	}
	if c.complete[dynamicListeners] && c.complete[staticListeners] || c.liveRead {
		return flow.No
	}
	return flow.Maybe
}

// Capture is where a trace without rules begins: the accept address of the listener that
// captures this direction's traffic, else of the one that dst names.
func (c *Config) Capture(d flow.Direction, dst netip.AddrPort) (netip.AddrPort, bool) {
	if c == nil {
		return netip.AddrPort{}, false
	}
	var found *listener
	for _, l := range c.listeners.catch {
		if !l.captures(d) {
			continue
		}
		if found == nil || l.original && !found.original {
			found = l
		}
	}
	if found == nil {
		if l, _ := c.listeners.lookup(dst, flow.TCP); l != nil && l.binds {
			return dst, true
		}
		return netip.AddrPort{}, false
	}
	a := found.addrs[0].AddrPort
	if a.Addr().IsUnspecified() && a.Addr().Is4() != dst.Addr().Is4() {
		a = netip.AddrPortFrom(wildcard(dst.Addr()), a.Port())
	}
	return a, true
}

// captures says whether the listener takes redirected traffic of this direction: it hands
// over by original destination, or restores it.
func (l *listener) captures(d flow.Direction) bool {
	if l.directed && l.direction != d {
		return false
	}
	if l.original {
		return l.directed || d == flow.Outbound
	}
	if !l.directed {
		return false
	}
	for _, f := range l.node().Field("listener_filters").All() {
		if f.Field("name").Is("envoy.filters.listener.original_dst") || strings.HasSuffix(f.Path("typed_config").Key("@type").Str(), "OriginalDst") {
			return true
		}
	}
	return false
}

// Object is one thing of the configuration that a trace can end at.
type Object struct {
	Kind         flow.Stage
	Name, Parent string
	Ref          string
}

// Objects are the listeners, filter chains, route configurations, virtual hosts, routes and
// clusters, in order of the text.
func (c *Config) Objects() []Object {
	if c == nil {
		return nil
	}
	var out []Object
	for _, l := range c.listeners.all {
		n := l.decode() // not kept: this looks at everything
		out = append(out, Object{flow.Listener, l.name, "", reference(n)})
		for _, f := range append(n.Field("filter_chains").List(), n.Field("default_filter_chain").List()...) {
			name := f.Field("name").Str()
			out = append(out, Object{flow.FilterChain, name, l.name, reference(f)})
			for _, x := range f.Field("filters").All() {
				_, config := x.Field("typed_config").Any()
				out = routesOf(out, config.Field("route_config"), l.name)
			}
		}
	}
	for _, e := range c.entries {
		switch {
		case e.state != active:
		case e.res == dynamicRouteConfigs:
			out = hostsOfTable(out, e.table(), "")
		case e.res == staticClusters || e.res == dynamicActiveClusters:
			out = append(out, Object{flow.Cluster, e.name, "", e.reference()})
		}
	}
	return out
}

func (e *entry) reference() string {
	if e.part.name == dumpPart {
		return e.pointer()
	}
	return e.part.name + "#" + e.pointer()
}

func routesOf(out []Object, rc tree.Node, parent string) []Object {
	if !rc.Exists() {
		return out
	}
	t := &table{head: rc}
	t.inline(rc)
	return hostsOfTable(out, t, parent)
}

func hostsOfTable(out []Object, t *table, parent string) []Object {
	name := t.head.Field("name").Str()
	out = append(out, Object{flow.RouteConfig, name, parent, reference(t.head)})
	for i := range t.hosts {
		v := t.host(i)
		out = append(out, Object{flow.VirtualHost, t.hosts[i].name, name, reference(v)})
		for _, r := range v.Field("routes").All() {
			out = append(out, Object{flow.Route, r.Field("name").Str(), t.hosts[i].name, reference(r)})
		}
	}
	return out
}

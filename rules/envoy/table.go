package envoy

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// table is one RouteConfiguration. Its virtual hosts are known by name and domains; what
// they hold is decoded when a request comes to one. Tables are kept: a pointer to one may
// key a cache.
type table struct {
	// head holds every member; virtual_hosts is empty in a table whose hosts were indexed.
	head  tree.Node
	hosts []tableHost

	nodes []tree.Node // of an inline table
	part  *part       // of an indexed one
	list  string      // JSON pointer of its virtual_hosts
	spans []hostSpan  // where each host stands
}

// tableHost is a virtual host as the index knows it.
type tableHost struct {
	name    string
	domains []string
}

// hostSpan is where a virtual host of an indexed table stands in its part, and where in it
// the values of name and domains begin; -1: it has none.
type hostSpan struct{ start, end, name, domains int }

// host is virtual host i, decoded.
func (t *table) host(i int) tree.Node {
	if t.part == nil {
		return t.nodes[i]
	}
	return t.part.cache.doc(hostKey{t, i}, func() *tree.Doc {
		s := t.spans[i]
		d, err := tree.Parse(t.part.raw[s.start:s.end], int64(s.start))
		if err != nil {
			return nil // the index has checked it
		}
		d.Source, d.Ref = t.part.name, t.list+"/"+strconv.Itoa(i)
		judge(d, "envoy.config.route.v3.VirtualHost")
		return d
	}).Root()
}

// hostKey keys a decoded virtual host.
type hostKey struct {
	of *table
	i  int
}

// routeTable is the route configuration of this name that RDS brought or would bring.
func (c *Config) routeTable(name string) (*table, found) {
	e := c.routes[name]
	if e == nil {
		return nil, c.has(name, dynamicRouteConfigs)
	}
	if t, ok := c.tables.Load(e); ok {
		return t.(*table), present
	}
	t, _ := c.tables.LoadOrStore(e, e.table())
	return t.(*table), present
}

// table makes the table of an indexed route configuration.
func (e *entry) table() *table {
	t := &table{head: e.node()}
	if e.hosts == nil {
		t.inline(t.head)
		return t
	}
	h := e.hosts
	t.part, t.list, t.spans = e.part, e.pointer()+"/"+h.field, h.spans
	t.hosts = make([]tableHost, len(h.spans))
	s := tree.Scanner{Raw: e.part.raw}
	for i, span := range h.spans {
		if span.name >= 0 {
			t.hosts[i].name, _, _ = s.String(span.name)
		}
		if span.domains >= 0 {
			t.hosts[i].domains = domains(&s, span.domains)
		}
	}
	return t
}

// domains reads a list of strings; they share one copy of the list's text.
func domains(s *tree.Scanner, at int) []string {
	type piece struct{ start, end int }
	var buf [32]piece
	pieces, plain := buf[:0], true
	end, err := s.List(at, func(_, at int) (int, error) {
		end, err := s.Skip(at)
		if err == nil && s.Raw[at] == '"' {
			pieces = append(pieces, piece{at + 1, end - 1})
			plain = plain && !hasEscape(s.Raw[at:end])
		}
		return end, err
	})
	if err != nil || len(pieces) == 0 {
		return nil
	}
	out := make([]string, len(pieces))
	if !plain {
		for i, p := range pieces {
			out[i], _, _ = s.String(p.start - 1)
		}
		return out
	}
	text := string(s.Raw[at:end])
	for i, p := range pieces {
		out[i] = text[p.start-at : p.end-at]
	}
	return out
}

func hasEscape(b []byte) bool {
	for _, c := range b {
		if c == '\\' {
			return true
		}
	}
	return false
}

// inline fills a table from a decoded RouteConfiguration.
func (t *table) inline(rc tree.Node) {
	t.nodes = rc.Field("virtual_hosts").List()
	for _, vh := range t.nodes {
		h := tableHost{name: vh.Field("name").Str()}
		for _, d := range vh.Field("domains").All() {
			h.domains = append(h.domains, d.Str())
		}
		t.hosts = append(t.hosts, h)
	}
}

// unchosen are the parts of its virtual hosts that do not matter before one is chosen.
func (t *table) unchosen() (out []tree.Node) {
	if what, _ := wrong(t.head); what == "" {
		return nil
	}
	for _, vh := range t.nodes {
		for name, v := range vh.Members() {
			if name != "name" && name != "domains" {
				out = append(out, v)
			}
		}
	}
	return out
}

// inlineTable is the table of a HttpConnectionManager's route_config.
func (c *Config) inlineTable(rc tree.Node) *table {
	return memo(c, rc, func() *table {
		t := &table{head: rc}
		t.inline(rc)
		return t
	})
}

package egress

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// listenerForm is what of a listener says which requests come to it.
type listenerForm struct {
	speaksHTTP, speaksBytes, speaksTLS bool
	hosts                              []hostWay
	names                              []string    // SNIs
	clusters                           []string    // to which its routes lead
	ranges                             []flow.Hole // destinations with a filter chain of their own
	ports                              []uint16    // the same, of every address
	// doubt: something decides that a made request does not have, such as where it comes from.
	doubt bool
}

// hostWay is a virtual host with a path for each of its routes.
type hostWay struct {
	host  string // an authority that it takes; empty: any
	addrs []netip.Addr
	paths []string
	doubt bool // a route asks for more than a path
}

// chainForm is a filter chain (config.listener.v3.FilterChain).
type chainForm struct {
	Match   map[string]json.RawMessage `json:"filter_chain_match"`
	Filters []struct {
		Config struct {
			Type  string     `json:"@type"`
			Table *tableForm `json:"route_config"`
			RDS   *struct {
				Name string `json:"route_config_name"`
			} `json:"rds"`
		} `json:"typed_config"`
	} `json:"filters"`
}

// matchForm is what of a chain's match a request can be made for.
type matchForm struct {
	Names     []string `json:"server_names"`
	Port      uint16   `json:"destination_port"`
	Transport string   `json:"transport_protocol"`
	Protocols []string `json:"application_protocols"`
	Ranges    []struct {
		Address string `json:"address_prefix"`
		Bits    int    `json:"prefix_len"`
	} `json:"prefix_ranges"`
}

// match reads a chain's match; false where it asks for more.
func (c chainForm) match() (m matchForm, whole bool) {
	raw, err := json.Marshal(c.Match)
	if err != nil || json.Unmarshal(raw, &m) != nil {
		return m, false
	}
	for key := range c.Match {
		if !slices.Contains([]string{"server_names", "destination_port", "transport_protocol", "application_protocols", "prefix_ranges"}, key) {
			return m, false
		}
	}
	for _, p := range m.Protocols {
		if !slices.Contains([]string{"http/1.0", "http/1.1", "h2c", "h2"}, p) {
			return m, false
		}
	}
	return m, true
}

// tableForm is a route table (config.route.v3.RouteConfiguration).
type tableForm struct {
	Name  string     `json:"name"`
	Hosts []hostForm `json:"virtual_hosts"`
}

type hostForm struct {
	Domains []string        `json:"domains"`
	Matcher json.RawMessage `json:"matcher"`
	Routes  []struct {
		Match map[string]json.RawMessage `json:"match"`
		Route struct {
			Cluster string `json:"cluster"`
			Weights struct {
				Clusters []struct {
					Name string `json:"name"`
				} `json:"clusters"`
			} `json:"weighted_clusters"`
		} `json:"route"`
	} `json:"routes"`
}

// way is the virtual host as requests come to it.
func (h hostForm) way() hostWay {
	w := hostWay{doubt: len(h.Matcher) > 0}
	for _, d := range h.Domains {
		if a, err := netip.ParseAddr(strings.Trim(d, "[]")); err == nil {
			w.addrs = append(w.addrs, a)
		}
	}
	if len(h.Domains) > 0 && h.Domains[0] != "*" { // the others lead to the same host
		w.host = strings.Replace(h.Domains[0], "*", "any", 1)
	}
	for _, r := range h.Routes {
		path := ""
		for key, raw := range r.Match {
			switch key {
			case "prefix", "path", "path_separated_prefix":
				if json.Unmarshal(raw, &path) != nil {
					w.doubt = true
				}
			case "case_sensitive":
			default:
				w.doubt = true
			}
		}
		if path != "" && !slices.Contains(w.paths, path) {
			w.paths = append(w.paths, path)
		}
	}
	if len(w.paths) == 0 {
		w.paths = []string{"/"}
	}
	return w
}

// form is what a listener says, read once.
func (f *finder) form(ref string) listenerForm {
	out, ok := f.forms[ref]
	if !ok {
		out = f.readForm(ref)
		f.forms[ref] = out
	}
	return out
}

// readForm reads a listener; an empty reference is one that was not read.
func (f *finder) readForm(ref string) listenerForm {
	out := listenerForm{doubt: true}
	raw, ok := f.s.Envoy.Raw(ref)
	if !ok {
		return out
	}
	var l struct {
		Chains  []chainForm     `json:"filter_chains"`
		Default *chainForm      `json:"default_filter_chain"`
		Matcher json.RawMessage `json:"filter_chain_matcher"`
	}
	if json.Unmarshal(raw, &l) != nil {
		return out
	}
	out.doubt = len(l.Matcher) > 0
	all := l.Chains
	if l.Default != nil {
		all = append(all, *l.Default)
	}
	for _, c := range all {
		out.chain(f, c)
	}
	return out
}

func (out *listenerForm) chain(f *finder, c chainForm) {
	m, whole := c.match()
	out.doubt = out.doubt || !whole
	out.names = append(out.names, m.Names...)
	for _, r := range m.Ranges {
		if a, err := netip.ParseAddr(r.Address); err == nil {
			if p, err := a.Prefix(r.Bits); err == nil && r.Bits > 0 {
				out.ranges = append(out.ranges, flow.Hole{Prefix: p, Port: m.Port})
			}
		}
	}
	if m.Port != 0 && len(m.Ranges) == 0 {
		out.ports = append(out.ports, m.Port)
	}
	http := false
	for _, x := range c.Filters {
		if !strings.HasSuffix(x.Config.Type, ".HttpConnectionManager") {
			continue
		}
		http = true
		switch {
		case x.Config.Table != nil:
			out.table(*x.Config.Table)
		case x.Config.RDS != nil && x.Config.RDS.Name != "":
			out.table(f.table(x.Config.RDS.Name))
		default:
			out.doubt = true // scoped routes
		}
	}
	tls := len(m.Names) > 0 || m.Transport == "tls"
	out.speaksTLS = out.speaksTLS || tls
	out.speaksHTTP = out.speaksHTTP || http && !tls
	out.speaksBytes = out.speaksBytes || !http && !tls
	out.doubt = out.doubt || http && tls // TLS is ended here: the routes behind are not asked
}

func (out *listenerForm) table(t tableForm) {
	for _, h := range t.Hosts {
		out.hosts = append(out.hosts, h.way())
		for _, r := range h.Routes {
			out.clusters = append(out.clusters, r.Route.Cluster)
			for _, w := range r.Route.Weights.Clusters {
				out.clusters = append(out.clusters, w.Name)
			}
		}
	}
}

// table is a route table by its name; empty where it was not read.
func (f *finder) table(name string) tableForm {
	raw, _ := f.s.Envoy.RouteTable(name)
	var t tableForm
	_ = json.Unmarshal(raw, &t) // what it does not say, nobody knows
	return t
}

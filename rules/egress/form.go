package egress

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// listenerForm is what of a listener says which requests come to it.
type listenerForm struct {
	speaksHTTP, speaksBytes bool
	hosts                   []string     // HTTP authorities, one a virtual host
	addrs                   []netip.Addr // those of its domains that are addresses
	names                   []string     // SNIs
	clusters                []string     // to which its routes lead
	ranges                  []flow.Hole  // destinations with a filter chain of their own
}

// chainForm is a filter chain (config.listener.v3.FilterChain).
type chainForm struct {
	Match struct {
		Names  []string `json:"server_names"`
		Port   uint16   `json:"destination_port"`
		Ranges []struct {
			Address string `json:"address_prefix"`
			Bits    int    `json:"prefix_len"`
		} `json:"prefix_ranges"`
	} `json:"filter_chain_match"`
	Filters []struct {
		Config struct {
			Type  string     `json:"@type"`
			Table *tableForm `json:"route_config"`
			RDS   struct {
				Name string `json:"route_config_name"`
			} `json:"rds"`
		} `json:"typed_config"`
	} `json:"filters"`
}

// tableForm is a route table (config.route.v3.RouteConfiguration).
type tableForm struct {
	Name  string     `json:"name"`
	Hosts []hostForm `json:"virtual_hosts"`
}

type hostForm struct {
	Domains []string `json:"domains"`
	Routes  []struct {
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
	var out listenerForm
	raw, ok := f.s.Envoy.Raw(ref)
	if !ok {
		return out
	}
	var l struct {
		Chains  []chainForm `json:"filter_chains"`
		Default *chainForm  `json:"default_filter_chain"`
	}
	if json.Unmarshal(raw, &l) != nil {
		return out
	}
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
	out.names = append(out.names, c.Match.Names...)
	for _, r := range c.Match.Ranges {
		if a, err := netip.ParseAddr(r.Address); err == nil {
			if p, err := a.Prefix(r.Bits); err == nil && r.Bits > 0 {
				out.ranges = append(out.ranges, flow.Hole{Prefix: p, Port: c.Match.Port})
			}
		}
	}
	http := false
	for _, x := range c.Filters {
		if !strings.HasSuffix(x.Config.Type, ".HttpConnectionManager") {
			continue
		}
		http = true
		if t := x.Config.Table; t != nil {
			out.table(*t)
		}
		if x.Config.RDS.Name != "" {
			out.table(f.table(x.Config.RDS.Name))
		}
	}
	out.speaksHTTP = out.speaksHTTP || http && len(c.Match.Names) == 0
	out.speaksBytes = out.speaksBytes || !http && len(c.Match.Names) == 0
}

func (out *listenerForm) table(t tableForm) {
	for _, h := range t.Hosts {
		for _, d := range h.Domains {
			if a, err := netip.ParseAddr(strings.Trim(d, "[]")); err == nil {
				out.addrs = append(out.addrs, a)
			}
		}
		for _, r := range h.Routes {
			out.clusters = append(out.clusters, r.Route.Cluster)
			for _, w := range r.Route.Weights.Clusters {
				out.clusters = append(out.clusters, w.Name)
			}
		}
		if len(h.Domains) > 0 && h.Domains[0] != "*" { // the others lead to the same host
			out.hosts = append(out.hosts, strings.Replace(h.Domains[0], "*", "any", 1))
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

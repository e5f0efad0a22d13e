package envoy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// Dropped names what of a config_dump a loaded Config does not hold: kinds of objects of
// which it knows fewer than stand in the text. It counts by encoding/json, not by the
// reader it judges.
func Dropped(dump []byte, cfg *envoy.Config) ([]string, error) {
	var d struct{ Configs []M }
	if err := json.Unmarshal(dump, &d); err != nil {
		return nil, err
	}
	n := counts{}
	for _, section := range d.Configs {
		n.section(section)
	}
	s := cfg.Summary()
	have := counts{"warming": s.Warming, "draining": s.Draining, "rejected": s.Rejected, "listeners": s.Listeners,
		"clusters": s.Clusters, "endpoints": s.Endpoints, "secrets": s.Secrets, "extensions": s.Extensions, "tables": s.Routes}
	kinds := map[flow.Stage]string{flow.FilterChain: "chains", flow.VirtualHost: "virtual hosts", flow.Route: "routes"}
	for _, o := range cfg.Objects() {
		if k := kinds[o.Kind]; k != "" {
			have[k]++
		}
	}
	var out []string
	for k, want := range n {
		if have[k] < want {
			out = append(out, fmt.Sprintf("%s: %d of %d", k, have[k], want))
		}
	}
	return out, nil
}

// counts are numbers of objects by kind.
type counts map[string]int

// kindOf are the lists of a dump's sections (envoy/admin/v3/config_dump_shared.proto).
var kindOf = map[string]string{"static_listeners": "listeners", "static_clusters": "clusters", "dynamic_active_clusters": "clusters",
	"dynamic_warming_clusters": "warming", "static_route_configs": "tables", "dynamic_route_configs": "tables",
	"static_endpoint_configs": "endpoints", "dynamic_endpoint_configs": "endpoints", "static_secrets": "secrets",
	"dynamic_active_secrets": "secrets", "dynamic_warming_secrets": "warming", "ecds_filters": "extensions",
	"inline_scoped_route_configs": "tables", "dynamic_scoped_route_configs": "tables"}

// field is a member by its proto name, in either spelling.
func field(m M, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	words := strings.Split(name, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return m[strings.Join(words, "")]
}

func objects(v any) (out []M) {
	l, _ := v.(A)
	for _, x := range l {
		if m, ok := x.(M); ok {
			out = append(out, m)
		}
	}
	return out
}

func (n counts) section(s M) {
	typ, _ := s["@type"].(string)
	if i := strings.LastIndexByte(typ, '.'); strings.Contains(typ, "ConfigDump.") { // an element list
		n.element(typ[i+1:], s)
		return
	}
	for list, kind := range kindOf {
		for _, e := range objects(field(s, list)) {
			n.rejected(e)
			n[kind]++
			if list == "dynamic_route_configs" { // the static ones stand in their listeners, too
				n.table(field(e, "route_config"))
			}
			if kind == "listeners" {
				n.listener(field(e, "listener"))
			}
		}
	}
	for _, e := range objects(field(s, "dynamic_listeners")) {
		n.element("DynamicListener", e)
	}
}

func (n counts) rejected(e M) {
	if field(e, "error_state") != nil {
		n["rejected"]++
	}
}

func (n counts) element(kind string, e M) {
	switch kind {
	case "DynamicListener":
		n.rejected(e)
		if a, ok := field(e, "active_state").(M); ok {
			n["listeners"]++
			n.listener(a["listener"])
		}
		for _, k := range []string{"warming", "draining"} {
			if field(e, k+"_state") != nil {
				n[k]++
			}
		}
	case "DynamicCluster":
		n.rejected(e)
		n["clusters"]++
	}
}

func (n counts) listener(v any) {
	l, _ := v.(M)
	if l == nil {
		return
	}
	chains := objects(field(l, "filter_chains"))
	if c, ok := field(l, "default_filter_chain").(M); ok {
		chains = append(chains, c)
	}
	n["chains"] += len(chains)
	for _, c := range chains {
		for _, f := range objects(c["filters"]) {
			if t, ok := field(f, "typed_config").(M); ok {
				n.table(field(t, "route_config"))
			}
		}
	}
}

func (n counts) table(v any) {
	rc, _ := v.(M)
	for _, h := range objects(field(rc, "virtual_hosts")) {
		n["virtual hosts"]++
		n["routes"] += len(objects(h["routes"]))
	}
}

package envoy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Filters, matchers and transport sockets of types that are not understood are counted, with
// the name and place of the first; those that are known, and what no request meets, are not.
func TestStrangeTypes(t *testing.T) {
	shiny := func(family, kind string) string {
		return fmt.Sprintf(`{"name":"%s1","typed_config":{"@type":"type.googleapis.com/envoy.extensions.%s.v3.Shiny"}}`, kind, family+"."+kind)
	}
	filters := withFilters(oneHost(answering("r", `"prefix":"/"`)), shiny("filters.http", "new_one")+","+shiny("filters.http", "new_one")+","+
		`{"name":"w","typed_config":{"@type":"type.googleapis.com/xds.type.v3.TypedStruct","type_url":"type.googleapis.com/acme.Wasm","value":{}}},`+
		typedFilter("f", "fault.v3.HTTPFault", `"shiny":{"input":{"name":"i","typed_config":{"@type":"type.googleapis.com/envoy.type.matcher.v3.NewInput"}}}`)) +
		`,"access_log":[{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.shiny.v3.Log"}}]`
	cfg := httpDump(t, filters)
	want := map[string]flow.NotModelled{
		"envoy.extensions.filters.http.new_one.v3.Shiny": {Count: 2, Name: "new_one1"},
		"acme.Wasm":                      {Count: 1, Name: "w"},
		"envoy.type.matcher.v3.NewInput": {Count: 1, Name: "i"},
	}
	got := cfg.Unmodelled()
	for _, u := range got {
		w := want[u.Type]
		raw, ok := cfg.Raw(u.Ref)
		if u.Count != w.Count || u.Name != w.Name || !ok || len(raw) < 10 || raw[0] != '{' {
			t.Errorf("%+v, at %s; want %+v", u, raw, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d types: %+v", len(got), got)
	}
	sockets := mesh{clusters: `{'name': 'c', 'type': 'STATIC', 'transport_socket': {'name': 's', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.shiny.v3.Shiny'}}}`}.load(t)
	if u := sockets.Unmodelled(); len(u) != 1 || u[0].Name != "s" || u[0].Count != 1 {
		t.Errorf("%+v", u)
	}
}

// Of the extensions that decide where a request goes, those that are known are listed, and
// all others count; those that only log, trace or count do not.
func TestStrangeFamilies(t *testing.T) {
	for typ, known := range map[string]bool{
		"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":               true,
		"envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost":           false,
		"envoy.extensions.load_balancing_policies.shiny.v3.Shiny":                          false,
		"envoy.extensions.clusters.dns.v3.DnsCluster":                                      true,
		"envoy.extensions.clusters.aggregate.v3.ClusterConfig":                             true,
		"envoy.extensions.clusters.composite.v3.ClusterConfig":                             false,
		"envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier":    true,
		"envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig":                      false,
		"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":                     true,
		"envoy.extensions.transport_sockets.tls.v3.Secret":                                 true,
		"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig":              false,
		"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig":                     true,
		"envoy.extensions.http.original_ip_detection.shiny.v3.ShinyConfig":                 false,
		"envoy.extensions.matching.input_matchers.ip.v3.Ip":                                true,
		"envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing": false,
		"envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction":     false,
		"envoy.extensions.matching.input_matchers.metadata.v3.Metadata":                    false,
		"envoy.extensions.common.matching.v3.ExtensionWithMatcher":                         true,
		"envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher":         false,
		"envoy.extensions.rbac.audit_loggers.stream.v3.StdoutAuditLog":                     true,
		"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig":               true,
		"envoy.extensions.path.match.shiny.v3.Shiny":                                       false,
		"envoy.extensions.shiny.v3.Shiny":                                                  false,
		"envoy.extensions.access_loggers.shiny.v3.Log":                                     true,
		"envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig":         true,
		"envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig":                         true,
		"envoy.config.trace.v3.ZipkinConfig":                                               true,
		"xds.type.v3.TypedStruct":                                                          true,
		"xds.type.matcher.v3.CelMatcher":                                                   false,
	} {
		if understood(typ) != known {
			t.Errorf("%s: understood %v", typ, !known)
		}
	}
	policy := mesh{clusters: `{'name': 'c', 'type': 'STATIC', 'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'l', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.shiny.v3.Shiny'}}}]}}`}.load(t)
	if u := policy.Unmodelled(); len(u) != 1 || u[0].Name != "l" || u[0].Count != 1 {
		t.Errorf("%+v", u)
	}
}

// The lists of what is understood are those that the code meets, no more and no less.
func TestKindsAreThoseMet(t *testing.T) {
	for list, met := range map[string][]string{
		"kinds.go networkKind, network.go countsOnly": {"network.go filter", "network.go limits", "network.go terminal", "network.go countsOnly"},
		"kinds.go listenerKind":                       {"listenerfilter.go listenerFilter"},
		"kinds.go httpKind, httpfilter.go passes":     {"httpfilter.go runs", "httpfilter.go runFilters", "httpfilter.go delegate", "httpfilter.go passes"},
		"kinds.go inputKind":                          {"matcher.go networkInput", "matcher.go single", "matcher.go tree", "httpfilter_answer.go answerInput", "route_choose.go matcherInput"},
		"kinds.go policyKind":                         {"cluster.go typedPolicy"},
		"kinds.go clusterKnown":                       {"cluster.go clusterKind", "cluster.go toCluster"},
		"kinds.go socketKind":                         {"socket.go unwrapSocket"},
	} {
		listed, used := words(t, strings.Split(list, ", ")...), words(t, met...)
		for kind := range listed {
			if !used[kind] {
				t.Errorf("%s lists %q, which nothing meets", list, kind)
			}
		}
		for kind := range used {
			if !listed[kind] && !slices.Contains(noKinds, kind) {
				t.Errorf("%s does not list %q, which is met", list, kind)
			}
		}
	}
}

// noKinds are words that functions compare with, too: names of other things, and kinds that
// are met only to say that they are not modelled.
var noKinds = []string{"", "envoy.extensions.common.matching.v3.ExtensionWithMatcher", "listener_local_ratelimit", "envoy.http_connection_manager",
	"redis_proxy", "thrift_proxy", "dubbo_proxy", "generic_proxy", "sip_proxy", "rocketmq_proxy", "reverse_tunnel",
	"ORIGINAL_DST", "STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ClusterConfig", "DnsCluster",
	"tls", "envoy.transport_sockets.tls", "raw_buffer", "envoy.transport_sockets.raw_buffer"}

// words are the texts that functions, each said as FILE NAME, compare with.
func words(t *testing.T, functions ...string) map[string]bool {
	found := map[string]bool{}
	add := func(e ast.Expr) {
		switch e := e.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(e.Value); e.Kind == token.STRING && err == nil {
				found[strings.TrimPrefix(text, "envoy.clusters.")] = true
			}
		case *ast.Ident:
			if e.Name == "forwardCluster" {
				found[strings.TrimPrefix(forwardCluster, "envoy.clusters.")] = true
			}
		}
	}
	for _, function := range functions {
		file, name, _ := strings.Cut(function, " ")
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := len(found)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				return n.Name.Name == name
			case *ast.CaseClause:
				for _, e := range n.List {
					add(e)
				}
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					add(n.Y)
				}
			}
			return true
		})
		if len(found) == before && name != "limits" && name != "filter" {
			t.Errorf("%s: no words in %s", file, name)
		}
	}
	return found
}

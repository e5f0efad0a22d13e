package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// shares says which endpoints a cluster's connections go to, with the share of each in percent.
func shares(t *testing.T, c *Config, cluster string, h lbHints) string {
	t.Helper()
	got := map[string]float64{}
	var order []string
	for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
		p := &pass{cfg: c, ch: ch, req: raw()}
		f := p.toCluster(cluster, h)
		share := 100.0
		for _, m := range ch.Made() {
			var sum uint64
			for _, o := range m.Choice.Options {
				sum += o.Weight
			}
			share *= float64(m.Option().Weight) / float64(sum)
		}
		where := p.res.Outcome.Endpoint
		if !f.ok {
			where = f.flags
		}
		if f.unknown {
			where = "unknown"
			if len(p.res.Needs) > 0 {
				where = "needs " + p.res.Needs[0].Part + " " + p.res.Needs[0].Name
			}
		}
		if _, seen := got[where]; !seen {
			order = append(order, where)
		}
		got[where] += share
	}
	for i, w := range order {
		order[i] = fmt.Sprintf("%s %.0f", strings.TrimSuffix(w, ":80"), got[w])
	}
	return strings.Join(order, ", ")
}

// ep is an endpoint with health, weight or metadata as members.
func ep(ip string, more ...string) string {
	return `{'endpoint': {'address': ` + sockaddr(ip, 80) + `}` + comma(more) + `}`
}

func group(priority int, more string, eps ...string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{'priority': %d, 'lb_endpoints': [%s]%s}`, priority, strings.Join(eps, ","), more)
}

const bad, half = `'health_status': 'UNHEALTHY'`, `'health_status': 'DEGRADED'`

func lbMeta(kv string) string { return `'metadata': {'filter_metadata': {'envoy.lb': {` + kv + `}}}` }

// Section 7.5: priorities, health, panic, weights, localities, subsets.
func TestLoadBalancing(t *testing.T) {
	clusters := ""
	type row struct{ name, want, match string }
	var rows []row
	add := func(name, more string, groups []string, policy, match, want string) {
		cn := fmt.Sprintf("k%d", len(rows))
		if more != "" {
			more = ", " + more
		}
		if policy != "" {
			policy = `, 'policy': {` + policy + `}`
		}
		clusters += fmt.Sprintf(`{'name': '%s', 'type': 'STATIC', 'load_assignment': {'cluster_name': '%s', 'endpoints': [%s]%s}%s}`, cn, cn, strings.Join(groups, ","), policy, more)
		rows = append(rows, row{name, want, match})
	}
	g := func(s ...string) []string { return s }
	add("weights", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", `'load_balancing_weight': 3`))), "", "", "1.0.0.1 25, 1.0.0.2 75")
	add("RANDOM does not look at weights", `'lb_policy': 'RANDOM'`, g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", `'load_balancing_weight': 3`))), "", "", "1.0.0.1 50, 1.0.0.2 50")
	add("unhealthy ones are left out", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2"), ep("1.0.0.3", bad))), "", "", "1.0.0.1 50, 1.0.0.2 50")
	add("panic below half", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", bad), ep("1.0.0.3", bad))), "", "", "1.0.0.1 33, 1.0.0.2 33, 1.0.0.3 33")
	add("no panic at 0 percent", `'common_lb_config': {'healthy_panic_threshold': {}}`, g(group(0, "", ep("1.0.0.1", bad))), "", "", "UH 100")
	add("all down: panic takes all", "", g(group(0, "", ep("1.0.0.1", bad))), "", "", "1.0.0.1 100")
	add("spill to the next priority", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", bad)), group(1, "", ep("1.0.0.3"))), "", "", "1.0.0.1 70, 1.0.0.3 30")
	add("DRAINING and TIMEOUT are unhealthy, UNKNOWN is not", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", `'health_status': 'DRAINING'`), ep("1.0.0.3", `'health_status': 'UNKNOWN'`), ep("1.0.0.4", `'health_status': 'TIMEOUT'`))), "", "", "1.0.0.1 50, 1.0.0.3 50")
	add("no panic while all priorities together can take it", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", bad), ep("1.0.0.3", bad)), group(1, "", ep("1.0.0.4"))), "", "", "1.0.0.1 46, 1.0.0.4 54")
	add("overprovisioning 100", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", bad)), group(1, "", ep("1.0.0.3"))), `'overprovisioning_factor': 100`, "", "1.0.0.1 50, 1.0.0.3 50")
	add("degraded after healthy", "", g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", half))), "", "", "1.0.0.1 70, 1.0.0.2 30")
	add("fail_traffic_on_panic", `'common_lb_config': {'zone_aware_lb_config': {'fail_traffic_on_panic': true}}`, g(group(0, "", ep("1.0.0.1"), ep("1.0.0.2", bad), ep("1.0.0.3", bad))), "", "", "UH 100")
	local := `'common_lb_config': {'locality_weighted_lb_config': {}}`
	zones := g(group(0, `'locality': {'zone': 'a'}, 'load_balancing_weight': 1`, ep("1.0.0.1")), group(0, `'locality': {'zone': 'b'}, 'load_balancing_weight': 4`, ep("1.0.0.2"), ep("1.0.0.3")))
	add("localities by weight", local, zones, "", "", "1.0.0.1 20, 1.0.0.2 40, 1.0.0.3 40")
	typed := func(policy string) string {
		return `'load_balancing_policy': {'policies': [{'typed_extension_config': {'name': 'p', 'typed_config': ` + policy + `}}]}`
	}
	const ns = `'@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.`
	add("localities by weight, of the policy", typed(`{`+ns+`round_robin.v3.RoundRobin', 'locality_lb_config': {'locality_weighted_lb_config': {}}}`), zones, "", "", "1.0.0.1 20, 1.0.0.2 40, 1.0.0.3 40")
	add("a policy takes the place of the old fields", local+", "+typed(`{`+ns+`round_robin.v3.RoundRobin'}`), zones, "", "", "1.0.0.1 33, 1.0.0.2 33, 1.0.0.3 33")
	add("wrr_locality", typed(`{`+ns+`wrr_locality.v3.WrrLocality', 'endpoint_picking_policy': {'policies': [{'typed_extension_config': {'name': 'r', 'typed_config': {`+ns+`random.v3.Random'}}}]}}`), zones, "", "", "1.0.0.1 20, 1.0.0.2 40, 1.0.0.3 40")
	add("a locality without weight gets nothing", local, g(group(0, `'locality': {'zone': 'a'}`, ep("1.0.0.1")), group(0, `'locality': {'zone': 'b'}, 'load_balancing_weight': 4`, ep("1.0.0.2"))), "", "", "1.0.0.2 100")
	add("no weights at all: all hosts", local, g(group(0, `'locality': {'zone': 'a'}`, ep("1.0.0.1")), group(0, `'locality': {'zone': 'b'}`, ep("1.0.0.2"))), "", "", "1.0.0.1 50, 1.0.0.2 50")
	sub := func(more string) string {
		return `'lb_subset_config': {'subset_selectors': [{'keys': ['v']}, {'keys': ['v', 'env'], 'fallback_policy': 'KEYS_SUBSET', 'fallback_keys_subset': ['v']}]` + more + `}`
	}
	eps := g(group(0, "", ep("1.0.0.1", lbMeta(`'v': '1', 'env': 'p'`)), ep("1.0.0.2", lbMeta(`'v': '2'`)), ep("1.0.0.3", bad, lbMeta(`'v': '3'`))))
	add("subset", sub(""), eps, "", `{'v': '2'}`, "1.0.0.2 100")
	add("two keys", sub(""), eps, "", `{'env': 'p', 'v': '1'}`, "1.0.0.1 100")
	add("two keys, none: fewer keys", sub(""), eps, "", `{'env': 'q', 'v': '1'}`, "1.0.0.1 100")
	add("keys of no selector: no fallback", sub(""), eps, "", `{'env': 'p'}`, "UH 100")
	add("a value of another type", sub(""), eps, "", `{'v': 2}`, "UH 100")
	add("a subset in panic", sub(""), eps, "", `{'v': '3'}`, "1.0.0.3 100")
	add("ANY_ENDPOINT", sub(`, 'fallback_policy': 'ANY_ENDPOINT'`), eps, "", `{'v': '9'}`, "1.0.0.1 50, 1.0.0.2 50")
	add("DEFAULT_SUBSET", sub(`, 'fallback_policy': 'DEFAULT_SUBSET', 'default_subset': {'v': '1'}`), eps, "", "", "1.0.0.1 100")
	c := mesh{clusters: clusters}.load(t)
	for i, r := range rows {
		h := lbHints{}
		if r.match != "" {
			n, err := document("m", []byte(strings.ReplaceAll(r.match, "'", `"`)))
			if err != nil {
				t.Fatal(err)
			}
			h.match = append(h.match, n)
		}
		if got := shares(t, c, fmt.Sprintf("k%d", i), h); got != r.want {
			t.Errorf("%s: %s, want %s", r.name, got, r.want)
		}
	}
}

// Section 7.3: where the hosts of each type of cluster come from.
func TestHostSources(t *testing.T) {
	eds := func(name, service string) string {
		return `{'name': '` + name + `', 'type': 'EDS', 'eds_cluster_config': {'service_name': '` + service + `'}}`
	}
	dns := func(name, typ, host string) string {
		return `{'name': '` + name + `', 'type': '` + typ + `', 'load_assignment': {'endpoints': [{'lb_endpoints': [` + ep(host) + `]}]}}`
	}
	clusters := eds("e1", "svc") + eds("e2", "") + eds("gone", "x") + dns("strict", "STRICT_DNS", "example.com") + dns("lit", "LOGICAL_DNS", "1.0.0.9") + dns("known", "STRICT_DNS", "db.local") +
		static("c", "1.0.0.1:80", "1.0.0.2:80") +
		`{'name': 'agg', 'cluster_type': {'name': 'envoy.clusters.aggregate', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig', 'clusters': ['nosuch', 'down', 'c']}}}` +
		`{'name': 'down', 'load_assignment': {'endpoints': [{'lb_endpoints': [` + ep("1.0.0.7", bad) + `]}]}, 'common_lb_config': {'healthy_panic_threshold': {}}}` +
		`{'name': 'dfp', 'cluster_type': {'name': 'envoy.clusters.dynamic_forward_proxy', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig'}}}` +
		`{'name': 'redis', 'cluster_type': {'name': 'envoy.clusters.redis'}}` +
		`{'name': 'old', 'hosts': [` + sockaddr("1.0.0.3", 80) + `]}`
	endpoints := `{'cluster_name': 'svc', 'endpoints': [{'lb_endpoints': [` + ep("1.0.0.5") + `]}]}`
	live := `{'cluster_statuses': [{'name': 'e2', 'host_statuses': [{'address': ` + sockaddr("1.0.0.6", 80) + `, 'health_status': {'eds_health_status': 'HEALTHY'}}, {'address': ` + sockaddr("1.0.0.8", 80) + `, 'health_status': {'failed_outlier_check': true}}]},
		{'name': 'c', 'host_statuses': [{'address': ` + sockaddr("1.0.0.2", 80) + `, 'health_status': {'failed_active_health_check': true}}]},
		{'name': 'known', 'host_statuses': [{'address': ` + sockaddr("1.0.0.4", 80) + `, 'hostname': 'db.local', 'health_status': {}}]}]}`
	m := mesh{clusters: clusters, endpoints: endpoints, files: map[string]string{"clusters.json": live}}
	c := m.load(t)
	for name, want := range map[string]string{
		"e1": "1.0.0.5 100", "e2": "1.0.0.6 100", "gone": "UH 100", "strict": "unknown 100", "lit": "1.0.0.9 100", "known": "1.0.0.4 100",
		"c": "1.0.0.1 100", "agg": "1.0.0.1 100", "redis": "unknown 100", "old": "1.0.0.3 100", "nosuch": "NC 100",
	} {
		if got := shares(t, c, name, lbHints{}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for authority, want := range map[string]string{"1.2.3.4:81": "1.2.3.4:81 100", "1.2.3.4": "1.2.3.4 100", "example.com": "unknown 100"} {
		if got := shares(t, c, "dfp", lbHints{http: true, authority: authority}); got != want {
			t.Errorf("dfp to %s: %s, want %s", authority, got, want)
		}
	}
}

// Above manyHosts the choice is not followed host by host, unless it is pinned, but by
// groups of hosts that fare alike, which weigh what their hosts do.
func TestManyHosts(t *testing.T) {
	var addrs []string
	for i := range 40 {
		addrs = append(addrs, fmt.Sprintf("1.0.0.%d:80", i+1))
	}
	c := mesh{clusters: static("c", addrs...)}.load(t)
	ch := new(flow.Choices)
	p := &pass{cfg: c, ch: ch, req: raw()}
	if f := p.toCluster("c", lbHints{}); !f.ok || ch.Next() != nil || p.res.Outcome.Endpoint != "" || p.res.Upstream.Addr != addr("1.0.0.1:80") {
		t.Errorf("40 hosts: %+v, endpoint %q, dials %v", f, p.res.Outcome.Endpoint, p.res.Upstream.Addr)
	}
	conn := Conn{Alike: func(u Upstream) (string, bool) { return fmt.Sprint(u.Addr == addr("1.0.0.1:80")), false }}
	ends := map[string]uint64{}
	for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
		p := &pass{cfg: c, conn: conn, ch: ch, req: raw()}
		p.toCluster("c", lbHints{})
		ends[p.res.Outcome.Endpoint] = ch.Made()[0].Option().Weight
	}
	if len(ends) != 2 || ends["1.0.0.1:80"] != 1 || ends[""] != 39 {
		t.Errorf("one of 40 hosts fares differently: %v", ends)
	}
	ch = &flow.Choices{Pick: flow.Pick{"endpoint": "37"}}
	p = &pass{cfg: c, ch: ch, req: raw()}
	if p.toCluster("c", lbHints{}); p.res.Outcome.Endpoint != "1.0.0.37:80" {
		t.Errorf("pinned 37: %q", p.res.Outcome.Endpoint)
	}
}

// Section 7.4: an ORIGINAL_DST cluster's destination, first hit wins.
func TestOriginalDst(t *testing.T) {
	c := mesh{clusters: dstCluster + `{'name': 'hdr', 'type': 'ORIGINAL_DST', 'original_dst_lb_config': {'use_http_header': true}}` +
		`{'name': 'own', 'type': 'ORIGINAL_DST', 'original_dst_lb_config': {'use_http_header': true, 'http_header_name': 'X-My-Dst'}}` +
		`{'name': 'port', 'type': 'ORIGINAL_DST', 'original_dst_lb_config': {'upstream_port_override': 9999}}` +
		`{'name': 'in', 'type': 'ORIGINAL_DST', 'upstream_bind_config': {'source_address': {'address': '127.0.0.6', 'port_value': 0}}}`}.load(t)
	header := func(name, value string) func(string) (string, bool) {
		return func(n string) (string, bool) { return value, n == name }
	}
	rows := []struct {
		cluster  string
		restored bool
		header   func(string) (string, bool)
		state    string
		want     string
	}{
		{"odst", true, nil, "", "10.0.0.1:80"},
		{"odst", false, nil, "", "UH"},
		{"odst", true, header("x-envoy-original-dst-host", "10.0.0.2:81"), "", "10.0.0.1:80"},
		{"hdr", true, header("x-envoy-original-dst-host", "10.0.0.2:81"), "", "10.0.0.2:81"},
		{"hdr", true, header("x-envoy-original-dst-host", "nonsense"), "", "10.0.0.1:80"},
		{"own", false, header("x-my-dst", "10.0.0.2:81"), "", "10.0.0.2:81"},
		{"own", true, header("x-envoy-original-dst-host", "10.0.0.2:81"), "", "10.0.0.1:80"},
		{"hdr", true, header("x-envoy-original-dst-host", "10.0.0.2:81"), "10.0.0.3:82", "10.0.0.3:82"},
		{"port", true, nil, "", "10.0.0.1:9999"},
		{"in", true, nil, "", "10.0.0.1:80"},
	}
	for i, r := range rows {
		p := &pass{cfg: c, ch: new(flow.Choices), req: raw(), local: addr("10.0.0.1:80"), restored: r.restored}
		if r.state != "" {
			p.setState(originalState, r.state)
		}
		f := p.toCluster(r.cluster, lbHints{http: true, header: r.header})
		got := p.res.Outcome.Endpoint
		if !f.ok {
			got = f.flags
		}
		if got != r.want {
			t.Errorf("row %d, %s: %s, want %s", i, r.cluster, got, r.want)
		}
		if r.cluster == "in" && p.res.Upstream.Bind.String() != "127.0.0.6" {
			t.Errorf("binds %v", p.res.Upstream.Bind)
		}
		if r.cluster == "odst" && f.ok && f.name != "odst10.0.0.1:80" {
			t.Errorf("host name %q", f.name)
		}
	}
}

// Section 7.6: the transport socket by the endpoint's metadata.
func TestUpstreamSocket(t *testing.T) {
	const tls = `{'name': 'tls', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', 'sni': 's', 'common_tls_context': {'alpn_protocols': ['istio'], 'tls_certificate_sds_secret_configs': [{'name': 'default'}], 'combined_validation_context': {'default_validation_context': {'match_typed_subject_alt_names': [{'san_type': 'URI', 'matcher': {'exact': 'spiffe://x'}}]}}}}}`
	const plain = `{'name': 'raw', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'}}`
	const mode = `'metadata': {'filter_metadata': {'envoy.transport_socket_match': {'tlsMode': 'istio'}}}`
	matches := `, 'transport_socket_matches': [{'name': 'tlsMode-istio', 'match': {'tlsMode': 'istio'}, 'transport_socket': ` + tls + `}, {'name': 'tlsMode-disabled', 'match': {}, 'transport_socket': ` + plain + `}]`
	cl := func(name, eps, more string) string {
		return `{'name': '` + name + `', 'load_assignment': {'endpoints': [` + eps + `]}` + more + `}`
	}
	c := mesh{clusters: cl("mtls", group(0, "", ep("1.0.0.1", mode)), matches) + cl("plain", group(0, "", ep("1.0.0.1")), matches) + cl("zone", group(0, mode, ep("1.0.0.1")), matches) +
		cl("all", group(0, "", ep("1.0.0.1")), `, 'transport_socket': `+tls) + cl("none", group(0, "", ep("1.0.0.1")), "") +
		cl("wrapped", group(0, "", ep("1.0.0.1")), `, 'transport_socket': {'name': 'w', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', 'transport_socket': `+tls+`}}`) +
		cl("alts", group(0, "", ep("1.0.0.1")), `, 'transport_socket': {'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.alts.v3.Alts'}}`)}.load(t)
	for name, want := range map[string]string{"mtls": "tls s istio yes", "plain": "plain", "zone": "tls s istio yes", "all": "tls s istio yes", "none": "plain", "wrapped": "tls s istio yes", "alts": "unknown"} {
		p := &pass{cfg: c, ch: new(flow.Choices), req: raw()}
		f := p.toCluster(name, lbHints{})
		got := "plain"
		if u := p.res.Upstream.TLS; u != nil {
			got = fmt.Sprintf("tls %s %s %v", u.SNI, strings.Join(u.ALPN, ","), u.Cert)
		}
		if f.unknown {
			got = "unknown"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "",
		`{"metadata": {"filter_metadata": {"istio": {"config": "/apis/x"}}}}`:                                                                               "/apis/x",
		`{"metadata": {"filterMetadata": {"envoy-gateway": {"resources": [{"kind": "HTTPRoute", "namespace": "default", "name": "backend"}, {}]}}}}`:        "HTTPRoute default/backend",
		`{"metadata": {"filter_metadata": {"envoy-gateway": {"resources": [{"kind": "Gateway", "namespace": "a", "name": "eg", "sectionName": "http"}]}}}}`: "Gateway a/eg http",
		`{"metadata": {"filter_metadata": {"envoy-gateway": {"resources": []}}}}`:                                                                           "",
		`{"metadata": {"filter_metadata": {"envoy-gateway": {"resources": [{"kind": "HTTPRoute", "name": "x"}]}}}}`:                                         "HTTPRoute x",
	} {
		n, err := document("test", []byte(text))
		if err != nil || origin(n) != want {
			t.Errorf("%s: %q, want %q (%v)", text, origin(n), want, err)
		}
	}
}

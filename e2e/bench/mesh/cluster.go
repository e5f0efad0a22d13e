package mesh

import "fmt"

const (
	typeURL = "type.googleapis.com/"
	stamp   = "2026-08-27T12:45:20.113Z"
	version = "2026-08-27T12:45:19Z/417"
	most    = 1<<32 - 1 // what Istio writes for no limit
)

// anyOf is an Any.
func anyOf(kind string, members ...any) obj { return append(obj{"@type", typeURL + kind}, members...) }

// named is an extension.
func named(name, kind string, members ...any) obj {
	return obj{"name", name, "typed_config", anyOf(kind, members...)}
}

// onlyIstio is an extension that only Istio's own Envoy knows: readers must survive it.
func onlyIstio(name, kind string, value obj) obj {
	return named(name, "udpa.type.v1.TypedStruct", "type_url", typeURL+kind, "value", value)
}

func ads() obj {
	return obj{"ads", obj{}, "initial_fetch_timeout", "0s", "resource_api_version", "V3"}
}

func address(ip string, port int) obj {
	return obj{"socket_address", obj{"address", ip, "port_value", port}}
}

func metadata(of obj) obj { return obj{"filter_metadata", obj{"istio", of}} }

// clusters are all dynamic clusters.
func (m Mesh) clusters(emit func(obj)) {
	original := func(name string, more ...any) {
		emit(append(anyOf("envoy.config.cluster.v3.Cluster", "name", name, "type", "ORIGINAL_DST", "connect_timeout", "10s", "lb_policy", "CLUSTER_PROVIDED"), more...))
	}
	local := []any{"upstream_bind_config", obj{"source_address", obj{"address", "127.0.0.6", "port_value", 0}}}
	emit(anyOf("envoy.config.cluster.v3.Cluster", "name", "BlackHoleCluster", "type", "STATIC", "connect_timeout", "10s"))
	original("PassthroughCluster")
	original("InboundPassthroughCluster", local...)
	original("inbound|8080||", local...)
	original("inbound|9000||", local...)
	for i := range m.Services {
		s := m.service(i)
		for _, p := range s.ports {
			emit(s.clusterObject(p, ""))
			for _, sub := range s.subsetsOf(p) {
				emit(s.clusterObject(p, sub))
			}
		}
	}
	for k := range m.externals() {
		emit(append(eds(externalCluster(k)), "metadata", metadata(obj{"default_original_port", 443,
			"services", arr{obj{"host", external(k), "name", external(k), "namespace", "egress"}}})))
	}
}

func (s service) subsetsOf(p port) []string {
	if p.proto != "http" {
		return nil
	}
	return s.subsets
}

func eds(name string) obj {
	return anyOf("envoy.config.cluster.v3.Cluster", "name", name, "type", "EDS",
		"eds_cluster_config", obj{"eds_config", ads(), "service_name", name}, "connect_timeout", "10s", "lb_policy", "LEAST_REQUEST")
}

func (s service) clusterObject(p port, subset string) obj {
	c := append(eds(s.cluster(p.number, subset)), "circuit_breakers", obj{"thresholds", arr{obj{"max_connections", most,
		"max_pending_requests", most, "max_requests", most, "max_retries", most, "track_remaining", true}}})
	if subset != "" {
		c = append(c, "outlier_detection", obj{"consecutive_5xx", 7, "interval", "30s", "base_ejection_time", "60s",
			"max_ejection_percent", 30, "enforcing_success_rate", 0})
	}
	if p.proto == "http" {
		c = append(c, "typed_extension_protocol_options", obj{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			anyOf("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "use_downstream_protocol_config",
				obj{"http_protocol_options", obj{}, "http2_protocol_options", obj{"max_concurrent_streams", 1073741824}})})
	}
	return append(c, "common_lb_config", obj{"locality_weighted_lb_config", obj{}},
		"metadata", metadata(obj{"default_original_port", p.number,
			"services", arr{obj{"host", s.host(), "name", s.name, "namespace", s.namespace}}, "subset", subset}),
		"transport_socket_matches", s.sockets(p, subset),
		"filters", arr{onlyIstio("istio.metadata_exchange", "envoy.tcp.metadataexchange.config.MetadataExchange",
			obj{"protocol", "istio-peer-exchange", "enable_discovery", true})})
}

// sockets are mTLS where an endpoint's metadata says so, and plain text elsewhere.
func (s service) sockets(p port, subset string) arr {
	secret := func(name string) obj {
		return obj{"name", name, "sds_config", obj{"api_config_source", obj{"api_type", "GRPC",
			"grpc_services", arr{obj{"envoy_grpc", obj{"cluster_name", "sds-grpc"}}}, "set_node_on_first_message_only", true,
			"transport_api_version", "V3"}, "initial_fetch_timeout", "0s", "resource_api_version", "V3"}}
	}
	san := "spiffe://cluster.local/ns/" + s.namespace + "/sa/" + s.name
	context := obj{"tls_params", tlsVersions(), "alpn_protocols", arr{"istio-peer-exchange", "istio"},
		"tls_certificate_sds_secret_configs", arr{secret("default")},
		"combined_validation_context", obj{
			"default_validation_context", obj{"match_typed_subject_alt_names", arr{obj{"san_type", "URI", "matcher", obj{"exact", san}}}},
			"validation_context_sds_secret_config", secret("ROOTCA")}}
	tls := named("envoy.transport_sockets.tls", "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context", context,
		"sni", fmt.Sprintf("outbound_.%d_.%s_.%s", p.number, subset, s.host()))
	plain := named("envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
	return arr{obj{"name", "tlsMode-istio", "match", obj{"tlsMode", "istio"}, "transport_socket", tls},
		obj{"name", "tlsMode-disabled", "match", obj{}, "transport_socket", plain}}
}

func tlsVersions() obj {
	return obj{"tls_minimum_protocol_version", "TLSv1_2", "tls_maximum_protocol_version", "TLSv1_3"}
}

// assignments are the endpoints of all clusters that ask for them.
func (m Mesh) assignments(emit func(obj)) {
	for i := range m.Services {
		s := m.service(i)
		for _, p := range s.ports {
			target := p.number
			if p.proto == "http" {
				target = 8080
			}
			emit(m.assignment(s.cluster(p.number, ""), i, s.endpoints, target, s.namespace, s.name))
			subsets := s.subsetsOf(p)
			for k, sub := range subsets {
				n := s.endpoints / len(subsets)
				if k == 0 {
					n = s.endpoints - n*(len(subsets)-1)
				}
				emit(m.assignment(s.cluster(p.number, sub), i, n, target, s.namespace, s.name))
			}
		}
	}
	for k := range m.externals() {
		emit(m.assignment(externalCluster(k), 1<<28+k, 1, 443, "egress", "egress"))
	}
}

// assignment spreads n endpoints over three zones.
func (m Mesh) assignment(cluster string, i, n, port int, namespace, workload string) obj {
	r := m.rand(2, i)
	var zones [3]arr
	for e := range n {
		ip := fmt.Sprintf("10.%d.%d.%d", r.IntN(64), r.IntN(256), 1+r.IntN(254))
		zones[e%3] = append(zones[e%3], obj{"endpoint", obj{"address", address(ip, port)}, "health_status", "HEALTHY",
			"metadata", obj{"filter_metadata", obj{"envoy.transport_socket_match", obj{"tlsMode", "istio"},
				"istio", obj{"workload", workload + ";" + namespace + ";" + workload + ";v1;Kubernetes"}}},
			"load_balancing_weight", 1})
	}
	var localities arr
	for z, l := range zones {
		if len(l) > 0 {
			localities = append(localities, obj{"locality", obj{"region", "eu-1", "zone", fmt.Sprintf("eu-1%c", 'a'+z)},
				"lb_endpoints", l, "load_balancing_weight", len(l)})
		}
	}
	o := anyOf("envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name", cluster)
	if len(localities) > 0 {
		o = append(o, "endpoints", localities)
	}
	return append(o, "policy", obj{"overprovisioning_factor", 140})
}

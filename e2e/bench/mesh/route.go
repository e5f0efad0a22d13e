package mesh

import "fmt"

// tables are the route tables: one a port for the services, and one for each sniffed port.
func (m Mesh) tables(emit func(obj)) {
	for _, p := range httpPorts {
		hosts := stream(func(host func(any)) {
			for i := range m.Services {
				if s := m.service(i); s.ports[0] == (port{p, "http"}) {
					host(s.virtualHost(p))
				}
			}
			for k := range zones { // as ServiceEntries with wildcards make them
				d := "*." + zone(k)
				host(virtualHost(fmt.Sprintf("%s:%d", d, p), arr{d, fmt.Sprintf("%s:%d", d, p)},
					route("default", obj{"prefix", "/"}, action("cluster", externalCluster(k)), d, p)))
			}
			host(virtualHost("allow_any", arr{"*"}, obj{"match", obj{"prefix", "/"}, "route",
				obj{"cluster", "PassthroughCluster", "timeout", "0s", "max_grpc_timeout", "0s"}, "name", "allow_any"}))
		})
		emit(table(fmt.Sprint(p), hosts))
	}
	for i := range m.Services {
		s := m.service(i)
		for _, p := range s.ports {
			if p.proto != "auto" {
				continue
			}
			name := fmt.Sprintf("%s:%d", s.host(), p.number)
			emit(table(name, arr{virtualHost(name, arr{"*"},
				route("default", obj{"prefix", "/"}, action("cluster", s.cluster(p.number, "")), s.host(), p.number))}))
		}
	}
}

func table(name string, hosts any) obj {
	return anyOf("envoy.config.route.v3.RouteConfiguration", "name", name, "virtual_hosts", hosts, "validate_clusters", false,
		"max_direct_response_body_size_bytes", 1048576, "ignore_port_in_host_matching", false)
}

func virtualHost(name string, domains arr, routes ...any) obj {
	return obj{"name", name, "domains", domains, "routes", arr(routes), "include_request_attempt_count", true}
}

// action is a RouteAction: to says cluster or weighted_clusters.
func action(to string, what any) obj {
	previous := named("envoy.retry_host_predicates.previous_hosts", "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
	return obj{to, what, "timeout", "0s", "retry_policy", obj{
		"retry_on", "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", "num_retries", 2,
		"retry_host_predicate", arr{previous}, "host_selection_retry_max_attempts", "5", "retriable_status_codes", arr{503}}, "max_grpc_timeout", "0s"}
}

func weights(a, b string, first int) obj {
	return action("weighted_clusters", obj{"clusters", arr{obj{"name", a, "weight", first}, obj{"name", b, "weight", 100 - first}}, "total_weight", 100})
}

func route(name string, match, action obj, host string, p int) obj {
	return obj{"match", match, "route", action, "decorator", obj{"operation", fmt.Sprintf("%s:%d/*", host, p)}, "name", name}
}

func header(name string, match ...any) obj { return append(obj{"name", name}, match...) }

func (s service) virtualHost(p int) obj {
	origin := metadata(obj{"config", "/apis/networking.istio.io/v1/namespaces/" + s.namespace + "/virtual-service/" + s.name})
	host := s.host()
	to := func(subset string) obj { return action("cluster", s.cluster(p, subset)) }
	made := func(name string, match, act obj) obj {
		return append(route(name, match, act, host, p), "metadata", origin)
	}
	root := obj{"prefix", "/"}
	under := func(more ...any) obj { return append(obj{"prefix", "/"}, more...) }
	exact := func(v string) []any { return []any{"string_match", obj{"exact", v}} }
	var routes arr
	switch s.routing {
	case "weighted":
		routes = arr{made("primary", root, weights(s.cluster(p, "v1"), s.cluster(p, "v2"), 90))}
	case "canary":
		cookie := header("cookie", "string_match", obj{"safe_regex", obj{"regex", `^(.*?;)?(\s*user=beta)(;.*)?$`}})
		routes = arr{made("canary-header", under("case_sensitive", true, "headers", arr{header("x-canary", exact("always")...)}), to("canary")),
			made("canary-cookie", obj{"prefix", "/api/v2", "headers", arr{cookie}}, to("canary")), made("", root, to("stable"))}
	case "rich":
		mobile := arr{header("user-agent", "string_match", obj{"prefix", "acme-mobile/"}), header(":method", exact("GET")...)}
		routes = arr{
			made("health", obj{"path", "/healthz", "case_sensitive", true}, to("v1")),
			made("items", obj{"safe_regex", obj{"regex", "/v[12]/items/[0-9]+/" + s.name}, "case_sensitive", true}, to("v2")),
			made("debug", under("query_parameters", arr{header("debug", exact("1")...)}), to("v3")),
			made("mobile", under("headers", mobile), to("v2")),
			obj{"match", obj{"prefix", "/old/"}, "redirect", obj{"path_redirect", "/new/", "response_code", "MOVED_PERMANENTLY"}, "metadata", origin, "name", "moved"},
			made("sep", obj{"path_separated_prefix", "/admin"}, to("v1")),
			made("internal", obj{"prefix", "/internal/", "headers", arr{header("x-internal", "present_match", true, "invert_match", true)}}, action("cluster", "BlackHoleCluster")),
			made("", root, weights(s.cluster(p, "v1"), s.cluster(p, "v3"), 75))}
	case "strict":
		routes = arr{made("shop", obj{"prefix", "/shop/"}, to("")), made("token", obj{"safe_regex", obj{"regex", "/t/[a-z]+"}}, to(""))}
	default:
		routes = arr{route("default", root, to(""), host, p)}
	}
	var domains arr
	for _, n := range s.shortNames() {
		domains = append(domains, n, fmt.Sprintf("%s:%d", n, p))
	}
	return virtualHost(fmt.Sprintf("%s:%d", host, p), domains, routes...)
}

// zones are domains outside the mesh of which all names below are known.
const zones = 3

func zone(k int) string { return fmt.Sprintf("zone%d.example.com", k) }

package mesh

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// Mesh is a model: everything about service i follows from the seed and i.
type Mesh struct {
	Seed     uint64
	Services int
}

const ownNamespace = "team-000"

// port is one port of a service. proto: http, tcp, or auto (its protocol is sniffed).
type port struct {
	number int
	proto  string
}

type service struct {
	name, namespace, ip string
	ports               []port
	subsets             []string
	routing             string // "", weighted, canary, rich, strict
	endpoints           int
}

var httpPorts = []int{80, 8080, 9080, 15010}

func (m Mesh) rand(kind, i int) *rand.Rand {
	return rand.New(rand.NewPCG(m.Seed*1000003+uint64(kind), uint64(i)*0x9E3779B97F4A7C15+1))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (m Mesh) service(i int) service {
	r := m.rand(1, i)
	at := i + 256
	s := service{
		name: fmt.Sprintf("%s-%s-%05d", pick(r, "cart", "ledger", "quote", "search", "profile", "billing", "media", "geo", "audit", "stock", "auth", "report"),
			pick(r, "api", "db", "worker", "gateway", "cache", "stream", "job", "web"), i),
		namespace: fmt.Sprintf("team-%03d", i%max(3, m.Services/40)),
		ip:        fmt.Sprintf("10.%d.%d.%d", 96+(at>>16), (at>>8)&255, at&255),
	}
	web, raw := r.IntN(100) < 70, r.IntN(100) < 50
	if web || !raw {
		s.ports = append(s.ports, port{pick(r, 80, 80, 80, 80, 80, 8080, 8080, 8080, 9080, 15010), "http"})
		s.route(r.IntN(100))
	}
	if raw {
		s.ports = append(s.ports, port{pick(r, 5432, 3306, 6379, 9092, 27017, 443), pick(r, "tcp", "tcp", "auto")})
	}
	s.endpoints = 1 + r.IntN(3)
	if r.IntN(50) == 0 {
		s.endpoints = 8 + r.IntN(12)
	}
	if r.IntN(200) == 0 {
		s.endpoints = 0
	}
	return s
}

// route gives the service a VirtualService, by a number below 100.
func (s *service) route(n int) {
	switch {
	case n < 12:
		s.routing, s.subsets = "weighted", []string{"v1", "v2"}
	case n < 22:
		s.routing, s.subsets = "canary", []string{"stable", "canary"}
	case n < 27:
		s.routing, s.subsets = "rich", []string{"v1", "v2", "v3"}
	case n < 31: // nothing takes the rest: 404
		s.routing = "strict"
	}
}

func (s service) host() string { return s.name + "." + s.namespace + ".svc.cluster.local" }

func (s service) cluster(port int, subset string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, s.host())
}

// externals are hosts outside the mesh, one in eight a wildcard.
func (m Mesh) externals() int { return m.Services/10 + 3 }

func external(k int) string {
	if k%8 == 7 {
		return fmt.Sprintf("*.cdn%04d.example.net", k)
	}
	return fmt.Sprintf("api-%04d.partner.example.org", k)
}

func externalCluster(k int) string { return "outbound|443||" + external(k) }

// Dump writes what GET /config_dump?include_eds prints.
func (m Mesh) Dump(out io.Writer) error {
	w := &writer{w: bufio.NewWriterSize(out, 1<<20)}
	section := func(name string, members ...any) obj { return anyOf("envoy.admin.v3."+name, members...) }
	boot := obj{"node", obj{"id", "sidecar~10.0.0.7~debugged-0." + ownNamespace + "~" + ownNamespace + ".svc.cluster.local", "cluster", "debugged." + ownNamespace},
		"dynamic_resources", obj{"lds_config", ads(), "cds_config", ads()}, "admin", obj{"address", address("127.0.0.1", 15000)}}
	w.value(obj{"configs", arr{
		section("BootstrapConfigDump", "bootstrap", boot, "last_updated", stamp),
		section("ClustersConfigDump", "version_info", version, "dynamic_active_clusters", stream(func(emit func(any)) {
			m.clusters(func(c obj) { emit(obj{"version_info", version, "cluster", c, "last_updated", stamp}) })
		})),
		section("EndpointsConfigDump", "dynamic_endpoint_configs", stream(func(emit func(any)) {
			m.assignments(func(c obj) { emit(obj{"endpoint_config", c}) })
		})),
		section("ListenersConfigDump", "version_info", version, "dynamic_listeners", stream(func(emit func(any)) {
			m.listeners(func(name string, l obj) {
				emit(obj{"name", name, "active_state", obj{"version_info", version, "listener", l, "last_updated", stamp}})
			})
		})),
		section("RoutesConfigDump", "dynamic_route_configs", stream(func(emit func(any)) {
			m.tables(func(rc obj) { emit(obj{"version_info", version, "route_config", rc, "last_updated", stamp}) })
		})),
		section("SecretsConfigDump"),
	}})
	w.w.WriteByte('\n')
	return w.w.Flush()
}

// shortNames are the domains of a service's virtual host.
func (s service) shortNames() []string {
	names := []string{s.host(), strings.TrimSuffix(s.host(), ".cluster.local"), s.name + "." + s.namespace}
	if s.namespace == ownNamespace {
		names = append(names, s.name)
	}
	return append(names, s.ip)
}

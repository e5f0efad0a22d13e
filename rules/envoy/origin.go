package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// controlPlane is who made a configuration, as far as its bootstrap says.
type controlPlane uint8

const (
	anyPlane controlPlane = iota
	consulPlane
	kumaPlane
)

// maker is the control plane of a configuration with what the bootstrap says of the proxy.
type maker struct {
	plane controlPlane
	self  string // Consul: the service that the proxy stands for; Kuma: the Dataplane
	// sidecar says that Consul's proxy has a public listener: its other outbound listeners
	// are upstreams then, and not those of a gateway.
	sidecar bool
}

// readMaker reads who made the configuration. Consul's bootstrap asks "local_agent", or
// "consul-dataplane", for its resources (agent/xds/config.go, consul-dataplane's
// bootstrap); Kuma's says in the node's metadata what the proxy is (pkg/core/xds/metadata.go).
func (c *Config) readMaker() {
	node := c.boot().Field("node")
	for _, s := range c.boot().Path("dynamic_resources", "ads_config").Field("grpc_services").All() {
		if name := s.Path("envoy_grpc", "cluster_name"); name.Is("local_agent") || name.Is("consul-dataplane") {
			c.maker = maker{plane: consulPlane, self: node.Field("cluster").Str()}
		}
	}
	if node.Field("metadata").Key("dataplane.proxyType").Exists() {
		c.maker = maker{plane: kumaPlane, self: node.Field("id").Str()}
	}
	for _, h := range c.heads {
		c.maker.sidecar = c.maker.sidecar || c.maker.plane == consulPlane && strings.HasPrefix(h.entry.name, consulPublic)
	}
}

// origin is the object that a control plane made a virtual host, route or filter chain
// from: as Istio notes it in metadata.filter_metadata.istio.config, or Envoy Gateway in
// envoy-gateway.resources, of which the first is named, or as the name itself says; empty
// where nobody says.
func origin(n tree.Node) string {
	meta := n.Path("metadata", "filter_metadata")
	if s := meta.Key("istio").Field("config").Str(); s != "" {
		return s
	}
	r := meta.Key("envoy-gateway").Field("resources").Index(0)
	if !r.Exists() {
		return kumaResource(n.Field("name").Str())
	}
	s := r.Field("kind").Str() + " "
	if ns := r.Field("namespace").Str(); ns != "" {
		s += ns + "/"
	}
	s += r.Field("name").Str()
	if section := r.Field("sectionName", "section_name").Str(); section != "" {
		s += " " + section
	}
	return s
}

// object is an origin in the words of kubectl: Istio notes the path of an object in the API, with
// its kind in lower case (pilot/pkg/networking/util, BuildConfigInfoMetadata).
func object(origin string) string {
	f := strings.Split(origin, "/") // "" apis GROUP VERSION namespaces NAMESPACE KIND NAME
	if len(f) != 8 || f[0] != "" || f[1] != "apis" || f[4] != "namespaces" {
		return origin
	}
	kind := ""
	for _, w := range strings.Split(f[6], "-") {
		if w != "" {
			kind += strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return kind + " " + f[5] + "/" + f[7]
}

// listenerOrigin is origin of a listener.
func (c *Config) listenerOrigin(n tree.Node) string {
	name := n.Field("name").Str()
	s := origin(n)
	if s == "" {
		s = c.consulListener(name, n)
	}
	if s == "" {
		s = c.kumaListener(name, n)
	}
	return s
}

// clusterOrigin is origin of a cluster.
func (c *Config) clusterOrigin(n tree.Node) string {
	name := n.Field("name").Str()
	s := origin(n)
	if s == "" {
		s = c.consulCluster(name)
	}
	if s == "" {
		s = c.kumaCluster(name)
	}
	return s
}

// policyOrigin is the object that an RBAC policy was made from; prefix is the filter's
// stat_prefix, which tells it where no policy matched.
func (c *Config) policyOrigin(policy, prefix string) string {
	switch {
	case strings.HasPrefix(policy, "consul-intentions-layer"), prefix == "connect_authz":
		return "Consul intentions" + after(" for ", c.consulSelf())
	case policy == "MeshTrafficPermission" && c.maker.plane == kumaPlane:
		return "Kuma MeshTrafficPermission" // of several their names are not kept
	}
	// Istio: ns[NAMESPACE]-policy[NAME]-rule[N].
	ns, rest, ok := strings.Cut(strings.TrimPrefix(policy, "ns["), "]-policy[")
	name, rule, ok2 := strings.Cut(rest, "]-rule[")
	if !ok || !ok2 || !strings.HasPrefix(policy, "ns[") || !strings.HasSuffix(rule, "]") {
		return ""
	}
	return "AuthorizationPolicy " + ns + "/" + name + " rule " + strings.TrimSuffix(rule, "]")
}

const (
	consulPublic   = "public_listener:"
	consulOutbound = "outbound_listener:"
)

// consulSelf is the service whose proxy this is.
func (c *Config) consulSelf() string {
	if c.maker.plane != consulPlane {
		return ""
	}
	return c.maker.self
}

// consulListener reads the name of a listener: KIND:IP:PORT (agent/xds/listeners.go,
// makeListener).
func (c *Config) consulListener(name string, n tree.Node) string {
	of := after(" of ", c.consulSelf())
	switch {
	case strings.HasPrefix(name, consulPublic):
		return "Consul proxy" + of + ", its public listener"
	case strings.HasPrefix(name, consulOutbound):
		return "Consul transparent proxy" + of
	case !c.maker.sidecar || n.Field("traffic_direction").Enum() != "OUTBOUND":
		return ""
	}
	a, ok := readAddress(n.Field("address"))
	upstream, found := strings.CutSuffix(name, ":"+a.Addr().String()+":"+strconv.Itoa(int(a.Port())))
	if !ok || !found || upstream == "" || strings.HasPrefix(upstream, "exposed_path_") || upstream == "virtual_dns" {
		return ""
	}
	if query, ok := strings.CutPrefix(upstream, "prepared_query:"); ok {
		return "Consul upstream" + of + ", prepared query " + query
	}
	return "Consul upstream" + of + ", service " + upstream
}

// consulCluster reads the name of a cluster, which is the SNI of what it leads to
// (agent/connect/sni.go), perhaps behind a prefix that ends in "~" (agent/xds/clusters.go).
func (c *Config) consulCluster(name string) string {
	if c.maker.plane == consulPlane {
		switch name {
		case "local_app":
			return "Consul proxy" + after(" of ", c.maker.self) + ", its local app"
		case "original-destination":
			return "Consul transparent proxy" + after(" of ", c.maker.self) + ", what is no service of the mesh"
		}
	}
	sni, ok := strings.CutSuffix(name, ".consul")
	if !ok {
		return ""
	}
	how := ""
	if i := strings.LastIndexByte(sni, '~'); i >= 0 {
		switch prefix := sni[:i]; {
		case strings.HasPrefix(prefix, "failover-target"):
			how = ", a failover target"
		case prefix == "passthrough":
			how = ", its instances by their own addresses"
		case prefix == "exported":
			how = ", exported to peers"
		}
		sni = sni[i+1:]
	}
	what := consulSNI(strings.Split(sni, "."))
	if what == "" {
		return ""
	}
	return "Consul " + what + how
}

// consulSNI words the labels of an SNI up to the trust domain's first.
func consulSNI(l []string) string {
	if len(l) < 3 {
		return ""
	}
	subset := ""
	kind, l := l[len(l)-2], l[:len(l)-2]
	if kind == "internal" && len(l) == 4 || kind == "internal-v1" && len(l) == 5 {
		subset, l = ", subset "+l[0]+" of its service-resolver", l[1:]
	}
	switch {
	case kind == "internal" && len(l) == 1:
		return "datacenter " + l[0] + " by its mesh gateways"
	case kind == "internal" && len(l) == 3:
		return "service " + l[0] + " namespace " + l[1] + " datacenter " + l[2] + subset
	case kind == "internal-v1" && len(l) == 4:
		return "service " + l[0] + " namespace " + l[1] + " partition " + l[2] + " datacenter " + l[3] + subset
	case kind == "external" && len(l) == 3:
		return "service " + l[0] + " namespace " + l[1] + " peer " + l[2]
	case kind == "external" && len(l) == 4:
		return "service " + l[0] + " namespace " + l[1] + " partition " + l[2] + " peer " + l[3]
	case kind == "query" && len(l) == 3:
		return "prepared query " + l[0] + " datacenter " + l[2]
	}
	return ""
}

// kumaListener reads a listener's tags, or its name: inbound:IP:PORT, outbound:IP:PORT
// (pkg/xds/envoy/names/resource_names.go), outbound:passthrough:ipv4.
func (c *Config) kumaListener(name string, n tree.Node) string {
	way, _, _ := strings.Cut(name, ":")
	self := after(" of ", c.kumaSelf())
	switch name {
	case "outbound:passthrough:ipv4", "outbound:passthrough:ipv6", "inbound:passthrough:ipv4", "inbound:passthrough:ipv6":
		return "Kuma transparent proxy" + self + ", " + way + " passthrough"
	case "kuma:envoy:admin":
		return "Kuma, for Envoy's admin"
	}
	tags := n.Path("metadata", "filter_metadata").Key("io.kuma.tags")
	service := kumaService(tags.Key("kuma.io/service").Str())
	if s := kumaResource(tags.Key("kuma.io/unified-name").Str()); s != "" {
		return s
	}
	switch {
	case way == "inbound" && (service != "" || c.maker.plane == kumaPlane):
		return "Kuma Dataplane" + after(" ", c.kumaSelf()) + after(", inbound of ", service)
	case way == "outbound" && service != "":
		return "Kuma " + service
	}
	return ""
}

func (c *Config) kumaSelf() string {
	if c.maker.plane != kumaPlane {
		return ""
	}
	return c.maker.self
}

// kumaCluster reads the name of a cluster: localhost:PORT, a value of kuma.io/service, or
// MESH_NAME_NAMESPACE_ZONE_KIND_PORT.
func (c *Config) kumaCluster(name string) string {
	if name == "kuma:envoy:admin" {
		return "Kuma, for Envoy's admin"
	}
	if c.maker.plane != kumaPlane {
		return ""
	}
	switch {
	case strings.HasPrefix(name, "outbound:passthrough:"), strings.HasPrefix(name, "inbound:passthrough:"):
		way, _, _ := strings.Cut(name, ":")
		return "Kuma transparent proxy" + after(" of ", c.maker.self) + ", " + way + " passthrough"
	case strings.HasPrefix(name, "localhost:"):
		return "Kuma Dataplane" + after(" ", c.maker.self) + ", its app on port " + strings.TrimPrefix(name, "localhost:")
	}
	if l := strings.Split(name, "_"); len(l) == 6 && kumaKind(l[4]) != "" {
		return "Kuma " + kumaKind(l[4]) + " " + inNamespace(l[2], l[1]) + " port " + l[5] + " mesh " + l[0] + after(" zone ", l[3])
	}
	if s := kumaService(name); strings.HasPrefix(s, "Service ") {
		return "Kuma " + s
	}
	return ""
}

// kumaService words a value of the tag kuma.io/service, which of a Kubernetes Service is
// NAME_NAMESPACE_svc_PORT, or without a port NAME_NAMESPACE_svc (ServiceTagFor).
func kumaService(tag string) string {
	l := strings.Split(tag, "_")
	switch {
	case tag == "":
		return ""
	case len(l) == 4 && l[2] == "svc":
		return "Service " + l[1] + "/" + l[0] + " port " + l[3]
	case len(l) == 3 && l[2] == "svc":
		return "Service " + l[1] + "/" + l[0]
	}
	return "service " + tag
}

// kumaKind is the kind of one of Kuma's resources by its short name; empty where that is
// not known.
func kumaKind(short string) string {
	switch short {
	case "msvc":
		return "MeshService"
	case "mzsvc":
		return "MeshMultiZoneService"
	case "extsvc":
		return "MeshExternalService"
	case "mhttpr":
		return "MeshHTTPRoute"
	case "mtcpr":
		return "MeshTCPRoute"
	case "mtp":
		return "MeshTrafficPermission"
	case "dp":
		return "Dataplane"
	}
	return ""
}

// kumaResource reads Kuma's identifier of a resource (pkg/core/kri):
// kri_KIND_MESH_ZONE_NAMESPACE_NAME_SECTION. None of the parts but the last holds "_".
func kumaResource(name string) string {
	if !strings.HasPrefix(name, "kri_") {
		return ""
	}
	l := strings.SplitN(name, "_", 7)
	if len(l) != 7 || l[1] == "" || l[5] == "" {
		return ""
	}
	return "Kuma " + orDefault(kumaKind(l[1]), l[1]) + " " + inNamespace(l[4], l[5]) + after(" section ", l[6]) + after(" mesh ", l[2]) + after(" zone ", l[3])
}

func inNamespace(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// after is what, behind a word, where there is one.
func after(word, what string) string {
	if what == "" {
		return ""
	}
	return word + what
}

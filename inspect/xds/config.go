// Package xds is a small control plane: it serves the listeners and clusters of one static Envoy
// configuration over ADS, swaps the egress policy in them while Envoy runs, calls a swap applied
// only when Envoy acknowledged it, its workers have it, its admin shows it, and takes a policy
// back when its time is over. It writes no file but the socket by which it is asked.
package xds

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshtop/meshtop/inspect/xds/api"
)

// Config is one static configuration, apart: what is served, and what stays in the bootstrap.
type Config struct {
	file      string
	stays     object // the bootstrap without what is served
	listeners []object
	clusters  []object // and those that the policies need, at the end
	block     string   // the cluster without hosts
	open      string   // the cluster that dials where the connection was going
}

// Parse reads an Envoy configuration, YAML or JSON, as Envoy reads it. An error names the file,
// the line and the field.
func Parse(file string, data []byte) (*Config, error) {
	b := fresh(bootstrapType)
	if err := readMessage(file, data, b); err != nil {
		return nil, err
	}
	if b.has("dynamic_resources") {
		return nil, fmt.Errorf("%s: it has dynamic_resources: another control plane serves this Envoy", file)
	}
	c := &Config{file: file, listeners: b.list("static_resources.listeners"), stays: b}
	if len(c.listeners) == 0 {
		return nil, fmt.Errorf("%s: static_resources has no listener: there is nothing to serve", file)
	}
	b.put("static_resources.listeners")
	if err := c.nameListeners(); err != nil {
		return nil, err
	}
	for _, l := range c.listeners {
		if err := servable(l, "listener "+l.text("name")); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := c.takeClusters(); err != nil {
		return nil, err
	}
	return c, nil
}

// nameListeners names those without a name: over ADS a listener is known by its name alone, and
// one without would be a new one at each swap.
func (c *Config) nameListeners() error {
	names := map[string]bool{}
	for _, l := range c.listeners {
		if l.text("name") == "" {
			a := l.at("address.socket_address")
			l.set("name", fmt.Sprintf("%s_%d", a.text("address"), a.number("port_value")))
		}
		if names[l.text("name")] {
			return fmt.Errorf("%s: two listeners are named %q", c.file, l.text("name"))
		}
		names[l.text("name")] = true
	}
	return nil
}

// takeClusters takes the clusters that are served out of the bootstrap. One that another part of
// the bootstrap names stays in it: Envoy wants those static.
func (c *Config) takeClusters() error {
	all := c.stays.list("static_resources.clusters")
	c.stays.put("static_resources.clusters")
	named := map[string]bool{}
	texts(c.stays, func(s string) { named[s] = true })
	names := map[string]bool{}
	var static []object
	for _, cl := range all {
		name := cl.text("name")
		if names[name] {
			return fmt.Errorf("%s: two clusters are named %q", c.file, name)
		}
		names[name] = true
		if err := servable(cl, "cluster "+name); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if named[name] {
			static = append(static, cl)
			continue
		}
		c.clusters = append(c.clusters, cl)
	}
	c.stays.put("static_resources.clusters", static...)
	if names[adsCluster] {
		return fmt.Errorf("%s: a cluster is named %q, which is the control plane's own name here", c.file, adsCluster)
	}
	var err error
	if c.block, err = c.policyCluster(names, "BlockAllCluster", blocks, "type: STATIC"); err == nil {
		c.open, err = c.policyCluster(names, "AllowAll", opens, "type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED")
	}
	return err
}

// policyCluster is the name of a cluster that does what a policy needs: the one that is usually
// named so, or one that is added, of the kind that is given. Both are served from the start, so that
// a swap changes listeners only, and is one message.
func (c *Config) policyCluster(names map[string]bool, name string, does func(object) bool, kind string) (string, error) {
	for _, cl := range c.clusters {
		if cl.text("name") == name && does(cl) {
			return name, nil
		}
	}
	for names[name] {
		name = "meshtop-" + name
	}
	made, err := written(clusterType, "{ name: %v, connect_timeout: %v, "+kind+" }", name, defaultConnect)
	c.clusters = append(c.clusters, made)
	return name, err
}

// blocks says that a cluster has no host and never gets one.
func blocks(cl object) bool {
	return cl.text("type") == "STATIC" && !cl.has("cluster_type") && len(cl.list("load_assignment.endpoints")) == 0
}

// opens says that a cluster dials the original destination in plain text, and no other.
func opens(cl object) bool {
	dst := cl.at("original_dst_lb_config")
	return cl.text("type") == "ORIGINAL_DST" && !cl.has("cluster_type") && !cl.has("transport_socket") &&
		len(cl.list("transport_socket_matches")) == 0 && !dst.truth("use_http_header") &&
		!dst.has("metadata_key") && !dst.has("upstream_port_override")
}

// servable refuses what would ask ADS for more than listeners and clusters: Envoy would wait for
// it for ever.
func servable(o object, where string) error {
	asks := false
	messages(o, func(o object) {
		asks = asks || o.is("envoy.config.core.v3.ConfigSource") && (o.has("ads") || o.has("self"))
	})
	if asks {
		return fmt.Errorf("%s: its configuration asks ADS for more, and only listeners and clusters are served", where)
	}
	return nil
}

// messages visits o and every message in it, into each Any.
func messages(o object, visit func(object)) {
	visit(o)
	if o.is(anyType) {
		if in, ok := o.inside(); ok {
			messages(in, visit)
		}
		return
	}
	o.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					messages(object{v.Message()}, visit)
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				messages(object{v.List().Get(i).Message()}, visit)
			}
		default:
			messages(object{v.Message()}, visit)
		}
		return true
	})
}

// texts visits every single text in o.
func texts(o object, visit func(string)) {
	messages(o, func(o object) {
		o.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if fd.Kind() == protoreflect.StringKind && !fd.IsList() && !fd.IsMap() {
				visit(v.String())
			}
			return true
		})
	})
}

// adsCluster is the name of the cluster by which Envoy reaches the control plane.
const adsCluster = "meshtop-controlplane"

// Bootstrap is the configuration to start Envoy with, as YAML: everything that is not served, and
// how to reach the control plane at serve. Node and cluster get a name where they have none, since
// ADS needs both.
func (c *Config) Bootstrap(serve netip.AddrPort) ([]byte, error) {
	b := c.stays.clone()
	b.set("node.id", or(b.text("node.id"), "meshtop"))
	b.set("node.cluster", or(b.text("node.cluster"), "meshtop"))
	ads, err := adsClusterAt(serve)
	if err != nil {
		return nil, err
	}
	b.put("static_resources.clusters", append(b.list("static_resources.clusters"), ads)...)
	dynamic, err := written("envoy.config.bootstrap.v3.Bootstrap.DynamicResources", `
lds_config: { resource_api_version: V3, ads: {} }
cds_config: { resource_api_version: V3, ads: {} }
ads_config: { api_type: GRPC, transport_api_version: V3, grpc_services: { envoy_grpc: { cluster_name: %v } } }`, adsCluster)
	if err != nil {
		return nil, err
	}
	b.put("dynamic_resources", dynamic)
	return asYAML(b)
}

// adsClusterAt is the cluster of the control plane. Pings find a control plane whose machine died.
func adsClusterAt(serve netip.AddrPort) (object, error) {
	return written(clusterType, `
name: %v
type: STATIC
connect_timeout: %v
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: %v, timeout: %v } } }
load_assignment:
  cluster_name: %v
  endpoints: { lb_endpoints: { endpoint: { address: { socket_address: { address: %v, port_value: %v } } } } }`,
		adsCluster, defaultConnect, pingEvery, pingPatience, adsCluster, serve.Addr(), serve.Port())
}

// asYAML is a message as people write Envoy's configuration. Texts stay quoted: yaml-cpp takes more
// words for bools than others do.
func asYAML(o object) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true, Resolver: api.Types{}}.Marshal(o.Interface())
	if err != nil {
		return nil, fmt.Errorf("write the bootstrap: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("write the bootstrap: %w", err)
	}
	unflow(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("write the bootstrap: %w", err)
	}
	return out.Bytes(), nil
}

// unflow puts each field on its own line, and takes the quotes off the names of fields.
func unflow(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && !strings.HasPrefix(e.Value, "@") {
			e.Style = 0
		}
		unflow(e)
	}
}

// admin is where the configuration has the admin interface; zero: it has none that is reached by
// address.
func (c *Config) admin() netip.AddrPort {
	a := c.stays.at("admin.address.socket_address")
	ip, err := netip.ParseAddr(a.text("address"))
	port := a.number("port_value")
	if err != nil || port == 0 || port > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(port))
}

// bound says whether a listener has a socket of its own; one that has none is only handed
// connections by another. Old configurations say so in deprecated_v1, which Envoy still reads.
func bound(l object) bool {
	return !denies(l, "bind_to_port") && !denies(l, "deprecated_v1.bind_to_port")
}

// denies says whether a google.protobuf.BoolValue is set, and false.
func denies(o object, path string) bool { return o.has(path) && !o.truth(path+".value") }

// captures says whether a listener takes connections that were going elsewhere: it asks the kernel
// where.
func captures(l object) bool {
	if hands(l) {
		return true
	}
	for _, f := range l.list("listener_filters") {
		if strings.HasSuffix(f.text("typed_config.type_url"), ".original_dst.v3.OriginalDst") {
			return true
		}
	}
	return false
}

// hands says whether a listener hands a connection to the listener of its original destination
// (Listener.use_original_dst).
func hands(l object) bool { return l.truth("use_original_dst.value") }

// inbound says whether a listener takes what comes to the pod.
func inbound(l object) bool { return l.text("traffic_direction") == "INBOUND" }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

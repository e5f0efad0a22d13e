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

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshtop/meshtop/inspect/xds/api"
)

// Config is one static configuration, apart: what is served, and what stays in the bootstrap.
type Config struct {
	file      string
	stays     *bootstrap.Bootstrap // without what is served
	listeners []*listener.Listener
	clusters  []*cluster.Cluster // and those that the policies need, at the end
	block     string             // the cluster without hosts
	open      string             // the cluster that dials where the connection was going
}

// Parse reads an Envoy configuration, YAML or JSON, as Envoy reads it. An error names the file,
// the line and the field.
func Parse(file string, data []byte) (*Config, error) {
	b := &bootstrap.Bootstrap{}
	if err := readMessage(file, data, b); err != nil {
		return nil, err
	}
	if b.DynamicResources != nil {
		return nil, fmt.Errorf("%s: it has dynamic_resources: another control plane serves this Envoy", file)
	}
	if len(b.GetStaticResources().GetListeners()) == 0 {
		return nil, fmt.Errorf("%s: static_resources has no listener: there is nothing to serve", file)
	}
	c := &Config{file: file, listeners: b.StaticResources.Listeners, stays: b}
	b.StaticResources.Listeners = nil
	if err := c.nameListeners(); err != nil {
		return nil, err
	}
	for _, l := range c.listeners {
		if err := servable(l, "listener "+l.Name); err != nil {
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
		if l.Name == "" {
			a := l.GetAddress().GetSocketAddress()
			l.Name = fmt.Sprintf("%s_%d", a.GetAddress(), a.GetPortValue())
		}
		if names[l.Name] {
			return fmt.Errorf("%s: two listeners are named %q", c.file, l.Name)
		}
		names[l.Name] = true
	}
	return nil
}

// takeClusters takes the clusters that are served out of the bootstrap. One that another part of
// the bootstrap names stays in it: Envoy wants those static.
func (c *Config) takeClusters() error {
	all := c.stays.StaticResources.Clusters
	c.stays.StaticResources.Clusters = nil
	named := map[string]bool{}
	texts(c.stays.ProtoReflect(), func(s string) { named[s] = true })
	names := map[string]bool{}
	var static []*cluster.Cluster
	for _, cl := range all {
		if names[cl.Name] {
			return fmt.Errorf("%s: two clusters are named %q", c.file, cl.Name)
		}
		names[cl.Name] = true
		if err := servable(cl, "cluster "+cl.Name); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if named[cl.Name] {
			static = append(static, cl)
			continue
		}
		c.clusters = append(c.clusters, cl)
	}
	c.stays.StaticResources.Clusters = static
	if names[adsCluster] {
		return fmt.Errorf("%s: a cluster is named %q, which is the control plane's own name here", c.file, adsCluster)
	}
	c.block = c.policyCluster(names, "BlockAllCluster", blocks, &cluster.Cluster{
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}})
	c.open = c.policyCluster(names, "AllowAll", opens, &cluster.Cluster{LbPolicy: cluster.Cluster_CLUSTER_PROVIDED,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_ORIGINAL_DST}})
	return nil
}

// policyCluster is the name of a cluster that does what a policy needs: the one that is usually
// named so, or made is added. Both are served from the start, so that a swap changes listeners
// only, and is one message.
func (c *Config) policyCluster(names map[string]bool, name string, does func(*cluster.Cluster) bool, made *cluster.Cluster) string {
	for _, cl := range c.clusters {
		if cl.Name == name && does(cl) {
			return name
		}
	}
	for names[name] {
		name = "meshtop-" + name
	}
	made.Name, made.ConnectTimeout = name, durationpb.New(defaultConnect)
	c.clusters = append(c.clusters, made)
	return name
}

// blocks says that a cluster has no host and never gets one.
func blocks(cl *cluster.Cluster) bool {
	return cl.GetType() == cluster.Cluster_STATIC && cl.GetClusterType() == nil && len(cl.GetLoadAssignment().GetEndpoints()) == 0
}

// opens says that a cluster dials the original destination in plain text, and no other.
func opens(cl *cluster.Cluster) bool {
	return cl.GetType() == cluster.Cluster_ORIGINAL_DST && cl.GetClusterType() == nil && cl.TransportSocket == nil &&
		len(cl.TransportSocketMatches) == 0 && !cl.GetOriginalDstLbConfig().GetUseHttpHeader() &&
		cl.GetOriginalDstLbConfig().GetMetadataKey() == nil && cl.GetOriginalDstLbConfig().GetUpstreamPortOverride() == nil
}

// servable refuses what would ask ADS for more than listeners and clusters: Envoy would wait for
// it for ever.
func servable(m proto.Message, where string) error {
	asks := false
	messages(m.ProtoReflect(), func(m protoreflect.Message) {
		if d := m.Descriptor(); d.FullName() == "envoy.config.core.v3.ConfigSource" {
			asks = asks || m.Has(d.Fields().ByName("ads")) || m.Has(d.Fields().ByName("self"))
		}
	})
	if asks {
		return fmt.Errorf("%s: its configuration asks ADS for more, and only listeners and clusters are served", where)
	}
	return nil
}

// messages visits m and every message in it, into each Any.
func messages(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	if m.Descriptor().FullName() == "google.protobuf.Any" {
		if in, err := inside(m); err == nil {
			messages(in, visit)
		}
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					messages(v.Message(), visit)
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				messages(v.List().Get(i).Message(), visit)
			}
		default:
			messages(v.Message(), visit)
		}
		return true
	})
}

// inside is the message in an Any.
func inside(a protoreflect.Message) (protoreflect.Message, error) {
	fields := a.Descriptor().Fields()
	t, err := api.Types{}.FindMessageByURL(a.Get(fields.ByName("type_url")).String())
	if err != nil {
		return nil, err
	}
	m := t.New()
	return m, proto.Unmarshal(a.Get(fields.ByName("value")).Bytes(), m.Interface())
}

// texts visits every single text in m.
func texts(m protoreflect.Message, visit func(string)) {
	messages(m, func(m protoreflect.Message) {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
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
	b := proto.CloneOf(c.stays)
	if b.Node == nil {
		b.Node = &core.Node{}
	}
	b.Node.Id, b.Node.Cluster = or(b.Node.Id, "meshtop"), or(b.Node.Cluster, "meshtop")
	ads, err := adsClusterAt(serve)
	if err != nil {
		return nil, err
	}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, ads)
	overADS := func() *core.ConfigSource {
		return &core.ConfigSource{ResourceApiVersion: core.ApiVersion_V3, ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
	}
	b.DynamicResources = &bootstrap.Bootstrap_DynamicResources{
		LdsConfig: overADS(), CdsConfig: overADS(),
		AdsConfig: &core.ApiConfigSource{ApiType: core.ApiConfigSource_GRPC, TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: adsCluster}}}}},
	}
	return asYAML(b)
}

// adsClusterAt is the cluster of the control plane. Pings find a control plane whose machine died.
func adsClusterAt(serve netip.AddrPort) (*cluster.Cluster, error) {
	http2 := &core.Http2ProtocolOptions{ConnectionKeepalive: &core.KeepaliveSettings{
		Interval: durationpb.New(pingEvery), Timeout: durationpb.New(pingPatience)}}
	options, err := anypb.New(&upstreams.HttpProtocolOptions{UpstreamProtocolOptions: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2}}}})
	if err != nil {
		return nil, err
	}
	addr := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: serve.Addr().String(), PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(serve.Port())}}}}
	host := &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: addr}}}
	return &cluster.Cluster{
		Name: adsCluster, ConnectTimeout: durationpb.New(defaultConnect),
		ClusterDiscoveryType:          &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
		LoadAssignment: &endpoint.ClusterLoadAssignment{ClusterName: adsCluster,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{host}}}},
	}, nil
}

// asYAML is a message as people write Envoy's configuration. Texts stay quoted: yaml-cpp takes more
// words for bools than others do.
func asYAML(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true, Resolver: api.Types{}}.Marshal(m)
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
	a := c.stays.GetAdmin().GetAddress().GetSocketAddress()
	ip, err := netip.ParseAddr(a.GetAddress())
	if err != nil || a.GetPortValue() == 0 || a.GetPortValue() > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(a.GetPortValue()))
}

// bound says whether a listener has a socket of its own; one that has none is only handed
// connections by another.
func bound(l *listener.Listener) bool {
	own := l.GetBindToPort() == nil || l.GetBindToPort().GetValue()
	//lint:ignore SA1019 Envoy still reads it, and old configurations have nothing else
	old := l.GetDeprecatedV1().GetBindToPort()
	return own && (old == nil || old.GetValue())
}

// captures says whether a listener takes connections that were going elsewhere: it asks the kernel
// where.
func captures(l *listener.Listener) bool {
	if hands(l) {
		return true
	}
	for _, f := range l.ListenerFilters {
		if strings.HasSuffix(f.GetTypedConfig().GetTypeUrl(), ".original_dst.v3.OriginalDst") {
			return true
		}
	}
	return false
}

// hands says whether a listener hands a connection to the listener of its original destination
// (Listener.use_original_dst).
func hands(l *listener.Listener) bool { return l.GetUseOriginalDst().GetValue() }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

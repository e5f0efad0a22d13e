package xds

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meshtop/meshtop/inspect/xds/api"
)

// The messages that are read, changed and written here.
const (
	bootstrapType = "envoy.config.bootstrap.v3.Bootstrap"
	chainType     = "envoy.config.listener.v3.FilterChain"
	clusterType   = "envoy.config.cluster.v3.Cluster"
	filterType    = "envoy.config.listener.v3.Filter"
	listenerType  = "envoy.config.listener.v3.Listener"
	rangeType     = "envoy.config.core.v3.CidrRange"
	requestType   = "envoy.service.discovery.v3.DiscoveryRequest"
	responseType  = "envoy.service.discovery.v3.DiscoveryResponse"
	tcpProxyType  = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	anyType       = "google.protobuf.Any"
)

// object is a message of Envoy's API. Its fields are named by their way from it, as in
// "address.socket_address.address". A field that the API does not have is a mistake in this package,
// and panics.
type object struct{ protoreflect.Message }

// fresh is an empty message.
func fresh(name string) object {
	t, err := api.Types{}.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		panic(fmt.Sprintf("Envoy's API has no %s: %v", name, err))
	}
	return object{t.New()}
}

// written is a message as a file would have it; args are put in quoted.
func written(name, format string, args ...any) (object, error) {
	for i, a := range args {
		args[i] = string(quote(fmt.Sprint(a)))
	}
	o := fresh(name)
	return o, readMessage("the control plane's own "+name, fmt.Appendf(nil, format, args...), o)
}

// find is the message that a path ends in, not set where it is not there, and the field.
func (o object) find(path string) (protoreflect.Message, protoreflect.FieldDescriptor) {
	for m := o.Message; ; {
		name, rest, more := strings.Cut(path, ".")
		fd := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			panic(fmt.Sprintf("%s has no field %q", m.Descriptor().FullName(), name))
		}
		if !more {
			return m, fd
		}
		m, path = m.Get(fd).Message(), rest
	}
}

// is says whether the message is of the type.
func (o object) is(name string) bool { return string(o.Descriptor().FullName()) == name }

// has says whether a field is set.
func (o object) has(path string) bool {
	m, fd := o.find(path)
	return m.Has(fd)
}

// text is the value of a field as text: of an enum the name, "" where it is unknown.
func (o object) text(path string) string {
	m, fd := o.find(path)
	if fd.Enum() == nil {
		return m.Get(fd).String()
	}
	if v := fd.Enum().Values().ByNumber(m.Get(fd).Enum()); v != nil {
		return string(v.Name())
	}
	return ""
}

func (o object) number(path string) uint32 {
	m, fd := o.find(path)
	return uint32(m.Get(fd).Uint())
}

func (o object) truth(path string) bool {
	m, fd := o.find(path)
	return m.Get(fd).Bool()
}

// at is the message in a field, an empty one where it is not set.
func (o object) at(path string) object {
	m, fd := o.find(path)
	return object{m.Get(fd).Message()}
}

// list is the messages in a field.
func (o object) list(path string) (out []object) {
	m, fd := o.find(path)
	for i := range m.Get(fd).List().Len() {
		out = append(out, object{m.Get(fd).List().Get(i).Message()})
	}
	return out
}

// mutable is find, and makes what is not there on the way.
func (o object) mutable(path string) (protoreflect.Message, protoreflect.FieldDescriptor) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		m, fd := o.mutable(path[:i])
		return object{m.Mutable(fd).Message()}.find(path[i+1:])
	}
	return o.find(path)
}

// set puts a bool, text or number into a field.
func (o object) set(path string, v any) {
	m, fd := o.mutable(path)
	m.Set(fd, protoreflect.ValueOf(v))
}

// put puts messages into a field; none clears it.
func (o object) put(path string, some ...object) {
	m, fd := o.mutable(path)
	m.Clear(fd)
	for _, s := range some {
		if fd.IsList() {
			m.Mutable(fd).List().Append(protoreflect.ValueOfMessage(s.Message))
		} else {
			m.Set(fd, protoreflect.ValueOfMessage(s.Message))
		}
	}
}

func (o object) clone() object { return object{proto.Clone(o.Interface()).ProtoReflect()} }

func (o object) size() int { return proto.Size(o.Interface()) }

func (o object) equal(p object) bool { return proto.Equal(o.Interface(), p.Interface()) }

// fill makes an Any hold a message.
func (o object) fill(url string, m protoreflect.Message) error {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		return err
	}
	o.set("type_url", url)
	o.set("value", raw)
	return nil
}

// pack is an Any that holds o.
func (o object) pack() (object, error) {
	out := fresh(anyType)
	return out, out.fill("type.googleapis.com/"+string(o.Descriptor().FullName()), o)
}

// inside is the message in an Any; ok is false where it is of no type of the API, or none of its own.
func (o object) inside() (in object, ok bool) {
	t, err := api.Types{}.FindMessageByURL(o.text("type_url"))
	if err != nil {
		return object{}, false
	}
	_, fd := o.find("value")
	in = object{t.New()}
	return in, proto.Unmarshal(o.Get(fd).Bytes(), in.Interface()) == nil
}

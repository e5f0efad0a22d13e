package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// Place is where a listener takes connections, as far as the index tells without decoding it.
type Place struct {
	Name  string
	Addrs []netip.AddrPort // TCP only
	Binds bool             // it has sockets of its own; false: connections are handed over to it
	// Direction is traffic_direction. Valid iff Directed.
	Direction flow.Direction
	Directed  bool
	Ref       string // for Raw; empty: only its name and addresses were read
}

// Places are the active listeners, in order of the text, and after them those of /listeners
// that the dump's parts do not hold.
func (c *Config) Places() []Place {
	if c == nil {
		return nil
	}
	var out []Place
	for _, l := range c.listeners.all {
		if l.internal {
			continue
		}
		p := Place{Name: l.name, Binds: l.binds, Direction: l.direction, Directed: l.directed, Ref: l.reference()}
		p.add(l.addrs)
		out = append(out, p)
	}
	for _, l := range c.live {
		if l.name == "" || c.listeners.byName[l.name] == nil && !c.listeners.unnamed(l) {
			p := Place{Name: l.name}
			p.add(l.addrs)
			if l.name != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

func (p *Place) add(addrs []listenAddr) {
	for _, a := range addrs {
		if a.proto == flow.TCP {
			p.Addrs = append(p.Addrs, a.AddrPort)
		}
	}
}

// unnamed says whether a line of /listeners is of a listener that has no name in the
// configuration: Envoy gives it one (a UUID), and its address tells it.
func (t *listeners) unnamed(l liveListener) bool {
	for _, a := range l.addrs {
		if k := t.byAddr[a.key()]; k != nil && k.name == "" {
			return true
		}
	}
	return false
}

// AdminLayer is what the layer of the runtime holds that /runtime_modify writes, by key. No
// where the bootstrap has none; Maybe where the bootstrap or /runtime was not read. Without
// any layered_runtime there is none; with an empty list of layers there is one, whose name is
// empty (source/server/configuration_impl.cc, InitialImpl).
func (c *Config) AdminLayer() (map[string]string, flow.Answer) {
	if c == nil || c.bootstrap == nil {
		return nil, flow.Maybe
	}
	layered := c.boot().Field("layered_runtime")
	if !layered.Exists() {
		return nil, flow.No
	}
	name, found := "", len(layered.Field("layers").List()) == 0
	for _, l := range layered.Field("layers").List() {
		if l.Field("admin_layer").Exists() {
			name, found = l.Field("name").Str(), true
		}
	}
	switch {
	case !found:
		return nil, flow.No
	case !c.runtimeRead:
		return nil, flow.Maybe
	}
	return c.layerValues(name), flow.Yes
}

// layerValues is what one layer says, from the values by layer that /runtime lists.
func (c *Config) layerValues(layer string) map[string]string {
	out := map[string]string{}
	for at, l := range c.runtimeDoc.Field("layers").List() {
		if l.Str() != layer {
			continue
		}
		for key, e := range c.runtimeDoc.Field("entries").Members() {
			if values := e.Field("layer_values").List(); at < len(values) && values[at].Str() != "" {
				out[key] = values[at].Str()
			}
		}
	}
	return out
}

// RouteTable is the raw JSON of a route table that came by RDS.
func (c *Config) RouteTable(name string) ([]byte, bool) {
	if c == nil || c.routes[name] == nil {
		return nil, false
	}
	e := c.routes[name]
	return e.part.raw[e.start:e.end], true
}

package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Endpoints are the endpoints of the clusters by address, each with its cluster as Parent: of
// clusters that list them themselves, and of what EDS gave; at most so many. all says whether
// that is all of them.
func (c *Config) Endpoints(most int) (out []Object, all bool) {
	if c == nil {
		return nil, true
	}
	for _, e := range c.entries {
		if e.state != active {
			continue
		}
		var n tree.Node
		switch e.res {
		case staticClusters, dynamicActiveClusters:
			n = e.decode().Field("load_assignment")
		case staticEndpointConfigs, dynamicEndpointConfigs:
			n = e.decode()
		}
		for _, g := range n.Field("endpoints").All() {
			for _, host := range g.Field("lb_endpoints").All() {
				if len(out) == most {
					return out, false
				}
				out = append(out, Object{flow.Endpoint, addressOf(host.Field("endpoint").Field("address")), e.name, reference(host)})
			}
		}
	}
	return out, true
}

// addressOf is an address as people write it; empty: it has another form.
func addressOf(n tree.Node) string {
	if s := n.Field("socket_address"); s.Exists() {
		port := s.Field("named_port").Str()
		if port == "" {
			port = strconv.FormatUint(s.Field("port_value").Uint(0), 10)
		}
		host := s.Field("address").Str()
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host + ":" + port
	}
	if p := n.Field("pipe").Field("path").Str(); p != "" {
		return "unix:" + p
	}
	return n.Field("envoy_internal_address").Field("server_listener_name").Str()
}

package envoy

import (
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// http hands the connection to the HTTP connection manager: hcm is its typed config
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager).
// It ends the pass.
func (p *pass) http(hcm tree.Node) {
	p.stop(flow.RouteConfig, hcm.Field("stat_prefix").Str(), flow.Because(flow.WhyNotModelled, "HTTP"), hcm)
}

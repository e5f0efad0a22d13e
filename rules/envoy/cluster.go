package envoy

import "github.com/meshtop/meshtop/rules/flow"

// toCluster looks the cluster up, chooses a host, and adds the steps of both. The callers
// are tcp_proxy and the HTTP router.
func (p *pass) toCluster(name string, h lbHints) fate {
	p.need(flow.Cluster, partCluster, name)
	return fate{unknown: true}
}

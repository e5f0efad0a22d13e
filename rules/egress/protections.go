package egress

import (
	"bytes"

	"github.com/meshtop/meshtop/rules/flow"
)

// protections are what the proxy does for a connection that one around it would lack: TLS to
// the endpoint, and filters that ask who is allowed what.
func (p *pod) protections(t flow.Trace) []flow.Reason {
	var out []flow.Reason
	add := func(r flow.Reason) {
		for _, have := range out {
			if have == r {
				return
			}
		}
		out = append(out, r)
	}
	spoken := false // what Envoy speaks to the endpoint is known
	var clusters []flow.Step
	for _, leg := range t.Legs {
		for _, s := range leg.Steps {
			switch k := s.Reason.Kind; {
			case k == flow.WhyTLSUpstream:
				spoken = true
				add(s.Reason)
			case k == flow.WhyNoSocket, k == flow.WhySocketMatch:
				spoken = true
			case guards[k]:
				add(s.Reason)
			case s.Stage == flow.Cluster:
				clusters = append(clusters, s)
			}
		}
	}
	for _, s := range clusters {
		if !spoken && p.encrypts(s) {
			add(flow.Because(flow.WhyTLSConfigured, s.Subject))
		}
	}
	return out
}

// guards are filters that decide who is allowed what.
var guards = map[flow.ReasonKind]bool{
	flow.WhyNetRBACAllows: true, flow.WhyNetRBACDenies: true, flow.WhyRBACAllows: true, flow.WhyRBACDenies: true,
	flow.WhyAskOutside: true, flow.WhyJWTRequires: true, flow.WhyService: true,
}

// encrypts says whether a cluster whose endpoint was never asked for has a transport socket
// that encrypts, for all of its hosts or for some.
func (p *pod) encrypts(cluster flow.Step) bool {
	for _, e := range cluster.Evidence {
		raw, ok := p.s.Envoy.Raw(e.Ref)
		if !ok {
			raw = []byte(e.Text)
		}
		if bytes.Contains(raw, []byte(".UpstreamTlsContext")) || bytes.Contains(raw, []byte(".QuicUpstreamTransport")) {
			return true
		}
	}
	return false
}

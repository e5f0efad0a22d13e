package flow

// ReasonKind numbers the reasons that a step can have. Each room numbers its own from
// a base of its own, in a file of its own; rules/render has one sentence for each, and
// a test there checks that none is missing.
type ReasonKind uint16

// Bases of the rooms' reasons.
const (
	NoReason        ReasonKind = 0
	reasonJoin      ReasonKind = 1    // rules: joining kernel and proxy
	reasonNetfilter ReasonKind = 100  // rules/netfilter
	reasonEnvoyL4   ReasonKind = 300  // rules/envoy up to the network filters, clusters, endpoints
	reasonEnvoyHTTP ReasonKind = 600  // rules/envoy inside the HTTP connection manager
	reasonConfirm   ReasonKind = 900  // rules/confirm
	reasonEgress    ReasonKind = 950  // rules/egress
	reasonEnd       ReasonKind = 1000 // above every reason
)

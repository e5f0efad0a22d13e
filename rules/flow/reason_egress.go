package flow

// Reasons of rules/egress: what a connection around the proxy would lack, where no trace says
// it already.
const (
	WhyTLSConfigured = reasonEgress + iota // the cluster has a transport socket that encrypts. Args: cluster
	egressEnd
)

// EgressReasons are all reasons of rules/egress, for the test of rules/render.
func EgressReasons() (from, to ReasonKind) { return reasonEgress, egressEnd }

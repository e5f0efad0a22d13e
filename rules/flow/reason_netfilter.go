package flow

// Reasons of rules/netfilter.
const (
	netfilterFirst = reasonNetfilter + iota
	netfilterEnd
)

// NetfilterReasons are all reasons of rules/netfilter, for the test of rules/render.
func NetfilterReasons() (from, to ReasonKind) { return netfilterFirst + 1, netfilterEnd }

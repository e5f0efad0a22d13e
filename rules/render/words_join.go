package render

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// joinWords words the reasons of flow/reason_join.go; empty for a kind that is not its own.
func joinWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyAppSocket:
		return "a socket of uid " + a[1] + " connects to " + a[0]
	case flow.WhyPeerSocket:
		return "a peer at " + strings.TrimSuffix(a[0], ":0") + " connects"
	case flow.WhyToApp:
		return "delivered to " + or(a[1], "the application") + " at " + a[0]
	case flow.WhyToWire:
		return "leaves by " + a[0] + " to " + a[1]
	case flow.WhyNothingListens:
		return "nothing listens at " + a[0] + ": the kernel answers with a reset"
	case flow.WhyNoProxyConfig:
		return "the proxy takes it at " + a[0] + ", but its configuration was not read"
	case flow.WhyZtunnel:
		return or(a[1], "the mesh's node proxy (HBONE, port 15008)") + " takes it at " + a[0] + ": it has no Envoy admin to ask where it goes"
	case flow.WhyNoRules:
		return "no rules were read: taken as captured by listener " + a[0]
	case flow.WhyLoop:
		return "comes back to " + a[0] + ": the same connection again"
	case flow.WhyProxyUIDRules:
		return "the proxy's uid " + a[0] + " is taken from rule " + a[1]
	case flow.WhyProxyUIDUnknown:
		return "nothing tells the proxy's uid"
	case flow.WhyTooManyLegs:
		return "more than " + a[0] + " connections follow each other: not followed further"
	case flow.WhyForwarded:
		return "forwarded by " + a[0] + " to " + a[1]
	case flow.WhySourceChosen:
		return "the kernel chooses source address " + a[0] + " of " + a[1]
	case flow.WhyOnlyDevice:
		return "no routes were read: by " + a[0] + ", the only device that is not lo, with address " + a[1]
	case flow.WhyInDevice:
		return "nothing tells by which device it comes in: " + a[0] + " is taken"
	case flow.WhyDirectToListener:
		return "nothing redirects it: the connection goes straight to " + a[0]
	case flow.WhySocketsUnknown:
		return "sockets were not read: whether something listens at " + a[0] + " is not known"
	}
	return ""
}

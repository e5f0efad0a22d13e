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
	return namedWords(k, a)
}

// namedWords say where an address came from.
func namedWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNamedHosts:
		return a[0] + " is " + a[1] + ": " + a[2] + " of the pod has it"
	case flow.WhyNamedServer:
		return a[0] + " is " + a[1] + ": so the pod's name server " + a[2] + " answers inside the pod"
	case flow.WhyNamedVia:
		return "the pod's rules bring questions for " + a[0] + " to " + a[1] + ": who listens there has answered"
	case flow.WhyNamedProgram:
		return a[0] + " is " + a[1] + ": so " + a[2] + " answers"
	case flow.WhyNamedService:
		return a[0] + " is " + a[1] + ", as the API server has " + a[2] + "; the pod's own resolver was not asked"
	case flow.WhyNamedLocal:
		return a[0] + " is " + a[1]
	case flow.WhyNamedFirst:
		none := ""
		if a[2] != "" && a[2] != "0" {
			none = " (" + a[2] + " without a route from here)"
		}
		return "of " + a[1] + " addresses" + none + " " + a[0] + " is followed, which a client tries first"
	case flow.WhyNamedNot:
		return "where " + a[0] + " leads to is not known: " + a[1]
	case flow.WhyAddress:
		return a[0] + " is " + strings.TrimSpace(a[1]+" "+a[2])
	case flow.WhyNamesPartial:
		return "names of addresses: " + a[0]
	case flow.WhyNamedPicked:
		return "of " + a[1] + " addresses " + a[0] + " was chosen"
	}
	return ""
}

// NamedBy says in a few words who gave a name's address.
func NamedBy(n flow.Named) string {
	switch where := Clean(n.Where); n.By {
	case flow.NamedServer:
		if n.Via.IsValid() {
			return "name server " + where + ", by the rules " + n.Via.String()
		}
		return "name server " + where
	case flow.NamedService:
		return where + ", by the API server"
	case flow.NamedLocal:
		return ""
	default:
		return where
	}
}

package render

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// egressWords words the reasons of flow/reason_egress.go; empty for a kind that is not its own.
func egressWords(k flow.ReasonKind, a [3]string) string {
	if k == flow.WhyTLSConfigured {
		return "cluster " + a[0] + " has a transport socket that encrypts"
	}
	return ""
}

// ReachWord is one kind of traffic that a policy covers or does not, in words.
func ReachWord(r flow.Reach) string {
	whose := Clean(r.Whose)
	switch r.What {
	case "tcp4":
		return "TCP over IPv4" + after(" (", whose) + closing(whose)
	case "tcp6":
		return "TCP over IPv6" + after(" (", whose) + closing(whose)
	case "tcp":
		return "TCP to " + whose
	case "udp":
		return "UDP"
	case "dns":
		return "DNS over UDP"
	case "udp answers":
		return "the UDP answers of a server in the pod, which falls silent (DNS, QUIC)"
	case "protocols":
		return "ICMP, SCTP"
	case "packet sockets":
		return "packet sockets (NET_RAW)"
	case "forwarded":
		return "forwarded traffic"
	case "handoff":
		if whose == "" {
			return "destinations that have a listener of their own"
		}
		return "what is handed over to listener " + whose
	case "http":
		return whose
	case "proxy":
		if whose == "" {
			return "the proxy's own connections"
		}
		return "connections of " + whose + " (the proxy, and any process that becomes it)"
	case "loopback":
		return "loopback"
	case "own address":
		return "the pod's own address" + after(" ", whose)
	case "established":
		if whose == "" {
			return "connections that are open already"
		}
		return "connections that are open already (" + whose + ")"
	case "except":
		return whose + " (left as it is)"
	case "mixed":
		return whose + " of addresses without a listener of their own: some of its hosts are reached, and the kernel knows no hosts"
	case "excluded", "node", "plugin", "pods":
		return whose
	}
	return Clean(r.What) + after(" ", whose)
}

func closing(s string) string {
	if s == "" {
		return ""
	}
	return ")"
}

func reachWords(list []flow.Reach) string {
	var out []string
	for i, r := range list {
		if i == mostShown && len(list) > mostShown+1 {
			out = append(out, "and more (-o json has all)")
			break
		}
		out = append(out, ReachWord(r))
	}
	return strings.Join(out, "; ")
}

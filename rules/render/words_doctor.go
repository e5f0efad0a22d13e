package render

import "github.com/meshtop/meshtop/rules/doctor"

// doctorWords are the sentence of a finding and the next action; a are its arguments,
// already cleaned.
func doctorWords(k doctor.Kind, a [3]string) (what, next string) {
	for _, words := range []func(doctor.Kind, [3]string) (string, string){readWords, captureWords, exclusionWords, ruleWords, routeWords} {
		if what, next := words(k, a); what != "" {
			return what, next
		}
	}
	return "", ""
}

// readWords are of what could not be looked at.
func readWords(k doctor.Kind, a [3]string) (what, next string) {
	switch k {
	case doctor.NotRead:
		if a[1] == "" {
			return "no rules were read: nothing can be said of the interception", "read the pod as root, or give --iptables and --nft files"
		}
		return a[0] + " could not be read (" + a[1] + "): what stands there is not judged here", "read the pod again as root, with the tool that the reason names"
	case doctor.CannotTell:
		return "cannot tell where " + a[0] + " goes: it depends on " + or(a[1], "a rule that is not modelled"), "trace it with --why, and say how the rule answers with --pick"
	}
	return "", ""
}

// captureWords are of what is redirected at all.
func captureWords(k doctor.Kind, a [3]string) (what, next string) {
	switch k {
	case doctor.NoInterception:
		if a[0] != "" {
			return "no connection is redirected, though the proxy waits for redirected ones at " + a[0],
				"find out why the rules are gone: did the init container or the CNI plugin run, did another tool flush them afterwards?"
		}
		return "no connection is redirected to a proxy: by its rules this pod is not in the mesh", "if it should be, look at its injection label, its init container, and the CNI plugin's log"
	case doctor.OnlyOutbound:
		return "only outbound connections are redirected (to port " + a[0] + "): inbound ones reach the application past the proxy", "if that is not meant, redirect inbound ports too (Istio: includeInboundPorts)"
	case doctor.OnlyInbound:
		return "only inbound connections are redirected (to port " + a[0] + "): outbound ones leave past the proxy", "if that is not meant, redirect outbound ranges too (Istio: includeOutboundIPRanges)"
	case doctor.IPv6Bypass:
		if a[1] == "" {
			return a[0] + " IPv6 is not redirected, though IPv4 is; whether the pod has an IPv6 address was not read", "give the addresses (--addr), or redirect IPv6 too (ip6tables)"
		}
		return a[0] + " IPv6 goes past the proxy, though IPv4 is redirected: the pod has " + a[1], "redirect IPv6 too (ip6tables; Istio: dual stack), or take the pod's IPv6 address away"
	case doctor.IPv4Bypass:
		return a[0] + " IPv4 goes past the proxy, though IPv6 is redirected", "redirect IPv4 too (iptables)"
	case doctor.UDPBypass:
		if a[0] == "dns" {
			return "of UDP only DNS is redirected: other datagrams, such as QUIC, go past the proxy", "if policy must hold for UDP, block it with a NetworkPolicy"
		}
		return "UDP goes past the proxy, DNS and QUIC too", "if policy must hold for UDP, block it with a NetworkPolicy; for DNS turn on the mesh's DNS capture"
	}
	return "", ""
}

// exclusionWords are of what goes another way than the rest.
func exclusionWords(k doctor.Kind, a [3]string) (what, next string) {
	switch k {
	case doctor.ExcludedPorts:
		return a[0] + " " + a[2] + " connections to port " + a[1] + " go past the proxy", "if that is not meant, take the ports out of the exclusion (Istio: excludeInboundPorts, excludeOutboundPorts)"
	case doctor.OnlyPorts:
		return a[0] + " " + a[2] + " connections are redirected on port " + a[1] + " only", "if more is meant, widen the ports (Istio: includeInboundPorts, includeOutboundPorts)"
	case doctor.ExcludedRanges:
		return a[0] + " " + a[2] + " connections to " + a[1] + " go past the proxy", "if that is not meant, take the ranges out of the exclusion (Istio: excludeOutboundIPRanges)"
	case doctor.OnlyRanges:
		return a[0] + " " + a[2] + " connections are redirected to " + a[1] + " only", "if more is meant, widen the ranges (Istio: includeOutboundIPRanges)"
	case doctor.ExcludedOwners:
		return "connections of " + a[0] + " " + a[1] + " go past the proxy, and that is not the proxy alone", "run the application under another " + a[0] + ", or take the exemption away"
	}
	return "", ""
}

// ruleWords are of rules that cannot do what they were made for.
func ruleWords(k doctor.Kind, a [3]string) (what, next string) {
	switch k {
	case doctor.ProxyLoop:
		if a[0] == "" {
			return "no owner and no mark is exempt: the proxy's own connections come back to it at port " + a[1], "exempt the proxy's uid before the redirect (-m owner --uid-owner UID -j RETURN)"
		}
		return "the proxy's own connections (uid " + a[0] + ") are redirected to it again at port " + a[1], "exempt uid " + a[0] + " before the redirect, or run the proxy under the uid that is exempt"
	case doctor.BothBackends:
		return "both back ends hold rules, iptables-legacy (" + a[0] + ") and nf_tables (" + a[1] + "): the kernel runs both, each tool shows its own", "find out who wrote which, and take the stale ones away; do not trust one tool's list"
	case doctor.Shadowed:
		return a[0] + " can never match: " + a[1] + " takes every packet that it would", "take it away, or put it before " + a[1]
	case doctor.Unreachable:
		return "nothing leads to chain " + a[0] + ", though it has rules", "take it away, or jump to it from a base chain"
	case doctor.NatEmptied:
		return "the rules that lead to " + a[0] + " are gone: " + a[1] + " is empty, as after a flush by another tool", "make the mesh write its rules again (restart the pod), and find out who flushed the table"
	case doctor.NothingListens:
		return a[1] + " connections are redirected to " + a[0] + ", where nothing listens: they are refused", "look whether the proxy runs, and on which port it listens"
	case doctor.NoListener:
		return a[1] + " connections are redirected to " + a[0] + ", for which the proxy's configuration has no listener", "compare the rules' port with the proxy's listeners"
	}
	return "", ""
}

// routeWords are of routes that lead nowhere.
func routeWords(k doctor.Kind, a [3]string) (what, next string) {
	whose, change := "", "the route"
	if a[2] != "" {
		whose, change = a[2]+": ", a[2]
	}
	if a[1] == "" && (k == doctor.NoCluster || k == doctor.NoEndpoints) {
		return a[0] + " more lead nowhere in the same way", "trace a request to see where its route leads"
	}
	switch k {
	case doctor.NoCluster:
		return whose + "route " + a[0] + " sends to " + a[1] + ", a cluster that Envoy does not have: what takes it fails, with 503 by default (NC)",
			"correct the destination in " + change + ", or make the Service or subset that it names; a Sidecar object may leave it out, too"
	case doctor.NoEndpoints:
		return whose + "route " + a[0] + " sends to " + a[1] + ", which has no endpoints: what takes it fails with 503 (UH)",
			"look for ready pods behind it; if none are meant to be there, take it out of " + change
	}
	return "", ""
}

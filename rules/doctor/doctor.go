// Package doctor finds what keeps a pod out of its mesh: it sends packets through the
// recorded rules in thought, and looks for rules that cannot do what they were made for.
package doctor

import (
	"cmp"
	"slices"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// Kind says what was found. rules/render has the sentence and the next action of each.
type Kind uint8

const (
	NoKind         Kind = iota
	NotRead             // rules were not read. Args: part, reason
	CannotTell          // a rule that is not modelled decides. Args: the probe, what decides
	NoInterception      // nothing is redirected. Args: address at which the proxy waits, or ""
	OnlyOutbound        // Args: port that outbound connections go to
	OnlyInbound         // Args: port that inbound connections go to
	IPv6Bypass          // IPv4 is captured, IPv6 is not. Args: direction, a global IPv6 address or ""
	IPv4Bypass          // the other way round. Args: direction
	UDPBypass           // UDP goes past the proxy. Args: "dns" where port 53 is captured, else ""
	ExcludedPorts       // Args: direction, ports, family
	OnlyPorts           // only these are captured. Args: direction, ports, family
	ExcludedRanges      // destinations. Args: direction, ranges, family
	OnlyRanges          // Args: direction, ranges, family
	ExcludedOwners      // owners that are not the proxy's. Args: "uid" or "gid", ids
	ProxyLoop           // the proxy's own connections are captured. Args: uid or "", port
	BothBackends        // iptables-legacy and nf_tables both hold rules. Args: tables of the one, of the other
	Shadowed            // a rule that can never match. Args: the rule, the rule before it
	Unreachable         // a chain with rules that nothing jumps to. Args: chain
	NatEmptied          // the jump that captures is gone, its chain is left. Args: chain, base chain
	NothingListens      // connections are redirected to where nothing listens. Args: address, direction
	NoListener          // Envoy's configuration has no listener there. Args: address, direction
	NoCluster           // a route names a cluster that Envoy does not have. Args: route, cluster, the object that it was made from or ""; or how many more there are
	NoEndpoints         // the cluster of a route has no endpoints. Args: the same
	kindEnd
)

// Kinds are all kinds.
func Kinds() []Kind {
	out := make([]Kind, 0, kindEnd-1)
	for k := NotRead; k < kindEnd; k++ {
		out = append(out, k)
	}
	return out
}

var kindNames = [...]string{"", "not-read", "cannot-tell", "no-interception", "only-outbound", "only-inbound", "ipv6-bypass", "ipv4-bypass", "udp-bypass",
	"excluded-ports", "only-ports", "excluded-ranges", "only-ranges", "excluded-owners", "proxy-loop", "both-back-ends",
	"shadowed-rule", "unreachable-chain", "nat-emptied", "nothing-listens", "no-listener", "no-cluster", "no-endpoints"}

// String is the word that the JSON form uses.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "invalid"
}

// Severity says how bad a finding is. Unknown is the zero value: what cannot be told is
// neither fine nor broken.
type Severity uint8

const (
	Unknown Severity = iota // meshtop cannot tell
	Note                    // as meant by whoever made the rules, most likely; good to know
	Warning                 // traffic may go past the mesh
	Problem                 // the mesh does not work as it should
)

// String is the word that the JSON form uses.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "invalid"
}

var severityNames = [...]string{"unknown", "note", "warning", "problem"}

// Finding is one thing found: facts, of which rules/render makes sentences.
type Finding struct {
	Kind     Kind
	Severity Severity
	Args     [3]string       // by Kind
	Evidence []flow.Evidence // the rules that say so, at most maxEvidence
}

// maxEvidence bounds the rules that a finding names.
const maxEvidence = 8

func found(k Kind, s Severity, ev []flow.Evidence, args ...string) Finding {
	f := Finding{Kind: k, Severity: s, Evidence: ev[:min(len(ev), maxEvidence)]}
	copy(f.Args[:], args)
	return f
}

// Examine looks a snapshot over. The worst findings come first.
func Examine(s *rules.Snapshot) []Finding {
	var out []Finding
	var unread []flow.Gap
	for _, g := range s.Gaps {
		if slices.Contains(ruleParts, g.Part) {
			unread = append(unread, g)
		}
	}
	for _, g := range flow.Alike(unread) {
		out = append(out, found(NotRead, Unknown, nil, g.Part, g.Reason))
	}
	e := &examiner{snap: s, book: read(s.Files)}
	e.routes()
	if s.Rules == nil {
		return sorted(append(append(out, found(NotRead, Unknown, nil, "iptables-save", "")), e.out...))
	}
	e.words = e.book.words()
	e.interception()
	e.exclusions()
	e.owners()
	e.backEnds()
	e.chains()
	e.shadows()
	e.landing()
	return sorted(append(out, e.out...))
}

// sorted has the worst first.
func sorted(out []Finding) []Finding {
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(rank(b.Severity), rank(a.Severity)) })
	return out
}

// rank puts what cannot be told before notes: it may hide a problem.
func rank(s Severity) int {
	return [...]int{Unknown: 2, Note: 1, Warning: 3, Problem: 4}[s]
}

// examiner is one examination.
type examiner struct {
	snap  *rules.Snapshot
	book  book
	words words
	out   []Finding
	// What interception found; the other examinations build on it.
	outbound, inbound map[bool]probe // by IPv6
	undecided         map[string]bool
}

func (e *examiner) add(k Kind, s Severity, ev []flow.Evidence, args ...string) {
	e.out = append(e.out, found(k, s, ev, args...))
}

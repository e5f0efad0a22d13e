package doctor

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// probe is what becomes of one packet sent in thought.
type probe struct {
	known    bool           // every way that chance leaves open ends alike
	captured bool           // it ends at another local address than it was sent to
	to       netip.AddrPort // where the proxy accepts it; valid iff captured
	why      string         // what is not known; valid iff !known
	evidence []flow.Evidence
}

// maxWays bounds the ways of one probe.
const maxWays = 16

// send walks a packet through the rules, every way that is open.
func (e *examiner) send(p netfilter.Packet) probe {
	var first probe
	for ch, n := (&flow.Choices{}), 0; ch != nil && n < maxWays; ch, n = ch.Next(), n+1 {
		r := e.snap.Rules.Walk(e.snap.Host, p, ch)
		one := judge(p, r)
		if made := ch.Made(); !one.known && len(made) > 0 {
			one.why = made[len(made)-1].Choice.Ref
		}
		if n == 0 {
			first = one
			continue
		}
		if one.known != first.known || one.captured != first.captured || one.to != first.to {
			first.known = false
			if made := ch.Made(); len(made) > 0 {
				first.why = made[len(made)-1].Choice.Ref
			}
			return first
		}
	}
	return first
}

func judge(p netfilter.Packet, r netfilter.Result) probe {
	out := probe{known: r.Fate != netfilter.FateUnknown}
	var last flow.Step
	for _, s := range r.Steps {
		if s.Stage == flow.Netfilter && len(s.Evidence) > 0 && !isPolicy(s.Subject) {
			last = s
			if s.Verdict == flow.Unknown {
				out.why = s.Subject
			}
			out.evidence = append(out.evidence, s.Evidence[0])
		}
	}
	if n := len(out.evidence); n > maxEvidence {
		out.evidence = out.evidence[n-maxEvidence:]
	}
	if out.why == "" {
		out.why = last.Subject
	}
	if r.Fate == netfilter.FateLocal && (r.Transparent || r.To.Dst != p.Dst) {
		out.captured, out.to = true, r.To.Dst
		if r.Transparent {
			out.to = r.Listener
		}
	}
	return out
}

func isPolicy(subject string) bool {
	const word = " policy"
	return len(subject) > len(word) && subject[len(subject)-len(word):] == word
}

// Probes are sent to and from addresses that nobody has (RFC 5737, RFC 3849), so that only
// rules that mean everybody take them; the first that no rule names is used.
var (
	strangers4 = []string{"203.0.113.7", "198.51.100.7", "192.0.2.7", "8.8.8.8"}
	strangers6 = []string{"2001:db8:7::7", "2001:db8:8::7", "2600::7"}
)

// stranger is an address that no rule names.
func (e *examiner) stranger(v6 bool) netip.Addr {
	list := strangers4
	if v6 {
		list = strangers6
	}
	for _, s := range list {
		a := netip.MustParseAddr(s)
		named := false
		for _, n := range e.words.nets {
			named = named || n.Contains(a)
		}
		if !named {
			return a
		}
	}
	return netip.MustParseAddr(list[0])
}

// appID is an owner that no rule names, so that only rules for everybody take it.
func (e *examiner) appID(kind string) uint32 {
	for id := uint32(1000); ; id++ {
		named := false
		for _, n := range e.words.owners[kind] {
			named = named || n == id || n+1 == id
		}
		if !named {
			return id
		}
	}
}

// common is the port of probes that ask about no port in particular: one that no rule
// names, else 80.
func (e *examiner) common() uint16 {
	for _, p := range []uint16{28080, 28081, 80} {
		named := false
		for _, n := range e.words.ports {
			named = named || n == p
		}
		if !named {
			return p
		}
	}
	return 80
}

// out is a packet of the application to a stranger.
func (e *examiner) outPacket(v6 bool, proto flow.Proto) netfilter.Packet {
	any := netip.IPv4Unspecified()
	if v6 {
		any = netip.IPv6Unspecified()
	}
	return netfilter.Packet{Proto: proto, Src: netip.AddrPortFrom(any, 0), Dst: netip.AddrPortFrom(e.stranger(v6), e.common()),
		UID: e.appID("uid"), GID: e.appID("gid")}
}

// inPacket is a packet of a stranger to the pod; ok is false where the pod has no address
// of the family.
func (e *examiner) inPacket(v6 bool, proto flow.Proto) (p netfilter.Packet, ok bool) {
	addr, ok := e.podAddr(v6)
	return netfilter.Packet{Dir: flow.Inbound, Proto: proto, Src: netip.AddrPortFrom(e.stranger(v6), 40000), Dst: netip.AddrPortFrom(addr, e.common())}, ok
}

func portText(p uint16) string { return strconv.Itoa(int(p)) }

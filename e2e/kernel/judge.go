package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// Outcome is one answer, of the kernel or of netfilter.Walk, in the words of a case.
type Outcome struct {
	Netfilter []string `json:"netfilter"` // rules hit, in order
	Fate      string   `json:"fate"`      // local, wire, forward, dropped, rejected, unknown
	Out       string   `json:"out,omitempty"`
	Src       string   `json:"src,omitempty"`
	To        string   `json:"to,omitempty"`
	Mark      uint32   `json:"mark,omitempty"`
	OrigDst   string   `json:"original_dst,omitempty"` // what SO_ORIGINAL_DST answers; "none" where it fails
}

var fateNames = [...]string{"unknown", "local", "wire", "forward", "dropped", "rejected"}

// Kernel is the kernel's answer.
func (s Seen) Kernel() Outcome {
	o := Outcome{Netfilter: s.Hits, Fate: fateNames[s.Fate]}
	if s.Dst.IsValid() {
		o.Src, o.To, o.Mark, o.Out = s.Src.String(), s.Dst.String(), s.Mark, s.Out
	}
	if s.Accepted && s.Fate == netfilter.FateLocal {
		o.OrigDst = "none"
		if s.OrigDst.IsValid() {
			o.OrigDst = s.OrigDst.String()
		}
	}
	return o
}

// Answer is one way that Walk says the packet can go.
type Answer struct {
	Outcome
	Choices []flow.Chosen
}

// maxAnswers bounds the ways that are followed; random sets have few.
const maxAnswers = 64

// Walks asks netfilter.Walk for every way that the packet can go.
func Walks(rs *netfilter.Ruleset, h *netfilter.Host, p netfilter.Packet) []Answer {
	var out []Answer
	for ch := (&flow.Choices{}); ch != nil && len(out) < maxAnswers; ch = ch.Next() {
		out = append(out, Answer{walked(rs.Walk(h, p, ch)), ch.Made()})
	}
	return out
}

func walked(r netfilter.Result) Outcome {
	o := Outcome{Fate: fateNames[r.Fate]}
	for _, s := range r.Steps {
		if last := s.Subject[strings.LastIndexByte(s.Subject, ' ')+1:]; s.Stage == flow.Netfilter && last != "" && last[0] >= '0' && last[0] <= '9' {
			o.Netfilter = append(o.Netfilter, s.Subject)
		}
	}
	switch r.Fate {
	case netfilter.FateLocal:
		o.OrigDst = "none"
		if r.OrigDst.IsValid() {
			o.OrigDst = r.OrigDst.String()
		}
	case netfilter.FateWire, netfilter.FateForward:
		o.Out = r.To.Out
	default:
		return o
	}
	o.Src, o.To, o.Mark = addrPort(r.To.Src), addrPort(r.To.Dst), r.To.Mark
	return o
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

func addrPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Agreement says how far Walk and the kernel agree on one packet.
type Agreement uint8

const (
	Disagree  Agreement = iota
	Agree               // one answer, and it is the kernel's
	AmongMany           // the kernel's answer is one of several that chance, or an order that nobody can read, decides
	Undecided           // the kernel's answer is one of several, and Walk did not know enough
)

// Judge compares Walk's answers with the kernel's.
func Judge(answers []Answer, kernel Outcome) Agreement {
	ok := slices.ContainsFunc(answers, func(a Answer) bool { return a.Same(kernel) })
	switch {
	case !ok && slices.ContainsFunc(answers, func(a Answer) bool { return a.Fate == "unknown" && a.follows(kernel) }):
		return Undecided
	case !ok:
		return Disagree
	case len(answers) == 1:
		return Agree
	}
	for _, a := range answers {
		for _, c := range a.Choices {
			// The order of two back ends at one priority cannot be read from outside.
			if c.Choice.Kind == flow.Unmodelled && !strings.HasPrefix(c.Choice.Ref, "order ") {
				return Undecided
			}
		}
	}
	return AmongMany
}

// Same says whether an answer is the kernel's. The kernel shows SO_ORIGINAL_DST only where
// a listener of the lab accepted, and a rejection only where the answer found its way back.
func (o Outcome) Same(kernel Outcome) bool {
	if kernel.OrigDst == "" {
		o.OrigDst = ""
	}
	if o.Fate == "rejected" && kernel.Fate == "dropped" {
		o.Fate = "dropped"
	}
	if addr, drawn := strings.CutSuffix(o.Src, ":0"); drawn && strings.HasPrefix(kernel.Src, addr+":") {
		o.Src = kernel.Src // the kernel draws the port of its own
	}
	a, b := byBackEnd(o.Netfilter), byBackEnd(kernel.Netfilter)
	o.Netfilter, kernel.Netfilter = nil, nil
	return slices.Equal(a, b) && fmt.Sprint(o) == fmt.Sprint(kernel)
}

// byBackEnd puts legacy rules before the others: the kernel tells of the two by two
// channels, each in order.
func byBackEnd(hits []string) []string {
	return append(ofBackEnd(hits, true), ofBackEnd(hits, false)...)
}

// follows says whether the kernel's rules begin with those of an answer that stops, in
// each back end.
func (o Outcome) follows(kernel Outcome) bool {
	for _, legacy := range []bool{true, false} {
		said, did := ofBackEnd(o.Netfilter, legacy), ofBackEnd(kernel.Netfilter, legacy)
		if len(said) > len(did) || !slices.Equal(said, did[:len(said)]) {
			return false
		}
	}
	return true
}

func ofBackEnd(hits []string, legacy bool) []string {
	return slices.DeleteFunc(slices.Clone(hits), func(h string) bool { return strings.HasPrefix(h, "legacy ") != legacy })
}

// String is the answer in one line.
func (o Outcome) String() string {
	return fmt.Sprintf("[%s] %s %s %s>%s mark %#x original %s", strings.Join(o.Netfilter, "; "), o.Fate, o.Out, o.Src, o.To, o.Mark, o.OrigDst)
}

package netfilter

import (
	"github.com/meshtop/meshtop/rules/flow"
)

// verdict is what a rule, a chain or a hook decides on a packet.
type verdict uint8

const (
	vUnknown verdict = iota // nothing is known beyond it
	vNext                   // go on with the next rule
	vBreak                  // nft: the rule does not match after all
	vAccept                 // this base chain lets it through
	vMapped                 // accept, and a mapping was set
	vReturn
	vJump
	vGoto
	vDrop
	vReject
)

// outcome is what an action did.
type outcome struct {
	verdict verdict
	to      *chain      // of a jump or goto
	why     flow.Reason // what a step says
	assumed []flow.Assumption
	failed  int // of vBreak: which condition failed, counted after the rule's own
}

// action is what a rule does once its conditions hold. Its sources are
// iptables-extensions(8) and the kernel's net/netfilter/xt_*.c and nft_*.c.
type action interface {
	do(w *walk) outcome
}

// pass is a rule without a target: it counts.
type pass struct{}

func (pass) do(*walk) outcome { return outcome{verdict: vNext, why: flow.Because(flow.WhyCounts)} }

// passive is a target that a packet's way does not depend on.
type passive struct{ name string }

func (a passive) do(*walk) outcome {
	return outcome{verdict: vNext, why: flow.Because(flow.WhyPassive, a.name)}
}

// final is a target that only decides.
type final struct {
	verdict verdict
	with    string // of a REJECT: what it answers
}

func (a final) do(*walk) outcome {
	k := flow.WhyVerdictAccept
	switch a.verdict {
	case vDrop:
		k = flow.WhyVerdictDrop
	case vReject:
		k = flow.WhyVerdictReject
	case vReturn:
		k = flow.WhyVerdictReturn
	case vNext:
		k = flow.WhyCounts
	}
	return outcome{verdict: a.verdict, why: flow.Because(k, a.with)}
}

// jump goes to another chain of the table.
type jump struct {
	name   string
	to     *chain // nil: there is no such chain
	noBack bool   // goto
}

func (a *jump) do(w *walk) outcome {
	if a.to == nil {
		return opaqueAct{}.do(w)
	}
	if a.noBack {
		return outcome{verdict: vGoto, to: a.to, why: flow.Because(flow.WhyGoto, a.to.name)}
	}
	return outcome{verdict: vJump, to: a.to, why: flow.Because(flow.WhyJump, a.to.name)}
}

// opaqueAct is a target that is not modelled: nothing is known beyond it, unless the user
// says how it goes on.
type opaqueAct struct{}

func (opaqueAct) do(w *walk) outcome {
	ref := w.ref()
	i := w.ch.Take(flow.Choice{Ref: ref, Kind: flow.Unmodelled, Options: []flow.Option{
		{Value: "unknown", Stop: true}, {Value: "no-match"}, {Value: "accept"}, {Value: "drop"}}})
	o := outcome{why: flow.Because(flow.WhyTargetNotModelled), assumed: []flow.Assumption{
		{Reason: flow.Because(flow.WhyTargetNotModelled), Flag: "--pick \"" + ref + "\"=" + []string{"unknown", "no-match", "accept", "drop"}[i]}}}
	o.verdict = []verdict{vUnknown, vNext, vAccept, vDrop}[i]
	return o
}

// setMark is MARK: the bits of mask are cleared, then those of value flipped
// (xt_mark.c, mark_tg).
type setMark struct{ value, mask uint32 }

func (a *setMark) do(w *walk) outcome {
	w.p.mark = w.p.mark&^a.mask ^ a.value
	return outcome{verdict: vNext, why: flow.Because(flow.WhySetMark, hex(w.p.mark))}
}

// connmarkMode is what CONNMARK does.
type connmarkMode uint8

const (
	connmarkSet connmarkMode = iota
	connmarkSave
	connmarkRestore
)

// setConnmark is CONNMARK (xt_connmark.c, connmark_tg_shift).
type setConnmark struct {
	mode                  connmarkMode
	value, ctmask, nfmask uint32
}

func (a *setConnmark) do(w *walk) outcome {
	p := &w.p
	if p.ct.state != newConn && p.ct.state != template {
		return outcome{verdict: vNext, why: flow.Because(flow.WhyConnmarkNoConn)}
	}
	if a.mode != connmarkRestore && a.ctmask == ^uint32(0) {
		p.ct.markUnknown = false
	}
	switch a.mode {
	case connmarkSave:
		p.ct.mark = p.ct.mark&^a.ctmask ^ p.mark&a.nfmask
	case connmarkRestore:
		if p.ct.markUnknown {
			return opaqueAct{}.do(w)
		}
		p.mark = p.mark&^a.nfmask ^ p.ct.mark&a.ctmask
		return outcome{verdict: vNext, why: flow.Because(flow.WhySetMark, hex(p.mark))}
	default:
		p.ct.mark = p.ct.mark&^a.ctmask ^ a.value
	}
	return outcome{verdict: vNext, why: flow.Because(flow.WhySetConnmark, hex(p.ct.mark))}
}

// setConn is CT: no tracking, or a zone, before conntrack has looked at the packet. A
// packet that has a connection, or none on purpose, is left alone (xt_CT.c).
type setConn struct {
	notrack      bool
	zone         uint16
	orig, reply  bool // directions that the zone is of
	zoneFromMark bool
	nft          bool // nft's ct zone set also takes an untracked packet (nft_ct.c)
}

func (a *setConn) do(w *walk) outcome {
	p := &w.p
	if p.ct.state == untracked && a.nft && !a.notrack {
		p.ct.state = noConn
	}
	if p.ct.state != noConn {
		return outcome{verdict: vNext, why: flow.Because(flow.WhyConnLate)}
	}
	if a.notrack {
		p.ct = conn{state: untracked}
		return outcome{verdict: vNext, why: flow.Because(flow.WhyNotrack)}
	}
	p.ct = conn{state: template, zoneFromMark: a.zoneFromMark, markUnknown: w.rs.marksTemplates}
	if a.orig {
		p.ct.zoneOrig = a.zone
	}
	if a.reply {
		p.ct.zoneRepl = a.zone
	}
	return outcome{verdict: vNext, why: flow.Because(flow.WhyZone, portWord(a.zone))}
}

package netfilter

import (
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// walk is one packet on its way. It is made anew for each Walk.
type walk struct {
	rs     *Ruleset
	h      *Host
	ch     *flow.Choices
	prefix string // of references
	p      packet
	before packet // as the conditions of the rule being run saw it
	from   tuple
	route  route // of the last look-up

	steps   []flow.Step
	misses  []flow.Miss // all of them; those from taken on are not a step's yet
	taken   int
	pending []flow.Assumption // for the next step

	chain    *chain // the rule being run, for its reference
	at       int
	refMade  string  // its reference, once made
	asked    []int32 // rules that asked before
	jumps    int
	fate     Fate // FateUnknown while it goes on
	ended    bool
	inNAT    bool
	tracking flow.Answer
}

// maxJumps bounds chains that go in circles by -g: the kernel refuses to load those, a
// hand-made file may hold them.
const maxJumps = 4096

// Walk follows one packet through the hooks. A nil Ruleset holds no rules, a nil Host is
// one that was not read.
func (rs *Ruleset) Walk(h *Host, p Packet, ch *flow.Choices) Result {
	if rs == nil {
		rs = &Ruleset{}
	}
	if ch == nil {
		ch = &flow.Choices{}
	}
	w := &walk{rs: rs, h: h.ready(), ch: ch, prefix: p.Ref}
	w.begin(p)
	from := w.p.conn()
	if !w.ended {
		if from = w.start(p); !w.ended {
			w.follow()
		}
	}
	return w.result(from)
}

// begin is the packet before anything looked at it.
func (w *walk) begin(p Packet) {
	dst := p.Dst.Addr().Unmap()
	w.p = packet{v6: dst.Is6(), proto: uint8(p.Proto), mark: p.Mark, host: w.h}
	w.p.tuple = tuple{src: toIP(p.Src.Addr()), dst: toIP(dst), sport: p.Src.Port(), dport: p.Dst.Port()}
	if p.Proto == flow.TCP {
		w.p.tcpFlags = flagSYN
	}
	if p.Proto == 0 || !dst.IsValid() {
		w.stop(flow.Step{Stage: flow.RouteLookup, Subject: p.Dst.String(), Reason: flow.Because(flow.WhyNoDestination)}, FateUnknown)
		return
	}
	w.tracking = w.rs.tracked[famIndex(w.p.v6)]
	if p.Dir == flow.Outbound {
		w.p.sock, w.p.uid, w.p.gid = fileSocket, p.UID, p.GID
		if p.NoSocket {
			w.p.sock = kernelSocket
		}
	} else {
		w.p.mark = 0
		w.p.in = p.In
	}
}

func famIndex(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// start chooses what the kernel chooses before the first hook: route and source, or the
// device that it comes in by. It answers the connection as its sender made it.
func (w *walk) start(p Packet) flow.Conn {
	chosen := !p.Src.Addr().IsValid() || p.Src.Addr().IsUnspecified()
	if p.Dir == flow.Outbound {
		w.p.srcUnknown = chosen && p.Borrowed
		w.p.srcAway = w.p.srcUnknown && !w.p.v6 && w.dropsMartians()
		w.outRoute(chosen && !p.Borrowed)
	} else {
		w.inDevice(chosen)
	}
	w.from = w.p.tuple
	return w.p.conn()
}

// follow goes through the hooks (net/ipv4/ip_output.c, ip_input.c, ip_forward.c).
func (w *walk) follow() {
	if w.p.in != "" {
		w.inbound()
		return
	}
	if !w.pass(output) {
		return
	}
	w.p.out = w.route.device()
	if !w.pass(postrouting) {
		return
	}
	w.p.ct.confirmed = w.p.ct.state == newConn
	if w.p.out != loopback {
		w.end(FateWire)
		return
	}
	// lo hands the packet back with its conntrack entry and its mark, without its socket.
	w.p.in, w.p.out, w.p.sock = loopback, "", noSocket
	if w.pass(prerouting) && w.pass(input) {
		w.end(FateLocal)
	}
}

func (w *walk) inbound() {
	if !w.pass(prerouting) || !w.inRoute() {
		return
	}
	if w.route.local() {
		if w.pass(input) {
			w.p.ct.confirmed = w.p.ct.state == newConn
			w.end(FateLocal)
		}
		return
	}
	w.p.out = w.route.device()
	if w.pass(forward) && w.pass(postrouting) {
		w.p.ct.confirmed = w.p.ct.state == newConn
		w.end(FateForward)
	}
}

func (w *walk) end(f Fate) { w.fate, w.ended = f, true }

// stop ends the walk with a step that says why.
func (w *walk) stop(s flow.Step, f Fate) {
	w.add(s)
	w.end(f)
}

// add appends a step and hands it what waited for one.
func (w *walk) add(s flow.Step) {
	s.Assumed = append(s.Assumed, w.pending...)
	w.pending = nil
	if n := len(w.misses); n > w.taken && s.Stage == flow.Netfilter {
		s.Passed, s.PassedTotal, s.Decision = w.misses[w.taken:n:n], n-w.taken, true
		s.Explain = &losers{w.rs, w.before}
		w.taken = n
	}
	w.steps = append(w.steps, s)
}

// pass runs a hook; false: the packet's way ends in it.
func (w *walk) pass(h hook) bool {
	w.p.hook = h
	plan := &w.rs.hooks[famIndex(w.p.v6)][h]
	for i := range plan.items {
		w.item(&plan.items[i])
		if w.ended {
			return false
		}
	}
	return true
}

// item runs one place of a hook.
func (w *walk) item(it *hookItem) {
	switch it.kind {
	case itemConntrack:
		w.track()
	case itemNAT:
		w.nat(it)
	default:
		w.ordered(it, func(chains []*chain) verdict {
			for _, c := range chains {
				if v := w.base(c); v != vAccept {
					return v
				}
			}
			return vAccept
		})
	}
}

// track makes the connection, if conntrack is on and nobody forbade it
// (nf_conntrack_core.c, nf_conntrack_in).
func (w *walk) track() {
	ct := &w.p.ct
	if w.tracking == flow.No || ct.state != noConn && ct.state != template {
		return
	}
	if ct.zoneFromMark {
		ct.zoneOrig, ct.zoneRepl = uint16(w.p.mark), uint16(w.p.mark)
	}
	*ct = conn{state: newConn, orig: w.p.tuple, zoneOrig: ct.zoneOrig, zoneRepl: ct.zoneRepl}
}

// nat runs the nat chains of a side, once in a connection's life
// (nf_nat_core.c, nf_nat_inet_fn).
func (w *walk) nat(it *hookItem) {
	ct := &w.p.ct
	dst := w.p.hook == prerouting || w.p.hook == output
	done := &ct.srcDone
	if dst {
		done = &ct.dstDone
	}
	if ct.state != newConn || *done {
		return
	}
	if it.meets != "" { // chains of other tables at this priority: which came first cannot be read
		w.pending = append(w.pending, flow.Assumption{Reason: flow.Because(flow.WhyOrderByAge, it.meets)})
	}
	was := w.p.dst
	w.inNAT = true
	w.ordered(it, func(chains []*chain) verdict {
		for _, c := range chains {
			if v := w.base(c); v != vAccept {
				return v
			}
		}
		return vAccept
	})
	w.inNAT = false
	w.p.ctDone(dst)
	if !w.ended && w.p.hook == output && w.p.dst != was {
		w.reroute()
	}
}

func (p *packet) ctDone(dst bool) {
	if dst {
		p.ct.dstDone = true
	} else {
		p.ct.srcDone = true
	}
}

// result is the answer once the walk has ended.
func (w *walk) result(from flow.Conn) Result {
	r := Result{From: from, To: w.p.conn(), Steps: w.steps, Fate: w.fate, Tracked: flow.Is(w.p.ct.state == newConn)}
	if w.tracking == flow.Maybe && w.p.ct.state == newConn {
		r.Tracked = flow.Maybe
	}
	if r.To.Out == "" && w.fate == FateLocal {
		r.To.In = w.p.in
	}
	if len(w.pending) > 0 && len(r.Steps) > 0 {
		last := &r.Steps[len(r.Steps)-1]
		last.Assumed = append(last.Assumed, w.pending...)
	}
	if w.fate != FateLocal {
		return r
	}
	r.Transparent, r.Listener = w.p.assigned.IsValid(), w.p.assigned
	// SO_ORIGINAL_DST looks the connection up by the reply's direction in the default zone
	// (nf_conntrack_proto.c, getorigdst), and only for TCP and SCTP.
	if w.p.ct.state == newConn && w.p.ct.zoneRepl == 0 && (w.p.proto == protoTCP || w.p.proto == protoSCTP) {
		r.OrigDst = netip.AddrPortFrom(w.p.ct.orig.dst.addr(w.p.v6), w.p.ct.orig.dport)
	}
	return r
}

// ref is how --pick names the rule being run; a rule that asks again, at another hook or
// in another turn of its chain, has a reference of its own.
func (w *walk) ref() string {
	if w.refMade != "" {
		return w.refMade
	}
	id, n := w.chain.first+int32(w.at), 1
	for _, a := range w.asked {
		if a == id {
			n++
		}
	}
	w.asked = append(w.asked, id)
	w.refMade = w.prefix + w.chain.subject(w.at)
	if n > 1 {
		w.refMade += " visit " + strconv.Itoa(n)
	}
	return w.refMade
}

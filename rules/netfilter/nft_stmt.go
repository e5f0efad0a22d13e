package netfilter

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// nftBuilder makes a rule of its statements.
type nftBuilder struct {
	r      *nftReader
	table  *table
	conds  []cond
	guards []cond
	steps  []seqStep
	xt     bool // something in it only iptables-save can print
	text   string
}

// sequence is what a rule of nft does after its leading matches: statements in order,
// with further matches between them. The kernel runs them in order too, so what stands
// before a match that fails has happened (nf_tables_core.c, nft_do_chain).
type sequence struct {
	guards []cond
	steps  []seqStep
}

// seqStep is a statement, or the guard of that number.
type seqStep struct {
	act   action
	guard int
}

func (s *sequence) needsConntrack(v6 bool) bool {
	for _, st := range s.steps {
		if n, ok := st.act.(needing); ok && n.needsConntrack(v6) {
			return true
		}
	}
	for _, g := range s.guards {
		if n, ok := g.test.(needing); ok && n.needsConntrack(v6) {
			return true
		}
	}
	return false
}

func (s *sequence) do(w *walk) outcome {
	last := outcome{verdict: vNext, why: flow.Because(flow.WhyCounts)}
	for _, st := range s.steps {
		if st.act == nil {
			switch a := s.guards[st.guard].ask(&w.p); {
			case a == flow.No, a == flow.Maybe && !w.guard(&s.guards[st.guard], &last):
				return outcome{verdict: vBreak, failed: st.guard}
			}
			continue
		}
		o := st.act.do(w)
		o.assumed = append(last.assumed, o.assumed...)
		switch {
		case o.why.Kind == flow.WhyCounts:
			o.why = last.why
		case last.why.Kind == flow.WhyTProxy && (o.verdict == vNext || o.verdict == vAccept):
			o.why = last.why // where the packet goes, not how its rule ends
		}
		if last = o; o.verdict != vNext {
			if o.verdict == vBreak {
				last.failed = len(s.guards)
			}
			return last
		}
	}
	return last
}

// guard decides a match between statements that nobody can.
func (w *walk) guard(c *cond, o *outcome) bool {
	r := rule{conds: []cond{*c}}
	a, failed := w.choose(&r)
	if failed >= 0 {
		w.pending = append(w.pending, a)
		return false
	}
	o.assumed = append(o.assumed, a)
	return true
}

// anyOf decodes JSON, numbers as they stand there; nil where it is none.
func anyOf(raw []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// Tests that a rule may hold and nft does not list: it takes them for what the test after
// them needs (src/payload.c, payload_dependency_kill; seen with 1.0.6).
const (
	unlistedProtocol = "(ct protocol, which nft does not list before th)"
	unlistedFamily   = "(meta nfproto, which nft does not list before ct protocol)"
)

// doubt adds a test of which nobody knows whether it is there.
func (b *nftBuilder) doubt(text string) {
	b.text = text
	b.test(opaqueTest{})
}

// says whether one of some phrases stands in a text as words of their own.
func says(text string, phrases ...string) bool {
	return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(" "+text+" ", " "+p+" ") })
}

func (b *nftBuilder) rule(it *nftItem) rule {
	protocol, family := false, b.table.family != "inet" // whether the list names them
	for _, raw := range it.Expr {
		v := anyOf(raw)
		text := nftText(v)
		asks := says(text, "ct protocol", "ct original protocol", "ct reply protocol")
		protocol = protocol || asks || says(text, "meta l4proto", "ip protocol", "ip6 nexthdr")
		bare := !protocol && says(text, "th sport", "th dport")
		verdicts := says(text, "vmap") // ends the rule: the doubt comes before
		if bare && verdicts {
			b.doubt(unlistedProtocol)
		}
		b.text = text
		b.statement(v)
		if bare && !verdicts { // another port leaves no doubt
			b.doubt(unlistedProtocol)
		}
		family = family || says(text, "meta nfproto", "meta protocol")
		if asks && !family {
			b.doubt(unlistedFamily)
		}
	}
	r := rule{conds: b.conds}
	switch {
	case len(b.steps) == 0:
		r.act = pass{}
	case len(b.steps) == 1 && b.steps[0].act != nil:
		r.act = b.steps[0].act
	default:
		r.act = &sequence{b.guards, b.steps}
	}
	return r
}

// test adds a match.
func (b *nftBuilder) test(t test) {
	c := cond{t, b.text}
	if m, ok := t.(*nftMatch); ok && len(b.steps) == 0 && len(b.conds) > 0 {
		if a, merged := m.besides(b.conds[len(b.conds)-1].test); merged {
			last := &b.conds[len(b.conds)-1]
			*last = cond{&mergedTest{a, m}, last.text + " " + b.text}
			return
		}
	}
	if len(b.steps) == 0 {
		b.conds = append(b.conds, c)
		return
	}
	b.steps = append(b.steps, seqStep{guard: len(b.guards)})
	b.guards = append(b.guards, c)
}

// act adds a statement that does something; maps that it looks into are asked first.
func (b *nftBuilder) act(a action, exprs ...expr) {
	for _, e := range exprs {
		if m, ok := e.(*mapExpr); ok {
			b.test(&lookupTest{*m})
		}
	}
	b.steps = append(b.steps, seqStep{act: a, guard: -1})
}

// statement reads one statement: an object with one key.
func (b *nftBuilder) statement(v any) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		b.act(opaqueAct{})
		return
	}
	for k, arg := range m {
		if b.verdict(k, m) || b.condition(k, arg) || b.change(k, arg) || b.nat(k, arg) {
			return
		}
		b.act(opaqueAct{})
	}
}

func (b *nftBuilder) verdict(k string, m map[string]any) bool {
	switch k {
	case "accept", "drop", "return", "continue":
		v, _ := readVerdict(m, b.table)
		b.act(final{verdict: v.verdict})
	case "jump", "goto":
		v, _ := readVerdict(m, b.table)
		if v.to == nil {
			b.r.gap("table %s: no chain %s", b.table.ref, quote(v.chain))
		}
		b.act(&jump{name: v.chain, to: v.to, noBack: v.verdict == vGoto})
	case "vmap":
		a, _ := m["vmap"].(map[string]any)
		key := b.key(a["key"])
		set := b.setOf(a["data"], key, mapOfVerdicts)
		if set == nil || !set.verdicts {
			b.act(opaqueAct{})
			return true
		}
		e := &mapExpr{key, set}
		b.act(&vmapAct{e}, e)
	case "reject":
		a, _ := m["reject"].(map[string]any)
		with, _ := a["type"].(string)
		b.rejects(with)
		if e, ok := a["expr"].(string); ok {
			with += " " + e
		}
		b.act(final{verdict: vReject, with: with})
	case "queue":
		b.act(opaqueAct{})
	default:
		return false
	}
	return true
}

// rejects adds the test that nft puts before an answer of one protocol, and leaves out of
// the listing (nft's src/evaluate.c, stmt_evaluate_reject).
func (b *nftBuilder) rejects(with string) {
	switch with {
	case "tcp reset":
		b.test(&protoTest{number: protoTCP})
	case "icmp":
		b.test(&nftMatch{left: []expr{b.expr(map[string]any{"meta": map[string]any{"key": "nfproto"}})}, op: "==", span: span{num{0, 2}, num{0, 2}}})
	case "icmpv6":
		b.test(&nftMatch{left: []expr{b.expr(map[string]any{"meta": map[string]any{"key": "nfproto"}})}, op: "==", span: span{num{0, 10}, num{0, 10}}})
	}
}

// condition reads what can break a rule off.
func (b *nftBuilder) condition(k string, arg any) bool {
	a, _ := arg.(map[string]any)
	inv, _ := a["inv"].(bool)
	if name, ok := arg.(string); ok {
		inv = b.r.objects[b.table.family+" "+b.table.name+" "+name]
	}
	switch k {
	case "match":
		b.test(b.match(arg))
	case "limit":
		b.test(&stateTest{flow.Is(!inv), "limit exceeded"})
	case "quota":
		b.test(&stateTest{flow.Is(!inv), "quota used up"})
	case "ct count":
		b.test(&stateTest{flow.Is(!inv), "too many connections"})
	case "set", "meter":
		if list, ok := a["stmt"].([]any); ok && strings.Contains(nftText(list), "limit") {
			b.test(&stateTest{flow.Yes, "limit exceeded"})
		}
		b.act(passive{k})
	case "xt":
		b.xt = true
		if a["type"] == "match" {
			b.test(opaqueTest{})
		} else {
			b.act(opaqueAct{})
		}
	default:
		return false
	}
	return true
}

// change reads what changes the packet or nothing that its way depends on.
func (b *nftBuilder) change(k string, arg any) bool {
	switch k {
	case "counter", "last":
		b.act(pass{})
	case "log", "ct helper", "ct timeout", "ct expectation", "dup", "flow", "secmark":
		b.act(passive{k})
	case "notrack":
		b.act(&setConn{notrack: true, nft: true})
	case "mangle":
		b.mangle(arg)
	default:
		return false
	}
	return true
}

func (b *nftBuilder) mangle(arg any) {
	a, _ := arg.(map[string]any)
	key, _ := a["key"].(map[string]any)
	for kind, v := range key {
		m, _ := v.(map[string]any)
		name, _ := m["key"].(string)
		dir, _ := m["dir"].(string)
		value := b.operand(tInteger, a["value"])
		switch {
		case kind == "meta" && name == "mark":
			b.act(&mangleAct{what: mangleMark, value: value}, value)
		case kind == "ct" && name == "mark":
			b.act(&mangleAct{what: mangleConnmark, value: value}, value)
		case kind == "ct" && name == "zone":
			b.act(&mangleAct{what: mangleZone, dir: dir, value: value}, value)
		case kind == "payload":
			b.payload(m, a["value"])
		case kind == "meta" || kind == "ct" || kind == "tcp option":
			b.act(passive{b.text})
		default:
			b.act(opaqueAct{})
		}
		return
	}
	b.act(opaqueAct{})
}

// payload reads "ip daddr set ..." and its like; other fields do not change the way.
func (b *nftBuilder) payload(m map[string]any, v any) {
	proto, _ := m["protocol"].(string)
	name, _ := m["field"].(string)
	f, ok := payloadField(proto, name)
	if !ok {
		b.act(passive{b.text})
		return
	}
	value := b.operand(f.typ, v)
	switch name {
	case "saddr":
		b.act(&mangleAct{what: mangleSrc, value: value, only: &f}, value)
	case "daddr":
		b.act(&mangleAct{what: mangleDst, value: value, only: &f}, value)
	case "sport":
		b.act(&mangleAct{what: mangleSport, value: value, only: &f}, value)
	case "dport":
		b.act(&mangleAct{what: mangleDport, value: value, only: &f}, value)
	default:
		b.act(passive{b.text})
	}
}

func (b *nftBuilder) nat(k string, arg any) bool {
	a, _ := arg.(map[string]any)
	family, _ := a["family"].(string)
	flags := nftText(a["flags"])
	switch k {
	case "redirect", "dnat", "snat", "masquerade":
	case "tproxy":
		t := &nftTProxy{family: family, addr: b.addrPart(a["addr"]), port: b.portPart(a["port"])}
		b.act(t, t.addr, t.port)
		return true
	default:
		return false
	}
	n := &nftNAT{natAct: natAct{src: k == "snat" || k == "masquerade", random: strings.Contains(flags, "random")}, family: family, addr: b.addrPart(a["addr"]), port: b.portPart(a["port"])}
	switch k {
	case "redirect":
		n.kind = natRedirect
	case "masquerade":
		n.kind = natMasquerade
	}
	n.netmap = strings.Contains(flags, "netmap")
	b.act(n, n.addr, n.port)
	return true
}

// addrPart is an address, a range or a map; nil: none is given.
func (b *nftBuilder) addrPart(v any) expr {
	if v == nil {
		return nil
	}
	return b.operand(guessType(v), v)
}

func (b *nftBuilder) portPart(v any) expr {
	if v == nil {
		return nil
	}
	return b.operand(tPort, v)
}

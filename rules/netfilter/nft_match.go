package netfilter

import (
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// nftMatch is one match statement.
type nftMatch struct {
	left []expr // more than one: a concatenation
	op   string
	span span      // the right side, if it is no set
	set  *nftSet   // the right side, if it is one
	odds [2]uint64 // of a draw: how many of its numbers match, and how many do not
}

func (t *nftMatch) ask(p *packet) flow.Answer {
	key, g := keyOf(t.left, p, nil)
	switch g {
	case gotNone:
		return flow.No // also where it is negated: the expression breaks the rule off
	case gotUnknown:
		return t.unknown(p)
	}
	if t.set != nil {
		at, sure := t.set.find(&key)
		a := flow.Is(at >= 0)
		if at < 0 && !sure {
			a = flow.Maybe
		}
		if t.op == "!=" {
			return a.Not()
		}
		return a
	}
	return flow.Is(t.compare(key[0]))
}

// unknown answers where the value is not known: a range of all values holds anyway.
func (t *nftMatch) unknown(p *packet) flow.Answer {
	switch {
	case t.odds[0] > 0 && t.odds[1] == 0:
		return flow.Yes
	case t.odds[0] == 0 && t.odds[1] > 0:
		return flow.No
	}
	if t.loopbackSource() && p.srcAway {
		return flow.Is(t.op == "!=")
	}
	if t.set == nil && len(t.left) == 1 && t.left[0].kind() == tPort && t.span.from.lo <= 1 && t.span.to.lo == 65535 {
		return flow.Is(t.op != "!=")
	}
	return flow.Maybe
}

// loopbackSource says whether the source address is compared with some of 127.0.0.0/8.
func (t *nftMatch) loopbackSource() bool {
	if t.set != nil || len(t.left) != 1 || t.op != "==" && t.op != "!=" {
		return false
	}
	f, ok := t.left[0].(*field)
	return ok && f.source && f.typ == tIPv4 && t.span.from.lo>>24 == 127 && t.span.to.lo>>24 == 127
}

func (t *nftMatch) compare(n num) bool {
	switch t.op {
	case "==":
		return t.span.has(n)
	case "!=":
		return !t.span.has(n)
	case "<":
		return n.less(t.span.from)
	case ">":
		return t.span.from.less(n)
	case "<=":
		return !t.span.from.less(n)
	case ">=":
		return !n.less(t.span.from)
	case "in":
		return !n.and(t.span.from).zero()
	}
	return n.and(t.span.from).zero() // "!"
}

func (t *nftMatch) fact(p *packet) (flow.ReasonKind, string) {
	key, g := keyOf(t.left, p, nil)
	switch g {
	case gotNone:
		return flow.WhyFieldNone, ""
	case gotUnknown:
		if t.draw() != nil {
			return flow.WhyDrawDecides, ""
		}
		if t.loopbackSource() && p.srcAway {
			return flow.WhyField, away
		}
		return flow.WhyMatchNotModelled, ""
	}
	return flow.WhyField, keyWord(t.left, key)
}

func keyWord(parts []expr, key [maxFields]num) string {
	s := ""
	for i, e := range parts {
		if i > 0 {
			s += " . "
		}
		s += valueWord(e.kind(), key[i])
	}
	return s
}

// valueWord is a value as nft writes it.
func valueWord(t nftType, n num) string {
	switch t {
	case tIPv4:
		return n.addr(false).String()
	case tIPv6:
		return n.addr(true).String()
	case tProto:
		return flow.Proto(n.lo).String()
	case tDevice:
		return strconv.Quote(deviceWord(n))
	case tFibType, tCtState, tCtDir, tNFProto, tEtherType, tTCPFlags, tARPHRD:
		for _, w := range typeWords(t) {
			if v, ok := constWord(t, w); ok && v == n {
				return w
			}
		}
	}
	return strconv.FormatUint(n.lo, 10)
}

func typeWords(t nftType) []string {
	switch t {
	case tCtState:
		return []string{"invalid", "new", "untracked"}
	case tFibType:
		return []string{"unicast", "local", "broadcast", "anycast", "multicast", "unreachable"}
	case tCtDir:
		return []string{"original"}
	case tNFProto:
		return []string{"ipv4", "ipv6"}
	case tEtherType:
		return []string{"ip", "ip6"}
	case tTCPFlags:
		return []string{"syn"}
	}
	return []string{"loopback", "ether"}
}

func deviceWord(n num) string {
	b := n.addr(true).As16()
	end := 0
	for end < len(b) && b[end] != 0 {
		end++
	}
	return string(b[:end])
}

// draw is the draw that the match compares, or nil.
func (t *nftMatch) draw() *drawExpr {
	if len(t.left) != 1 {
		return nil
	}
	d, _ := t.left[0].(*drawExpr)
	return d
}

// options are the odds of a draw.
func (t *nftMatch) options(*packet) (flow.ChoiceKind, []flow.Option) {
	o := []flow.Option{{Value: "match"}, {Value: "no-match"}}
	if d := t.draw(); d == nil || d.kinds != flow.Chance || t.odds == [2]uint64{} {
		return flow.Unmodelled, o
	}
	o[0].Weight, o[1].Weight = t.odds[0], t.odds[1]
	return flow.Chance, o
}

// count counts the numbers of a draw that match.
func (t *nftMatch) count() {
	d := t.draw()
	if d == nil || d.mod > 1<<16 {
		return
	}
	for i := range d.mod {
		n := num{0, d.offset + i}
		hit := t.set == nil && t.compare(n)
		if t.set != nil {
			at, _ := t.set.find(&[maxFields]num{n})
			hit = (at >= 0) != (t.op == "!=")
		}
		t.odds[boolInt(!hit)]++
	}
}

// mergedTest is two negated matches of fields that stand side by side in the header. nft
// 1.0.6 makes one comparison of both, which holds where either differs, and lists it as
// two, of which both must (src/rule.c, payload_try_merge): the listing does not tell which
// is loaded.
type mergedTest struct{ a, b *nftMatch }

func (t *mergedTest) ask(p *packet) flow.Answer {
	a, b := t.a.ask(p), t.b.ask(p)
	if a == b {
		return a
	}
	return flow.Maybe
}

func (t *mergedTest) fact(p *packet) (flow.ReasonKind, string) {
	if t.ask(p) == flow.Maybe {
		return flow.WhyNegatedPair, ""
	}
	return t.b.fact(p)
}

func (t *mergedTest) needsConntrack(bool) bool { return false }

// besides says whether t could be one comparison with the match before it.
func (t *nftMatch) besides(before test) (*nftMatch, bool) {
	a, ok := before.(*nftMatch)
	if !ok || a.op != "!=" || t.op != "!=" || a.set != nil || t.set != nil || !a.span.one() || !t.span.one() || len(a.left) > 1 || len(t.left) > 1 {
		return nil, false
	}
	f, ok1 := a.left[0].(*field)
	g, ok2 := t.left[0].(*field)
	return a, ok1 && ok2 && f.next != "" && f.next == g.name
}

// lookupTest is whether a map holds the packet's key: where it does not, the rule is
// broken off before the map's value is used.
type lookupTest struct{ mapExpr }

func (t *lookupTest) ask(p *packet) flow.Answer {
	for _, e := range t.key {
		if _, ok := e.(*drawExpr); ok {
			return flow.Yes // what is drawn, the statement chooses
		}
	}
	switch _, g := t.find(p, nil); g {
	case gotValue:
		return flow.Yes
	case gotNone:
		return flow.No
	}
	return flow.Maybe
}

func (t *lookupTest) fact(p *packet) (flow.ReasonKind, string) {
	return (&nftMatch{left: t.key, set: t.set}).fact(p)
}

// match reads {"op": ..., "left": ..., "right": ...}.
func (b *nftBuilder) match(v any) test {
	m, ok := v.(map[string]any)
	if !ok {
		return opaqueTest{}
	}
	t := &nftMatch{left: b.key(m["left"])}
	t.op, _ = m["op"].(string)
	switch t.op {
	case "==", "!=", "<", ">", "<=", ">=", "in", "!":
	case "":
		t.op = "==" // libnftables-json(5): the operator may be left out
	default:
		return opaqueTest{}
	}
	if right := m["right"]; isSet(right) {
		if t.set = b.setOf(right, t.left, setOnly); t.set == nil || t.op != "==" && t.op != "!=" && t.op != "in" {
			return opaqueTest{}
		}
		t.count()
		return t
	}
	return b.rightSide(t, m["right"])
}

func isSet(v any) bool {
	if s, ok := v.(string); ok {
		return len(s) > 1 && s[0] == '@'
	}
	m, ok := v.(map[string]any)
	return ok && m["set"] != nil
}

func (b *nftBuilder) rightSide(t *nftMatch, right any) test {
	if len(t.left) > 1 {
		// One concatenation is a set of one element.
		t.set = b.setOf(map[string]any{"set": []any{right}}, t.left, setOnly)
		if t.set.odd {
			return opaqueTest{}
		}
		return t
	}
	typ := t.left[0].kind()
	if yes, ok := right.(bool); ok && typ == tDevice { // fib ... oif missing: no device
		t.span = span{}
		t.op = "=="
		if yes {
			t.op = "!="
		}
		return t
	}
	s, ok := readSpan(typ, right)
	if !ok {
		return opaqueTest{}
	}
	t.span = s
	t.count()
	return t
}

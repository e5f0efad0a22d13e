package netfilter

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// ruleBuilder makes a rule of its words. It is used again for each rule; what it makes
// stands in slabs, so that a large save costs few allocations.
type ruleBuilder struct {
	r     *saveReader
	words []word
	slab  []cond
	jumps []pendingJump
	line  string
	at    int // the word that is read next
	// Of the rule being read:
	conds  []cond
	from   int    // where the words of the option being read begin
	begun  int    // where those of the last condition begin
	neg    bool   // a ! stands before the option being read
	match  string // module of the last -m
	mod    module
	target module
	act    action
	cause  string // the first thing that could not be read
	slabs  slabs
}

// slabs are the blocks from which the commonest small values are cut.
type slabs struct {
	addrs   []addrTest
	devices []deviceTest
	proto   *protoTest // the last one
	ports   []portTest
	marks   []markTest
	owners  []ownerTest
	jump    *jump // the last one
}

// cut gives one value of a slab.
func cut[T any](s *[]T) *T {
	if len(*s) == cap(*s) {
		*s = make([]T, 0, 256)
	}
	*s = (*s)[:len(*s)+1]
	return &(*s)[len(*s)-1]
}

// pendingJump is a jump to a chain that may stand further down.
type pendingJump struct {
	act  *jump
	line int
}

// module reads the options of one match or target. It says whether it knows the option.
type module interface {
	option(b *ruleBuilder, name string) bool
}

// rule reads a rule; cause says what of it could not be read. Such a rule is kept, with a
// condition or a target that nobody can decide.
func (b *ruleBuilder) rule(line string, words []word) (made rule, cause string) {
	b.line, b.words, b.at = line, words, 2
	if cap(b.slab)-len(b.slab) < 16 {
		b.slab = make([]cond, 0, 1024)
	}
	b.conds = b.slab[len(b.slab):]
	b.neg, b.match, b.mod, b.target, b.act, b.cause = false, "", nil, nil, nil, ""
	b.from = -1
	for b.at < len(b.words) {
		w := b.words[b.at]
		b.at++
		if b.from < 0 {
			b.from = w.from
		}
		if w.bang() {
			b.neg = !b.neg
			continue
		}
		b.option(w.s)
		b.neg, b.from = false, -1
	}
	b.finish()
	if b.act == nil {
		b.act = pass{}
	}
	return rule{conds: b.keep(), act: b.act}, b.cause
}

// keep takes the conditions out of the slab, where they were appended; those of a rule that
// did not fit stand in a place of their own.
func (b *ruleBuilder) keep() []cond {
	n := len(b.conds)
	if n == 0 {
		return nil
	}
	if n <= cap(b.slab)-len(b.slab) {
		b.slab = b.slab[:len(b.slab)+n]
	}
	return b.conds[:n:n]
}

// finish looks for what a rule that was cut short lacks.
func (b *ruleBuilder) finish() {
	if b.neg {
		b.bad("!", "")
	}
	if t, ok := b.act.(*natAct); ok && t.kind != natRedirect && t.kind != natMasquerade && !t.hasAddr && !t.hasPorts {
		b.opaque("target", "without an address")
	}
	for i := range b.conds {
		if t, ok := b.conds[i].test.(*statTest); ok && !t.given {
			b.fail("statistic without its %s", "odds")
			b.conds[i].test = opaqueTest{}
		}
	}
}

// option reads one option with its arguments.
func (b *ruleBuilder) option(name string) {
	switch name {
	case "-m", "--match", "-j", "--jump", "-g", "--goto":
		if b.neg {
			b.bad("!", name)
		}
	}
	switch name {
	case "-m", "--match":
		b.startMatch(b.arg())
		return
	case "-j", "--jump":
		b.startTarget(b.arg(), false)
		return
	case "-g", "--goto":
		b.startTarget(b.arg(), true)
		return
	case "-c", "--set-counters":
		b.arg()
		b.arg()
		return
	}
	for _, m := range [...]module{b.target, headerOptions{}, b.mod} {
		if m != nil && m.option(b, name) {
			return
		}
	}
	b.unknown(name)
}

// unknown keeps an option that is not modelled: nobody can decide it.
func (b *ruleBuilder) unknown(name string) {
	if name == "" || name[0] != '-' {
		b.fail("argument %s that no option takes", name)
	}
	for b.at < len(b.words) && !strings.HasPrefix(b.words[b.at].s, "-") && !b.words[b.at].bang() {
		b.at++
	}
	if b.act != nil && b.target != nil {
		b.act = opaqueAct{}
		return
	}
	b.add(opaqueTest{})
}

// arg is the next argument; none is a fault of the line.
func (b *ruleBuilder) arg() string {
	if b.at >= len(b.words) {
		b.fail("option %s without its argument", b.words[b.at-1].s)
		return ""
	}
	s, bang := b.words[b.at].s, b.words[b.at].bang()
	b.at++
	if bang && b.at < len(b.words) { // iptables before 1.4.3 wrote the ! here
		b.neg = !b.neg
		s = b.words[b.at].s
		b.at++
	}
	return s
}

// add adds a condition whose words end before the next one.
func (b *ruleBuilder) add(t test) {
	b.conds = append(b.conds, cond{test: t})
	b.begun = b.from
	b.extend()
}

// extend gives the last condition the words up to here.
func (b *ruleBuilder) extend() {
	b.conds[len(b.conds)-1].text = b.line[b.begun:b.words[b.at-1].to]
}

// fail notes the first thing that could not be read.
func (b *ruleBuilder) fail(format, arg string) {
	if b.cause == "" {
		b.cause = strings.Replace(format, "%s", quote(arg), 1)
	}
}

// bad is fail for an argument; the condition is then one that nobody can decide.
func (b *ruleBuilder) bad(option, arg string) {
	b.fail(strings.TrimLeft(option, "-")+" %s: invalid syntax", arg)
	b.add(opaqueTest{})
}

// startMatch begins the options of a match.
func (b *ruleBuilder) startMatch(name string) {
	b.match, b.mod = name, nil
	switch name {
	case "comment":
		b.mod = commentOptions{}
	case "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmp6", "icmpv6", "multiport", "":
		// Their options need no module to be told apart.
	case "mark", "connmark":
		b.mod = markOptions{name == "connmark"}
	case "owner":
		t := cut(&b.slabs.owners)
		b.mod = t
		b.add(t)
	case "conntrack", "state":
		t := &conntrackTest{}
		b.mod = t
		b.add(t)
	case "addrtype":
		t := &addrtypeTest{}
		b.mod = t
		b.add(t)
	case "set":
		b.mod = setOptions{}
	case "iprange":
		b.mod = rangeOptions{}
	case "statistic":
		t := &statTest{}
		b.mod = t
		b.add(t)
	case "socket":
		t := &socketTest{}
		b.mod = t
		b.add(t)
	case "physdev":
		t := &physdevTest{}
		b.mod = t
		b.add(t)
	default:
		b.startOther(name)
	}
}

// startOther begins a match that a state decides, or that is not modelled. All words up
// to the next match or target are its own.
func (b *ruleBuilder) startOther(name string) {
	var args []string
	from := b.at
	for b.at < len(b.words) {
		switch b.words[b.at].s {
		case "-m", "--match", "-j", "--jump", "-g", "--goto":
		default:
			b.at++
			continue
		}
		break
	}
	for _, w := range b.words[from:b.at] {
		args = append(args, w.s)
	}
	b.add(otherTest(name, args))
}

// otherTest is the test of a match by its name and arguments.
func otherTest(name string, args []string) test {
	has := func(word string) bool {
		for _, a := range args {
			if a == word {
				return true
			}
		}
		return false
	}
	negated := has("!")
	switch name {
	case "limit":
		return &stateTest{flow.Yes, "limit exceeded"}
	case "hashlimit":
		return &stateTest{flow.Is(!has("--hashlimit-above")), "limit exceeded"}
	case "quota":
		return &stateTest{flow.Is(!negated), "quota used up"}
	case "connlimit":
		return &stateTest{flow.Is(has("--connlimit-upto")), "too many connections"}
	case "recent":
		if has("--set") {
			return fixedTest{flow.Is(!negated)}
		}
		return &stateTest{flow.Is(negated), "seen lately"}
	case "time", "connbytes", "rateest", "cluster":
		return &stateTest{}
	}
	return opaqueTest{}
}

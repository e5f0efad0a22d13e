package netfilter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// saveReader reads one part that iptables-save wrote.
type saveReader struct {
	rs      *Ruleset
	part    string
	back    backend
	family  string
	sets    map[string]*ipset
	table   *table
	line    int
	left    int // bytes after the line
	gaps    []flow.Gap
	tables  int
	alien   int      // the first line that is none of iptables-save's; 0: none
	foreign []string // tables that the tool says belong to nft
	tainted []string // tables that hold chains of nft's own beside iptables'
	build   ruleBuilder
	last    *chain // the chain of the last rule: the next one's, mostly
}

// read reads the whole text.
func (r *saveReader) read(text string) error {
	r.build.r = r
	for text != "" {
		var l string
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			l, text = text[:i], text[i+1:]
		} else {
			l, text = text, ""
		}
		r.line++
		r.left = len(text)
		r.readLine(strings.TrimSpace(l))
	}
	if r.table != nil { // iptables-save ends each table with COMMIT: what is missing is not known
		r.gap("the text is cut off: table " + quote(r.table.name) + " has no COMMIT")
	}
	r.commit()
	if r.tables == 0 && r.alien > 0 {
		return fmt.Errorf("%s: %s", r.part, r.gaps[0].Reason)
	}
	return nil
}

func (r *saveReader) readLine(l string) {
	if l == "" {
		return
	}
	switch l[0] {
	case '#':
		r.remark(l)
	case '*':
		r.begin(strings.TrimSpace(l[1:]))
	case ':':
		r.declare(l[1:])
	case '-':
		r.rule(l, l)
	case '[':
		_, rest, ok := strings.Cut(l, "] ")
		if !ok {
			r.strange("counters without a rule")
			return
		}
		r.rule(l, rest)
	default:
		if l == "COMMIT" {
			if r.table == nil {
				r.strange("COMMIT without a table")
			}
			r.commit()
			return
		}
		r.strange("no line of iptables-save: " + quote(l))
	}
}

// remark reads a comment. One of them says that a table was left out: iptables-nft-save
// ends with status 0 and prints this where a table holds rules of nft's own.
func (r *saveReader) remark(l string) {
	if i := strings.Index(l, "' contains incompatible base-chains"); i > 0 {
		if j := strings.IndexAny(l, "`'"); j >= 0 && j < i {
			r.tainted = append(r.tainted, l[j+1:i])
		}
	}
	if i := strings.Index(l, "' is incompatible, use 'nft' tool"); i > 0 {
		if j := strings.IndexAny(l, "`'"); j >= 0 && j < i {
			r.foreign = append(r.foreign, l[j+1:i])
		}
	}
}

func (r *saveReader) begin(name string) {
	if r.table != nil {
		r.gap("table " + quote(r.table.name) + " has no COMMIT")
	}
	r.commit()
	r.tables++
	for _, t := range r.rs.tables {
		if t.back == r.back && t.family == r.family && t.name == name {
			r.table = t
			r.gap("table " + quote(name) + " for a second time")
			return
		}
	}
	if _, _, _, ok := iptablesBase(name, "OUTPUT", r.back); !ok {
		r.strange("no table of iptables: " + quote(name))
	}
	r.table = r.rs.newTable(r.back, r.family, name, r.part)
}

// declare reads ":CHAIN POLICY [packets:bytes]"; the policy of a user's chain is "-".
func (r *saveReader) declare(l string) {
	f := strings.Fields(l)
	if r.table == nil {
		r.strange("a chain before any table")
		return
	}
	if len(f) < 2 {
		r.strange("chain without a policy: " + quote(l))
		return
	}
	r.setPolicy(f[0], f[1])
}

func (r *saveReader) setPolicy(name, policy string) {
	c := r.chain(name)
	builtin := c.base
	switch {
	case policy == "-" && !builtin, policy == "ACCEPT" && builtin:
	case policy == "DROP" && builtin:
		c.policy = vDrop
	default:
		c.policy = vUnknown
		r.gap("policy " + quote(policy) + " of chain " + quote(name))
	}
}

// chain is a chain of the table; one with a built-in name stands at its hook.
func (r *saveReader) chain(name string) *chain {
	if r.last != nil && r.last.name == name && r.last.table == r.table {
		return r.last
	}
	c := r.table.chain(name)
	if !c.base {
		if h, kind, prio, ok := iptablesBase(r.table.name, name, r.back); ok {
			c.base, c.hook, c.kind, c.prio = true, h, kind, prio
		}
	}
	r.last = c
	return c
}

// chainOf is the chain of a rule: iptables-save declares it before.
func (r *saveReader) chainOf(name string) *chain {
	if r.last != nil && r.last.name == name && r.last.table == r.table {
		return r.last
	}
	declared := r.table.chains[name] != nil
	c := r.chain(name)
	if !declared && !c.base {
		r.gap("a rule of chain " + quote(name) + ", which is not declared")
	}
	return c
}

// rule reads "-A CHAIN ...", and what `iptables -S` prints beside it.
func (r *saveReader) rule(raw, l string) {
	words, open := splitWords(l, r.build.words)
	r.build.words = words
	switch {
	case r.table == nil:
		r.strange("a rule before any table: " + quote(l))
	case len(words) == 3 && words[0].s == "-P":
		r.setPolicy(words[1].s, words[2].s)
	case len(words) == 2 && words[0].s == "-N":
		r.chain(words[1].s)
	case len(words) < 2 || words[0].s != "-A" && words[0].s != "--append":
		r.strange("no rule: " + quote(l))
	default:
		c := r.chainOf(words[1].s)
		made, cause := r.build.rule(l, words)
		if open && cause == "" {
			cause = "a quote is left open"
			made.conds = append(made.conds, cond{opaqueTest{}, l})
		}
		made.text, made.line = raw, int32(r.line)
		if len(c.rules) == cap(c.rules) {
			c.rules = slices.Grow(c.rules, r.room(len(c.rules), len(raw)))
		}
		c.rules = append(c.rules, made)
		if cause != "" {
			r.gap(cause + " in " + quote(l))
		}
	}
}

// room is how many more rules a chain of n should have place for: as many as would fill
// the rest of the text, and at most three times as many as it has. Most rules of a large
// save stand in few chains, and moving them again and again costs as much as reading them.
func (r *saveReader) room(n, line int) int {
	return max(4, min(3*n, r.left/(line+1)+1))
}

// commit ends a table: now its chains are known, and jumps find them.
func (r *saveReader) commit() {
	if r.table == nil {
		return
	}
	for _, j := range r.build.jumps {
		if c := r.table.chains[j.act.name]; c != nil && !c.base {
			j.act.to = c
			continue
		}
		line := r.line
		r.line = j.line
		r.gap("no chain or known target " + quote(j.act.name))
		r.gaps[len(r.gaps)-1].Broken = false // most likely the target of an extension
		r.line = line
	}
	r.build.jumps = r.build.jumps[:0]
	r.table = nil
}

// gap notes a line that could not be read in full.
func (r *saveReader) gap(cause string) {
	v6 := 0
	if r.family == "ip6" {
		v6 = 1
	}
	r.rs.partial[v6] = true
	const most = 50 // a broken file has as many as lines
	if len(r.gaps) == most {
		r.gaps = append(r.gaps, flow.Gap{Part: r.part, Reason: "more lines that could not be read", Broken: true})
	}
	if len(r.gaps) < most {
		r.gaps = append(r.gaps, flow.Gap{Part: r.part, Reason: "line " + strconv.Itoa(r.line) + ": " + cause, Broken: true})
	}
}

// strange notes a line that is none of iptables-save's.
func (r *saveReader) strange(cause string) {
	if r.alien == 0 {
		r.alien = r.line
	}
	r.gap(cause)
}

// quote shows a foreign word in an error, cut to a line's length.
func quote(s string) string {
	if len(s) > 120 {
		s = s[:120] + "..."
	}
	return strconv.Quote(s)
}

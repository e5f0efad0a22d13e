package netfilter

import (
	"math"
	"strconv"
	"strings"
)

// setOptions are those of -m set.
type setOptions struct{}

func (setOptions) option(b *ruleBuilder, name string) bool {
	if name != "--match-set" {
		// --return-nomatch, --packets-eq and their like change what the set answers.
		if t, ok := b.lastTest().(*setTest); ok && strings.HasPrefix(name, "--") {
			if name != "--update-counters" && name != "--update-subcounters" {
				t.odd = true
			}
			for b.at < len(b.words) && !strings.HasPrefix(b.words[b.at].s, "-") && b.words[b.at].s != "!" {
				b.at++
			}
			b.extend()
			return true
		}
		return false
	}
	t := &setTest{name: b.arg()}
	for _, d := range strings.Split(b.arg(), ",") {
		if d != "src" && d != "dst" {
			b.fail("match-set %s: invalid syntax", d)
			t.odd = true
		}
		t.dirs = append(t.dirs, d == "src")
	}
	t.neg, t.set = b.neg, b.r.sets[t.name]
	b.add(t)
	return true
}

func (b *ruleBuilder) lastTest() test {
	if len(b.conds) == 0 {
		return nil
	}
	return b.conds[len(b.conds)-1].test
}

// rangeOptions are those of -m iprange.
type rangeOptions struct{}

func (rangeOptions) option(b *ruleBuilder, name string) bool {
	if name != "--src-range" && name != "--dst-range" {
		return false
	}
	arg := b.arg()
	from, to, is := strings.Cut(arg, "-")
	if !is {
		to = from
	}
	v6 := b.r.family == "ip6"
	lo, ok1 := parseAddr(from, v6)
	hi, ok2 := parseAddr(to, v6)
	if !ok1 || !ok2 {
		b.bad(name, arg)
		return true
	}
	b.add(&rangeTest{src: name == "--src-range", neg: b.neg, from: lo, to: hi})
	return true
}

func (t *statTest) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--mode":
		mode := b.arg()
		if t.random = mode == "random"; !t.random && mode != "nth" {
			b.fail("mode %s: invalid syntax", mode)
		}
	case "--probability":
		arg := b.arg()
		f, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			b.bad(name, arg)
			return true
		}
		t.share, t.neg, t.given = uint64(math.Round(f*statWhole)), b.neg, t.random
	case "--every":
		arg := b.arg()
		n, err := strconv.ParseUint(arg, 10, 32)
		if err != nil || n == 0 {
			b.bad(name, arg)
			return true
		}
		t.every, t.neg, t.given = n, b.neg, !t.random
	case "--packet":
		b.arg()
	default:
		return false
	}
	b.extend()
	return true
}

func (t *socketTest) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--transparent":
		t.transparent = true
	case "--nowildcard":
		t.nowildcard = true
	case "--restore-skmark":
		t.restore = true
	default:
		return false
	}
	b.extend()
	return true
}

func (t *physdevTest) option(b *ruleBuilder, name string) bool {
	if !strings.HasPrefix(name, "--physdev-") {
		return false
	}
	if !strings.HasPrefix(name, "--physdev-is-") {
		b.arg()
	}
	t.positive = t.positive || !b.neg
	b.extend()
	return true
}

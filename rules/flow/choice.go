package flow

import (
	"sort"
	"strings"
)

// Pick is what the user pinned: references of choices and the value of each.
type Pick map[string]string

// Keys are the references in stable order.
func (p Pick) Keys() []string {
	keys := make([]string, 0, len(p))
	for k := range p {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// ChoiceKind says what decides a choice that the snapshot leaves open.
type ChoiceKind uint8

const (
	Unmodelled ChoiceKind = iota // meshtop does not know: no option is better than another
	Chance                       // a draw; Weight gives the odds
	Condition                    // a state that the snapshot does not hold, such as a token bucket
)

// String is the word of the kind.
func (k ChoiceKind) String() string {
	return name([]string{"unmodelled", "chance", "condition"}, int(k))
}

// Option is one way a choice can go.
type Option struct {
	Value  string // what --pick takes
	Weight uint64 // of a Chance: its share of the sum; 0 elsewhere
	When   string // of a Condition: in words, such as "bucket empty"; empty: the usual case
	// Stop says that nothing is known beyond this option: the trace ends Unknown there.
	Stop bool
}

// Choice is a point where the snapshot alone does not decide.
type Choice struct {
	Ref     string // how --pick names it, such as "random" or "ip nat OUTPUT 3"
	Kind    ChoiceKind
	Options []Option // two or more; none with an empty Value
}

// Chosen is a choice with the option that one variant took.
type Chosen struct {
	Choice Choice
	Index  int
	Pinned bool // by the user's Pick, not by the enumeration
}

// Option is the option taken.
func (c Chosen) Option() Option { return c.Choice.Options[c.Index] }

// Choices answers the choices of one run, and records them. An evaluator stays a
// function: the same script gives the same run, and the caller runs it once for each
// script (see Next). The zero value takes the first option everywhere.
type Choices struct {
	Pick   Pick
	script []int
	made   []Chosen
}

// Take answers a choice: by the user's pick, else by what this run already answered
// to the same reference (one draw of a stream serves every choice that names it), else by the script.
func (c *Choices) Take(ch Choice) int {
	for _, m := range c.made {
		if m.Choice.Ref == ch.Ref && len(m.Choice.Options) == len(ch.Options) {
			return m.Index
		}
	}
	i, pinned := c.pinned(ch)
	if !pinned {
		if n := c.open(); n < len(c.script) && c.script[n] < len(ch.Options) {
			i = c.script[n]
		}
	}
	c.made = append(c.made, Chosen{Choice: ch, Index: i, Pinned: pinned})
	return i
}

// Answer is Take for a test that meshtop cannot decide: "match" or "no-match".
func (c *Choices) Answer(ref string, kind ChoiceKind) Answer {
	if c.Take(Choice{Ref: ref, Kind: kind, Options: []Option{{Value: "match"}, {Value: "no-match"}}}) == 0 {
		return Yes
	}
	return No
}

// Made are the choices of this run in order, pinned ones included.
func (c *Choices) Made() []Chosen { return c.made }

// Next is the run after this one in depth-first order, or nil when all were run.
func (c *Choices) Next() *Choices {
	var script []int
	var sizes []int
	for _, m := range c.made {
		if !m.Pinned {
			script = append(script, m.Index)
			sizes = append(sizes, len(m.Choice.Options))
		}
	}
	for i := len(script) - 1; i >= 0; i-- {
		if script[i]+1 < sizes[i] {
			script[i]++
			return &Choices{Pick: c.Pick, script: script[:i+1]}
		}
	}
	return nil
}

func (c *Choices) open() int {
	n := 0
	for _, m := range c.made {
		if !m.Pinned {
			n++
		}
	}
	return n
}

// pinned finds the option that the user's pick names: by its value, by its number, or,
// for "random" of a Chance, by the share of the sum that a number in [0,1) falls in.
func (c *Choices) pinned(ch Choice) (int, bool) {
	v, ok := c.Pick[ch.Ref]
	if !ok {
		if v, ok = c.Pick["random"]; !ok || ch.Kind != Chance || strings.HasPrefix(ch.Ref, "endpoint") {
			return 0, false
		}
	}
	for i, o := range ch.Options {
		if o.Value == v {
			return i, true
		}
	}
	if f, ok := fraction(v); ok && ch.Kind == Chance {
		return share(ch.Options, f), true
	}
	return 0, false
}

// share is the option whose interval of the weights' sum holds fraction f, as Envoy
// walks weighted clusters: [0,w1), [w1,w1+w2) and so on.
func share(opts []Option, f float64) int {
	var sum uint64
	for _, o := range opts {
		sum += o.Weight
	}
	at, acc := f*float64(sum), uint64(0)
	for i, o := range opts {
		acc += o.Weight
		if at < float64(acc) {
			return i
		}
	}
	return len(opts) - 1
}

// fraction reads "0.25", ".25" or "0": a number in [0,1).
func fraction(s string) (float64, bool) {
	if s == "0" {
		return 0, true
	}
	_, digits, ok := strings.Cut(s, ".")
	if !ok || digits == "" || len(digits) > 17 || (s[0] != '.' && !strings.HasPrefix(s, "0.")) {
		return 0, false
	}
	f, scale := 0.0, 0.1
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		f += float64(d-'0') * scale
		scale /= 10
	}
	return f, true
}

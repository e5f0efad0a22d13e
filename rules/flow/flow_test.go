package flow

import (
	"strings"
	"testing"
)

// Every value of an enum has a word, and the value after the last has none.
func TestEnumsHaveWords(t *testing.T) {
	for _, e := range []struct {
		what string
		last int
		word func(int) string
	}{
		{"Verdict", int(Depends), func(i int) string { return Verdict(i).String() }},
		{"Stage", int(Wire), func(i int) string { return Stage(i).String() }},
		{"TCPEnd", int(TCPResetOrClosed), func(i int) string { return TCPEnd(i).String() }},
		{"Direction", int(Inbound), func(i int) string { return Direction(i).String() }},
		{"Answer", int(No), func(i int) string { return Answer(i).String() }},
		{"ChoiceKind", int(Condition), func(i int) string { return ChoiceKind(i).String() }},
		{"Owner", int(OwnerPeer), func(i int) string { return Owner(i).String() }},
	} {
		for i := 0; i <= e.last; i++ {
			if strings.HasPrefix(e.word(i), "invalid") {
				t.Errorf("%s %d has no word", e.what, i)
			}
		}
		if got := e.word(e.last + 1); !strings.HasPrefix(got, "invalid") {
			t.Errorf("%s %d: %q, want invalid: the test's last value is not the last", e.what, e.last+1, got)
		}
	}
}

// Kleene's tables.
func TestAnswers(t *testing.T) {
	for _, c := range []struct{ a, b, and, or Answer }{
		{Yes, Yes, Yes, Yes}, {Yes, No, No, Yes}, {Yes, Maybe, Maybe, Yes},
		{No, No, No, No}, {No, Maybe, No, Maybe}, {Maybe, Maybe, Maybe, Maybe},
	} {
		if got := c.a.And(c.b); got != c.and || c.b.And(c.a) != got {
			t.Errorf("%v and %v = %v, want %v", c.a, c.b, got, c.and)
		}
		if got := c.a.Or(c.b); got != c.or || c.b.Or(c.a) != got {
			t.Errorf("%v or %v = %v, want %v", c.a, c.b, got, c.or)
		}
	}
}

func two(ref string) Choice {
	return Choice{Ref: ref, Kind: Chance, Options: []Option{{Value: "x", Weight: 1}, {Value: "y", Weight: 3}}}
}

// The enumeration meets every leaf of a tree whose second choice exists on one side only.
func TestChoicesEnumerate(t *testing.T) {
	run := func(c *Choices) string {
		if c.Take(two("a")) == 0 {
			return "x" + [...]string{"x", "y"}[c.Take(two("b"))]
		}
		return "y"
	}
	var got []string
	for c := new(Choices); c != nil; c = c.Next() {
		got = append(got, run(c))
	}
	if s := strings.Join(got, " "); s != "xx xy y" {
		t.Errorf("leaves %q, want %q", s, "xx xy y")
	}
}

// One reference is one draw, however often it is asked.
func TestChoicesOneDraw(t *testing.T) {
	for c := new(Choices); c != nil; c = c.Next() {
		first := c.Take(two("random"))
		if second := c.Take(two("random")); second != first {
			t.Errorf("the same draw gave %d, then %d", first, second)
		}
	}
}

func TestChoicesPinned(t *testing.T) {
	for _, c := range []struct {
		pick Pick
		want int
	}{
		{Pick{"a": "y"}, 1}, {Pick{"a": "x"}, 0},
		// x holds [0, 0.25): below, on and above the edge.
		{Pick{"random": "0.24"}, 0}, {Pick{"random": "0.25"}, 1}, {Pick{"random": "0.26"}, 1}, {Pick{"random": "0"}, 0},
	} {
		ch := &Choices{Pick: c.pick}
		if got := ch.Take(two("a")); got != c.want {
			t.Errorf("pick %v took %d, want %d", c.pick, got, c.want)
		}
		if ch.Next() != nil {
			t.Errorf("pick %v leaves something open", c.pick)
		}
	}
	if ch := (&Choices{Pick: Pick{"a": "nonsense"}}); ch.Take(two("a")) != 0 || ch.Next() == nil {
		t.Error("a value that no option has must leave the choice open")
	}
}

package tui

import "strings"

// sieve filters a long list by what is typed. Each row's text is looked at once for each key, and
// where more is typed only the rows are that are left.
type sieve struct {
	texts  []string
	lowers []string
	typed  string
	kept   []int // rows of texts that hold what is typed, in order
}

// newSieve is a filter over rows, each by what it says.
func newSieve(texts []string) *sieve {
	s := &sieve{texts: texts, lowers: make([]string, len(texts))}
	for i, t := range texts {
		s.lowers[i] = strings.ToLower(t)
	}
	return s
}

// through are the rows that hold all that is typed, which is not nothing.
func (s *sieve) through(typed string) []int {
	if s.kept != nil && typed == s.typed {
		return s.kept
	}
	words := strings.Fields(typed)
	kept := make([]int, 0, len(s.texts))
	take := func(i int) {
		if holdsIn(s.texts[i], s.lowers[i], words) {
			kept = append(kept, i)
		}
	}
	// A word that is left out takes away less where it is longer.
	if s.kept != nil && strings.HasPrefix(typed, s.typed) && !strings.Contains(typed, "!") {
		for _, i := range s.kept {
			take(i)
		}
	} else {
		for i := range s.texts {
			take(i)
		}
	}
	s.typed, s.kept = typed, kept
	return kept
}

// holds is the filter of every list: all words, any case unless a word has capitals,
// !word leaves out.
func holds(text string, words []string) bool {
	return holdsIn(text, strings.ToLower(text), words)
}

// holdsIn is holds of a text whose lower case is known.
func holdsIn(text, lower string, words []string) bool {
	for _, w := range words {
		in := lower
		out := len(w) > 1 && w[0] == '!'
		if out {
			w = w[1:]
		}
		if strings.ToLower(w) != w {
			in = text
		}
		if strings.Contains(in, w) == out {
			return false
		}
	}
	return true
}

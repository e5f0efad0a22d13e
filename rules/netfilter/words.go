package netfilter

import "strings"

// word is one argument of a rule, with its place in the line.
type word struct {
	s        string // as the tool understands it: quotes and escapes resolved
	from, to int    // in the line
}

// bang says that a word is the ! of a negation, not one in quotes, such as a comment.
func (w word) bang() bool { return w.s == "!" && w.to == w.from+1 }

// splitWords cuts a line into arguments as iptables-restore does: only double quotes
// quote, and only inside them a backslash escapes (iptables/xshared.c, add_param_to_argv;
// iptables-save writes \", \\ and \'). It says whether a quote was left open.
func splitWords(line string, into []word) (words []word, open bool) {
	words = into[:0]
	for i := 0; i < len(line); {
		c := line[i]
		if c == ' ' || c == '\t' {
			i++
			continue
		}
		from := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '"' {
			i++
		}
		if i == from && line[i] == '"' { // the usual form: nothing escaped, nothing beside
			if end := strings.IndexByte(line[i+1:], '"'); end >= 0 && strings.IndexByte(line[i+1:i+1+end], '\\') < 0 {
				if after := i + end + 2; after == len(line) || line[after] == ' ' {
					words = append(words, word{line[i+1 : i+1+end], from, after})
					i = after
					continue
				}
			}
		}
		if i < len(line) && line[i] == '"' {
			var s string
			if s, i, open = quoted(line, from); open {
				return append(words, word{s, from, i}), true
			}
			words = append(words, word{s, from, i})
			continue
		}
		words = append(words, word{line[from:i], from, i})
	}
	return words, false
}

// quoted reads one argument that holds a quote somewhere.
func quoted(line string, from int) (s string, end int, open bool) {
	var b strings.Builder
	i := from
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case open && c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case c == '"':
			open = !open
		case !open && (c == ' ' || c == '\t'):
			return b.String(), i, false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), i, open
}

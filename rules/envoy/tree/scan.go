package tree

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Scanner walks over JSON text without building a tree. Every byte that it passes is
// checked, those of skipped values too.
type Scanner struct {
	Raw []byte
	// Notes, if not nil, gets what is odd and read all the same: strings that are not UTF-8,
	// members of one object that bear the same name.
	Notes *Notes
	// Types, if not nil, counts the messages that the text names.
	Types *Types
	depth int
}

func (s *Scanner) fail(i int, msg string) error {
	if i >= len(s.Raw) {
		i, msg = len(s.Raw), "the text ends too early"
	}
	return &SyntaxError{At: int64(i), Msg: msg}
}

// Space is where the first byte at or after i stands that is no white space.
func (s *Scanner) Space(i int) int { return space(s.Raw, i) }

func space(raw []byte, i int) int {
	const spaces = 0x2020202020202020
	for i < len(raw) {
		switch raw[i] {
		case ' ':
			i++
			for i+8 <= len(raw) {
				x := binary.LittleEndian.Uint64(raw[i:]) ^ spaces
				if x != 0 {
					i += bits.TrailingZeros64(x) >> 3
					break
				}
				i += 8
			}
		case '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

// enter counts one level of nesting.
func (s *Scanner) enter(i int) error {
	if s.depth++; s.depth > MaxDepth {
		return s.fail(i, "nested deeper than "+strconv.Itoa(MaxDepth))
	}
	return nil
}

// Object walks the members of the object at i: member is told each name, as it stands in
// the text, and where its value begins, and answers where that ends, by Skip or by walking
// it. A value that is no object is skipped. Object answers where the value at i ends.
func (s *Scanner) Object(i int, member func(name []byte, at int) (int, error)) (int, error) {
	if i >= len(s.Raw) || s.Raw[i] != '{' {
		return s.Skip(i)
	}
	if err := s.enter(i); err != nil {
		return i, err
	}
	i = s.Space(i + 1)
	if i < len(s.Raw) && s.Raw[i] == '}' {
		s.depth--
		return i + 1, nil
	}
	s.Notes.open()
	for {
		name, at, err := s.name(i)
		if err != nil {
			return i, err
		}
		if i, err = member(name, at); err != nil {
			return i, err
		}
		if i = s.Space(i); i < len(s.Raw) && s.Raw[i] == '}' {
			s.depth--
			s.Notes.shut(s.Raw)
			return i + 1, nil
		}
		if i >= len(s.Raw) || s.Raw[i] != ',' {
			return i, s.fail(i, "a comma is missing")
		}
		i = s.Space(i + 1)
	}
}

// List walks the elements of the list at i, as Object does with members; a value that is
// no list counts as its one element.
func (s *Scanner) List(i int, element func(n, at int) (int, error)) (int, error) {
	if i >= len(s.Raw) || s.Raw[i] != '[' {
		return element(0, i)
	}
	if err := s.enter(i); err != nil {
		return i, err
	}
	i = s.Space(i + 1)
	if i < len(s.Raw) && s.Raw[i] == ']' {
		s.depth--
		return i + 1, nil
	}
	for n := 0; ; n++ {
		var err error
		if i, err = element(n, i); err != nil {
			return i, err
		}
		if i = s.Space(i); i < len(s.Raw) && s.Raw[i] == ']' {
			s.depth--
			return i + 1, nil
		}
		if i >= len(s.Raw) || s.Raw[i] != ',' {
			return i, s.fail(i, "a comma is missing")
		}
		i = s.Space(i + 1)
	}
}

// MaxString bounds the strings that String copies: names, types, times. A longer one is an
// error, so that a text of any size takes no memory of its own.
const MaxString = 1 << 20

// String is the text of the string at i and where it ends; a value of another kind is
// skipped and gives an empty text.
func (s *Scanner) String(i int) (string, int, error) {
	if i >= len(s.Raw) || s.Raw[i] != '"' {
		end, err := s.Skip(i)
		return "", end, err
	}
	end, escaped, err := s.str(i)
	if err != nil {
		return "", end, err
	}
	if end-i > MaxString {
		return "", end, s.fail(i, "a name of "+strconv.Itoa(end-i-2)+" bytes")
	}
	if escaped {
		return unescape(s.Raw[i+1 : end-1]), end, nil
	}
	return string(s.Raw[i+1 : end-1]), end, nil
}

// name reads a member's name and answers it with the place of its value.
func (s *Scanner) name(i int) ([]byte, int, error) {
	if i >= len(s.Raw) || s.Raw[i] != '"' {
		return nil, i, s.fail(i, "a member's name is missing")
	}
	end, _, err := s.str(i)
	if err != nil {
		return nil, end, err
	}
	s.Notes.name(i+1, end-1)
	at := end
	if at >= len(s.Raw) || s.Raw[at] != ':' {
		if at = s.Space(end); at >= len(s.Raw) || s.Raw[at] != ':' {
			return nil, at, s.fail(at, "a colon is missing")
		}
	}
	at = s.Space(at + 1)
	s.Types.name(s.Raw, s.Raw[i+1:end-1], at)
	return s.Raw[i+1 : end-1], at, nil
}

// str is where the string at i ends, and whether it holds escapes.
func (s *Scanner) str(i int) (end int, escaped bool, err error) {
	raw, start, high := s.Raw, i+1, false
	for i = start; ; {
		i += plain(raw[i:])
		if i >= len(raw) {
			return i, escaped, s.fail(i, "")
		}
		switch c := raw[i]; {
		case c == '"':
			if high {
				s.Notes.text(raw, start, i)
			}
			return i + 1, escaped, nil
		case c == '\\':
			n, at, msg := escape(raw, i)
			if msg != "" {
				return i, escaped, s.fail(at, msg)
			}
			i, escaped = i+n, true
		case c < ' ':
			return i, escaped, s.fail(i, "a control character in a string")
		case c >= utf8.RuneSelf:
			i, high = i+1, true
		default:
			i++
		}
	}
}

// plain is how many bytes at the beginning of b are ASCII without quote, backslash and
// control characters; eight at a time, so it may stop up to seven bytes early at the end.
func plain(b []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	n := 0
	for n+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A byte's high bit is set where it is high, below space, a quote or a backslash;
		// a borrow can set it wrongly above a true one, never below, and the lowest counts.
		stop := (x | (x - ones*' ') | (quote - ones) | (slash - ones)) & highs
		if stop != 0 {
			return n + bits.TrailingZeros64(stop)>>3
		}
		n += 8
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' && b[n] < utf8.RuneSelf {
		n++
	}
	return n
}

// escape is the length of the escape at i, or where and why it is none.
func escape(raw []byte, i int) (n, at int, msg string) {
	if i+1 >= len(raw) {
		return 0, len(raw), "an escape ends too early"
	}
	switch raw[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, 0, ""
	case 'u':
		for j := i + 2; j < i+6; j++ {
			if j >= len(raw) || !isHex(raw[j]) {
				return 0, j, "not a hexadecimal digit"
			}
		}
		return 6, 0, ""
	}
	return 0, i, "an unknown escape"
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// Skip is where the value at i ends.
func (s *Scanner) Skip(i int) (int, error) {
	// One bit for each open level: set for an object.
	var open [MaxDepth/64 + 1]uint64
	top := s.depth
	for level := top; ; {
		if i >= len(s.Raw) {
			return i, s.fail(i, "")
		}
		var err error
		switch c := s.Raw[i]; c {
		case '{', '[':
			if level++; level > MaxDepth {
				return i, s.fail(i, "nested deeper than "+strconv.Itoa(MaxDepth))
			}
			i = s.Space(i + 1)
			if i < len(s.Raw) && s.Raw[i] == c+2 { // '}' and ']' are two after their openers
				level--
				i++
				break
			}
			if c == '[' {
				open[level/64] &^= 1 << (level % 64)
				continue
			}
			open[level/64] |= 1 << (level % 64)
			s.Notes.open()
			if _, i, err = s.name(i); err != nil {
				return i, err
			}
			continue
		case '"':
			i, _, err = s.str(i)
		default:
			i, err = s.scalar(i)
		}
		if err != nil {
			return i, err
		}
		var done bool
		if i, level, done, err = s.up(i, level, top, &open); err != nil || done {
			return i, err
		}
	}
}

// up goes from the end of a value to the begin of the next one, closing what closes;
// done when nothing is open any more.
func (s *Scanner) up(i, level, top int, open *[MaxDepth/64 + 1]uint64) (int, int, bool, error) {
	for level > top {
		if i = s.Space(i); i >= len(s.Raw) {
			return i, level, false, s.fail(i, "")
		}
		object := open[level/64]&(1<<(level%64)) != 0
		switch c := s.Raw[i]; {
		case c == ',' && object:
			_, at, err := s.name(s.Space(i + 1))
			return at, level, false, err
		case c == ',':
			return s.Space(i + 1), level, false, nil
		case c == '}' && object:
			level--
			i++
			s.Notes.shut(s.Raw)
		case c == ']' && !object:
			level--
			i++
		default:
			return i, level, false, s.fail(i, "a comma is missing")
		}
	}
	return i, level, true, nil
}

// scalar is where the number or word at i ends.
func (s *Scanner) scalar(i int) (int, error) {
	switch c := s.Raw[i]; {
	case c == 't':
		return s.word(i, "true")
	case c == 'f':
		return s.word(i, "false")
	case c == 'n':
		return s.word(i, "null")
	case c == '-' || c >= '0' && c <= '9':
		if n := numberEnd(s.Raw, i); n >= 0 {
			return n, nil
		}
		return i, s.fail(i, "not a JSON number")
	}
	return i, s.fail(i, "no JSON value begins here")
}

func (s *Scanner) word(i int, w string) (int, error) {
	if len(s.Raw)-i < len(w) {
		return i, s.fail(len(s.Raw), "")
	}
	if string(s.Raw[i:i+len(w)]) != w {
		return i, s.fail(i, "no JSON value begins here")
	}
	return i + len(w), nil
}

// Find is where the value that a JSON pointer names stands in a text; of members of one
// name the last counts.
func Find(raw []byte, pointer string) (start, end int, ok bool) {
	s := Scanner{Raw: raw}
	start = s.Space(0)
	if pointer != "" {
		for _, tok := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
			if start, ok = s.child(start, tok); !ok {
				return 0, 0, false
			}
		}
	}
	end, err := s.Skip(start)
	return start, end, err == nil
}

// child is where the member or element that one reference token names begins.
func (s *Scanner) child(i int, tok string) (int, bool) {
	found := -1
	if i >= len(s.Raw) {
		return 0, false
	}
	var err error
	switch s.Raw[i] {
	case '{':
		want := strings.ReplaceAll(strings.ReplaceAll(tok, "~1", "/"), "~0", "~")
		_, err = s.Object(i, func(name []byte, at int) (int, error) {
			if string(name) == want || strings.IndexByte(string(name), '\\') >= 0 && unescape(name) == want {
				found = at
			}
			return s.Skip(at)
		})
	case '[':
		_, err = s.List(i, func(n, at int) (int, error) {
			if strconv.Itoa(n) == tok {
				found = at
				return at, errFound
			}
			return s.Skip(at)
		})
		if err == errFound {
			s.depth, err = 0, nil
		}
	}
	return found, found >= 0 && err == nil
}

var errFound = &SyntaxError{Msg: "found"}

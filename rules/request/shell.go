package request

import (
	"fmt"
	"strconv"
	"strings"
)

// Words splits a command as a POSIX shell does without expansions (Shell Command
// Language, 2.2 Quoting), and with $'...', which browsers' "Copy as cURL" writes. An own
// parser: shlex does not know $'...', and expands nothing either.
func Words(s string) ([]string, error) {
	p := words{in: s}
	for p.at < len(p.in) {
		if err := p.step(); err != nil {
			return nil, err
		}
	}
	p.end()
	return p.out, nil
}

type words struct {
	in   string
	at   int
	word strings.Builder
	open bool // a word has begun; it may be empty, as in ''
	out  []string
}

func (p *words) end() {
	if p.open {
		p.out = append(p.out, p.word.String())
	}
	p.word.Reset()
	p.open = false
}

func (p *words) step() error {
	c := p.in[p.at]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		p.end()
		p.at++
	case c == '\\':
		return p.backslash()
	case c == '\'':
		return p.single()
	case c == '"':
		return p.double()
	case strings.HasPrefix(p.in[p.at:], "$'"):
		return p.ansi()
	case strings.IndexByte("|&;<>()`$", c) >= 0:
		return fmt.Errorf("command: %q at %d is for a shell: quote it or leave it out", string(c), p.at+1)
	default:
		p.put(c)
		p.at++
	}
	return nil
}

func (p *words) put(c byte) {
	p.word.WriteByte(c)
	p.open = true
}

// backslash quotes the next character; before a line feed both vanish.
func (p *words) backslash() error {
	if p.at+1 >= len(p.in) {
		return fmt.Errorf("command: ends in a backslash")
	}
	if p.in[p.at+1] == '\r' && p.at+2 < len(p.in) && p.in[p.at+2] == '\n' {
		p.at++
	}
	if p.in[p.at+1] != '\n' {
		p.put(p.in[p.at+1])
	}
	p.at += 2
	return nil
}

func (p *words) single() error {
	end := strings.IndexByte(p.in[p.at+1:], '\'')
	if end < 0 {
		return fmt.Errorf("command: the ' at %d is not closed", p.at+1)
	}
	p.word.WriteString(p.in[p.at+1 : p.at+1+end])
	p.open = true
	p.at += end + 2
	return nil
}

func (p *words) double() error {
	start := p.at
	p.open = true
	for p.at++; p.at < len(p.in); p.at++ {
		switch c := p.in[p.at]; {
		case c == '"':
			p.at++
			return nil
		case c == '\\' && p.at+1 < len(p.in) && strings.IndexByte("\\\"$`\n", p.in[p.at+1]) >= 0:
			p.at++
			if p.in[p.at] != '\n' {
				p.put(p.in[p.at])
			}
		case c == '`' || c == '$' && p.at+1 < len(p.in) && strings.IndexByte("({", p.in[p.at+1]) >= 0:
			return fmt.Errorf("command: %q at %d is for a shell: quote it with '", string(c), p.at+1)
		default:
			p.put(c)
		}
	}
	return fmt.Errorf("command: the \" at %d is not closed", start+1)
}

// ansi reads $'...' with C escapes.
func (p *words) ansi() error {
	start := p.at
	p.open = true
	for p.at += 2; p.at < len(p.in); {
		c := p.in[p.at]
		if c == '\'' {
			p.at++
			return nil
		}
		if c != '\\' {
			p.put(c)
			p.at++
			continue
		}
		if err := p.escape(); err != nil {
			return err
		}
	}
	return fmt.Errorf("command: the $' at %d is not closed", start+1)
}

// escape reads one C escape of $'...'; one that C does not have stays as written.
func (p *words) escape() error {
	if p.at+1 >= len(p.in) {
		return fmt.Errorf("command: ends in a backslash")
	}
	c := p.in[p.at+1]
	if i := strings.IndexByte(`abfnrtv\'"?`, c); i >= 0 {
		p.put("\a\b\f\n\r\t\v\\'\"?"[i])
		p.at += 2
		return nil
	}
	width := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if width == 0 {
		p.put('\\')
		p.at++
		return nil
	}
	end := p.at + 2
	for end < len(p.in) && end < p.at+2+width && isHex(p.in[end]) {
		end++
	}
	n, err := strconv.ParseUint(p.in[p.at+2:end], 16, 32)
	if err != nil {
		return fmt.Errorf("command: \\%c at %d has no hexadecimal digits", c, p.at+1)
	}
	if c == 'x' {
		p.put(byte(n))
	} else {
		p.word.WriteRune(rune(n))
	}
	p.at = end
	return nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

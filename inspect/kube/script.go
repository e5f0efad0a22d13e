package kube

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// writer is what the init containers of a pod write: the rules of each program.
type writer struct {
	sets map[string]*ruleset // by part
	// servers are the name servers of the pod's resolv.conf, as far as its cluster tells, and what
	// of that is taken for granted; nil: nobody can tell.
	servers func() (list []string, assumed string, err error)
	assumed []string
}

// nameServers are those of the pod's resolv.conf.
func (w *writer) nameServers() ([]string, error) {
	if w.servers == nil {
		return nil, errors.New("the pod's name servers are not known")
	}
	list, assumed, err := w.servers()
	if assumed != "" {
		w.assumed = append(w.assumed, assumed)
	}
	return list, err
}

func (w *writer) set(part string) *ruleset {
	if w.sets == nil {
		w.sets = map[string]*ruleset{}
	}
	if w.sets[part] == nil {
		w.sets[part] = &ruleset{}
	}
	return w.sets[part]
}

// partOf is the part of a snapshot that a program's rules stand in.
var partOf = map[string]string{
	"iptables": "iptables-save", "iptables-nft": "iptables-save", "iptables-legacy": "iptables-legacy-save",
	"ip6tables": "ip6tables-save", "ip6tables-nft": "ip6tables-save", "ip6tables-legacy": "ip6tables-legacy-save",
}

// script reads a shell's script as far as it is a row of commands that depend on nothing. The
// first thing that is more (a variable, a condition, a program that is not known) ends it with
// an error: what the script does is then not known.
func (w *writer) script(text string) error {
	lines, err := commands(text)
	if err != nil {
		return err
	}
	for _, c := range lines {
		if err := w.command(c.argv); err != nil {
			return fmt.Errorf("line %d: %w", c.line, err)
		}
	}
	return nil
}

func (w *writer) command(argv []string) error {
	name := path.Base(argv[0])
	switch name {
	case "set", "echo", "true", ":", "sleep":
		return nil
	}
	part, ok := partOf[name]
	if !ok {
		return fmt.Errorf("what %q does is not known without running it", argv[0])
	}
	if err := w.set(part).command(argv[1:]); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// shellCommand is one simple command with the line that it begins on.
type shellCommand struct {
	line int
	argv []string
}

// commands splits a script into its simple commands (POSIX, Shell Command Language, 2.2 and 2.3).
func commands(text string) ([]shellCommand, error) {
	s := &splitter{line: 1, begun: 1}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			i++
			s.line++
		case c == '\n', c == ';':
			s.command()
			if c == '\n' {
				s.line++
			}
		case c == '&' && i+1 < len(text) && text[i+1] == '&':
			i++
			s.command()
		case c == ' ' || c == '\t':
			s.word()
		case c == '#' && !s.open:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == '\'' || c == '"':
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("line %d: a quote that is not closed", s.line)
			}
			in := text[i+1 : i+1+end]
			if c == '"' && strings.ContainsAny(in, "$`\\") || strings.Contains(in, "\n") {
				return nil, fmt.Errorf("line %d: %q is not known without running it", s.line, in)
			}
			s.open = true
			s.text.WriteString(in)
			i += end + 1
		case strings.IndexByte("|&<>()$`\\*?[]~{}", c) >= 0, c < ' ':
			return nil, fmt.Errorf("line %d: what %q makes of it is not known without running it", s.line, string(c))
		default:
			s.open = true
			s.text.WriteByte(c)
		}
	}
	s.command()
	for _, c := range s.out {
		if c.argv[0] == "!" || strings.Contains(c.argv[0], "=") {
			return nil, fmt.Errorf("line %d: %q is not read", c.line, c.argv[0])
		}
	}
	return s.out, nil
}

type splitter struct {
	line, begun int
	open        bool // in a word
	text        strings.Builder
	argv        []string
	out         []shellCommand
}

func (s *splitter) word() {
	if s.open {
		if len(s.argv) == 0 {
			s.begun = s.line
		}
		s.argv = append(s.argv, s.text.String())
	}
	s.open = false
	s.text.Reset()
}

func (s *splitter) command() {
	s.word()
	if len(s.argv) > 0 {
		s.out = append(s.out, shellCommand{s.begun, s.argv})
	}
	s.argv = nil
}

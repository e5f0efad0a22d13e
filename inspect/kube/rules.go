package kube

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ruleset is what a row of iptables commands leaves in a namespace that had no rules. No
// command is ever run: what is not understood is an error, since rules in part are other rules.
type ruleset struct {
	tables []*ruleTable
}

type ruleTable struct {
	name   string
	chains []*ruleChain
}

type ruleChain struct {
	name, policy string // policy "-": one of the user's
	rules        []string
}

// builtin are the chains that tables have by themselves (iptables(8)).
var builtin = map[string][]string{
	"raw": {"PREROUTING", "OUTPUT"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"}, "security": {"INPUT", "FORWARD", "OUTPUT"},
}

func (r *ruleset) table(name string) (*ruleTable, error) {
	for _, t := range r.tables {
		if t.name == name {
			return t, nil
		}
	}
	if builtin[name] == nil {
		return nil, fmt.Errorf("no table %q", name)
	}
	t := &ruleTable{name: name}
	for _, c := range builtin[name] {
		t.chains = append(t.chains, &ruleChain{name: c, policy: "ACCEPT"})
	}
	r.tables = append(r.tables, t)
	return t, nil
}

func (t *ruleTable) chain(name string) (*ruleChain, error) {
	for _, c := range t.chains {
		if c.name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("table %s has no chain %q", t.name, name)
}

// shortForm are the short forms of long options (iptables(8)).
var shortForm = map[string]string{
	"--append": "-A", "--insert": "-I", "--new-chain": "-N", "--new": "-N", "--policy": "-P", "--flush": "-F", "--list": "-L", "--list-rules": "-S", "--table": "-t",
	"--protocol": "-p", "--proto": "-p", "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--match": "-m", "--jump": "-j", "--goto": "-g",
	"--in-interface": "-i", "--out-interface": "-o", "--wait": "-w", "--destination-port": "--dport", "--source-port": "--sport", "--to-port": "--to-ports",
	"--destination-ports": "--dports", "--source-ports": "--sports", "--delete-chain": "-X", "--numeric": "-n", "--verbose": "-v",
}

// command does what one iptables command would; argv is without the program.
func (r *ruleset) command(argv []string) error {
	table, verb, operands := "filter", "", []string(nil)
	var spec []string
	for i := 0; i < len(argv); i++ {
		w := argv[i]
		if s := shortForm[w]; s != "" {
			w = s
		}
		switch w {
		case "-t":
			if i++; i == len(argv) {
				return errors.New("-t: which table?")
			}
			table = argv[i]
		case "-A", "-I", "-N", "-P", "-F", "-X", "-L", "-S":
			if verb != "" {
				return fmt.Errorf("two commands, %s and %s", verb, w)
			}
			verb = w
			for i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") && argv[i+1] != "!" {
				i++
				operands = append(operands, argv[i])
			}
		case "-w": // how long to wait for the lock; the number may be left out
			if i+1 < len(argv) && number(argv[i+1]) {
				i++
			}
		case "-n", "-v":
		case "-D", "-C", "-R", "-E", "-Z", "--delete", "--check", "--replace", "--rename-chain", "--zero":
			return fmt.Errorf("%s is not read", w)
		default:
			spec = append(spec, w)
		}
	}
	return r.do(table, verb, operands, spec)
}

func number(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

func (r *ruleset) do(table, verb string, operands, spec []string) error {
	t, err := r.table(table)
	if err != nil {
		return err
	}
	name, rest := "", []string(nil)
	if len(operands) > 0 {
		name, rest = operands[0], operands[1:]
	}
	switch verb {
	case "-L", "-S":
		return nil
	case "-N":
		if _, err := t.chain(name); err == nil || name == "" || len(rest)+len(spec) > 0 {
			return fmt.Errorf("-N %s: not a new chain", name)
		}
		t.chains = append(t.chains, &ruleChain{name: name, policy: "-"})
		return nil
	case "-F":
		return t.flush(name)
	case "-X":
		return errors.New("-X is not read")
	}
	c, err := t.chain(name)
	if err != nil {
		return err
	}
	switch {
	case verb == "-P" && c.policy != "-" && len(rest) == 1 && (rest[0] == "ACCEPT" || rest[0] == "DROP") && len(spec) == 0:
		c.policy = rest[0]
		return nil
	case verb == "-A" && len(rest) == 0:
		return c.insert(len(c.rules), spec)
	case verb == "-I" && len(rest) == 0:
		return c.insert(0, spec)
	case verb == "-I" && len(rest) == 1 && number(rest[0]):
		n, _ := strconv.Atoi(rest[0])
		return c.insert(n-1, spec)
	}
	return fmt.Errorf("%s is not read", strings.Join(append([]string{verb}, operands...), " "))
}

func (t *ruleTable) flush(name string) error {
	for _, c := range t.chains {
		if name == "" || c.name == name {
			c.rules = nil
		}
	}
	return nil
}

func (c *ruleChain) insert(at int, spec []string) error {
	if at < 0 || at > len(c.rules) {
		return fmt.Errorf("-I %s %d: the chain has %d rules", c.name, at+1, len(c.rules))
	}
	text, err := specText(spec)
	if err != nil {
		return err
	}
	c.rules = slices.Insert(c.rules, at, text)
	return nil
}

// specText is a rule as iptables-save has it: the match of a protocol by its name. An option
// that stands for several rules (-d A,B) is none of ours.
func specText(spec []string) (string, error) {
	var out []string
	proto, named := "", false
	for i := 0; i < len(spec); i++ {
		w := spec[i]
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/!@%+=,-") != "" || w == "" {
			return "", fmt.Errorf("the word %q", w)
		}
		next := ""
		if i+1 < len(spec) {
			next = spec[i+1]
		}
		switch {
		case w == "-p":
			proto = next
		case w == "-m" && next == "comment":
			i++
			if i+2 < len(spec) && spec[i+1] == "--comment" {
				i += 2
			}
			continue
		case w == "-m":
			named = named || next == proto
		case (w == "-s" || w == "-d") && strings.Contains(next, ","):
			return "", fmt.Errorf("%s %s is several rules", w, next)
		case (w == "-s" || w == "-d") && next == "!", w == "--dport" && next == "!", w == "--uid-owner" && next == "!":
			return "", fmt.Errorf("%s !: the old place of the word is not read", w)
		case (w == "--dport" || w == "--sport" || w == "--tcp-flags" || w == "--syn") && !named && proto != "":
			named = true
			at := len(out)
			if at > 0 && out[at-1] == "!" {
				at--
			}
			out = slices.Insert(out, at, "-m", proto)
		}
		out = append(out, w)
	}
	return strings.Join(out, " "), nil
}

// text is all of it as iptables-save prints it.
func (r *ruleset) text() []byte {
	var b strings.Builder
	for _, t := range r.tables {
		fmt.Fprintf(&b, "*%s\n", t.name)
		for _, c := range t.chains {
			fmt.Fprintf(&b, ":%s %s [0:0]\n", c.name, c.policy)
		}
		for _, c := range t.chains {
			for _, rule := range c.rules {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, rule)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return []byte(b.String())
}

package kernel

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Form is the kind of a random rule set.
type Form uint8

const (
	V4NFT    Form = iota // IPv4 by iptables-nft
	V4Legacy             // IPv4 by iptables-legacy
	V6NFT                // IPv6 by ip6tables-nft
	Native               // nftables' own tables, both families
	V6Legacy             // IPv6 by ip6tables-legacy
	Mixed                // IPv4 by both back ends and native tables at once
)

var formNames = [...]string{"v4-nft", "v4-legacy", "v6-nft", "native", "v6-legacy", "mixed"}

// String is the form's name in flags and file names.
func (f Form) String() string { return formNames[f] }

// Forms are all forms.
func Forms() []Form { return []Form{V4NFT, V4Legacy, V6NFT, Native, V6Legacy, Mixed} }

// Set is a rule set as a tree, so that it can be shrunk piece by piece.
type Set struct {
	Tables            []Table
	IPSet             []string // lines of ipset restore
	Forward, LocalNet bool
	LegacyFirst       bool
	RPFilter          int
}

// Table is one table of iptables or nftables.
type Table struct {
	Form   Form   // V4NFT, V4Legacy, V6NFT, V6Legacy or Native
	Family string // Native: ip, ip6, inet
	Name   string
	Decls  []string // Native: sets and maps, one a text
	Chains []Chain
}

// Chain is one chain. Base is empty for a user's chain, else the policy of iptables or the
// "type ..." line of nftables.
type Chain struct {
	Name, Base string
	Rules      []Rule
}

// Rule is a rule's clauses in order.
type Rule []string

// Text is the set as the tools take it.
func (s Set) Text() Text {
	t := Text{Forward: s.Forward, LocalNet: s.LocalNet, LegacyBeforeNFTSet: s.LegacyFirst, RPFilter: s.RPFilter}
	for _, l := range s.IPSet {
		t.IPSet += l + "\n"
	}
	for _, tab := range s.Tables {
		switch tab.Form {
		case V4NFT:
			t.V4 += tab.save()
		case V6NFT:
			t.V6 += tab.save()
		case V4Legacy:
			t.Legacy += tab.save()
		case V6Legacy:
			t.Legacy6 += tab.save()
		case Native:
			t.NFT += tab.native()
		}
	}
	return t
}

// save is the table in the form of iptables-restore.
func (t Table) save() string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n", t.Name)
	for _, c := range t.Chains {
		base := c.Base
		if base == "" {
			base = "-"
		}
		fmt.Fprintf(&b, ":%s %s [0:0]\n", c.Name, base)
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "-A %s %s\n", c.Name, r.text())
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// native is the table in the form of nft -f. User chains stand first: a rule can only
// name what is known.
func (t Table) native() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.Family, t.Name)
	for _, d := range t.Decls {
		fmt.Fprintf(&b, "\t%s\n", d)
	}
	for _, c := range t.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if c.Base != "" {
			fmt.Fprintf(&b, "\t\t%s\n", c.Base)
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text())
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (r Rule) text() string {
	var parts []string
	for _, c := range r {
		if c != "" {
			parts = append(parts, c)
		}
	}
	return strings.Join(parts, " ")
}

// clone is a deep copy.
func (s Set) clone() Set {
	s.IPSet = append([]string(nil), s.IPSet...)
	tables := s.Tables
	s.Tables = nil
	for _, t := range tables {
		t.Decls = append([]string(nil), t.Decls...)
		chains := t.Chains
		t.Chains = nil
		for _, c := range chains {
			rules := c.Rules
			c.Rules = nil
			for _, r := range rules {
				c.Rules = append(c.Rules, append(Rule(nil), r...))
			}
			t.Chains = append(t.Chains, c)
		}
		s.Tables = append(s.Tables, t)
	}
	return s
}

// count is how many rules the set has.
func (s Set) count() int {
	n := 0
	for _, t := range s.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// without drops the rules that nft names in its error ("/dev/stdin:27:35-35: Error"), which
// a random set has a few of. It says whether it found one.
func (s Set) without(err error) (Set, bool) {
	s, found := s.clone(), false
	bad := map[int]bool{}
	for _, m := range stdinLine.FindAllStringSubmatch(err.Error(), -1) {
		n, _ := strconv.Atoi(m[1])
		bad[n] = true
	}
	line := strings.Count(traceRules, "\n")
	for i := range s.Tables {
		t := &s.Tables[i]
		if t.Form != Native {
			continue
		}
		line += 1 + len(t.Decls)
		for j := range t.Chains {
			c := &t.Chains[j]
			line++
			if c.Base != "" {
				line++
			}
			c.Rules = slices.DeleteFunc(c.Rules, func(Rule) bool {
				line++
				found = found || bad[line]
				return bad[line]
			})
			line++
		}
		line++
	}
	return s, found
}

var stdinLine = regexp.MustCompile(`stdin:(\d+):`)

// fair leaves out what is not decided by the first packet: with zones, a later one may make
// an entry of its own in the default zone, which SO_ORIGINAL_DST then finds or not, as
// timing has it.
func (s Set) fair(o Outcome) Outcome {
	t := s.Text()
	if o.OrigDst == o.To && strings.Contains(t.V4+t.V6+t.Legacy+t.Legacy6+t.NFT, "zone") {
		o.OrigDst = ""
	}
	return o
}

package doctor

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/rules/flow"
)

// ruleParts are the parts that hold rules, saves first.
var ruleParts = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json"}

// book is the rules as text: what findings quote and compare. What a rule does is
// netfilter's to say; here it matters which rules there are, and how they look.
type book struct {
	lines  []line
	chains []chain
	sets   []string // named sets and maps of nft.json, raw
}

// line is one rule.
type line struct {
	source               string
	legacy               bool
	family, table, chain string
	number               int
	text                 string
	tests                []string // each with its words in order; of native rules the JSON
	target               string   // "REDIRECT", "ISTIO_OUTPUT"; of native rules "redirect", "jump" ...
	to                   string   // the chain of a jump or goto
	leaves               bool     // a packet that matches never comes to the next rule
	quoted               bool     // holds quoted words that were not taken apart
}

// chain is one chain; base says that a hook leads to it.
type chain struct {
	source, family, table, name string
	legacy, base                bool
	hook                        string
	rules                       int
}

// where is FAMILY TABLE CHAIN, with "legacy" before it where it is.
func where(legacy bool, family, table, chain string) string {
	s := family + " " + table + " " + chain
	if legacy {
		return "legacy " + s
	}
	return s
}

func (l line) place() string   { return where(l.legacy, l.family, l.table, l.chain) }
func (l line) subject() string { return l.place() + " " + strconv.Itoa(l.number) }
func (c chain) place() string  { return where(c.legacy, c.family, c.table, c.name) }

func (l line) evidence() flow.Evidence {
	return flow.Evidence{Source: l.source, Ref: l.subject(), Text: l.text}
}

// read takes the parts apart. What it does not understand it leaves: netfilter.Parse has
// already said what is wrong with a part.
func read(files map[string][]byte) book {
	var b book
	for _, part := range ruleParts[:4] {
		b.save(part, files[part])
	}
	b.native(files["nft.json"])
	return b
}

func (b *book) save(part string, data []byte) {
	family := "ip"
	if strings.HasPrefix(part, "ip6") {
		family = "ip6"
	}
	legacy := strings.Contains(part, "legacy")
	table, count := "", map[string]int{}
	for _, raw := range strings.Split(string(data), "\n") {
		raw = strings.TrimSpace(counters().ReplaceAllString(raw, ""))
		f := strings.Fields(raw)
		switch {
		case len(f) == 1 && raw[0] == '*':
			table, count = raw[1:], map[string]int{}
		case len(f) >= 2 && raw[0] == ':':
			c := chain{source: part, family: family, table: table, name: f[0][1:], legacy: legacy, base: f[1] != "-"}
			if c.base {
				c.hook = strings.ToLower(c.name)
			}
			b.chains = append(b.chains, c)
		case len(f) >= 2 && f[0] == "-A":
			count[f[1]]++
			l := line{source: part, legacy: legacy, family: family, table: table, chain: f[1], number: count[f[1]], text: raw}
			l.clauses(raw)
			b.lines = append(b.lines, l)
			b.counted(l)
		}
	}
}

func (b *book) counted(l line) {
	for i := range b.chains {
		if c := &b.chains[i]; c.place() == l.place() {
			c.rules++
			return
		}
	}
}

var (
	counters = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\[\d+:\d+\] `) })
	comment  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(` -m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+)`) })
	final    = []string{"ACCEPT", "DROP", "REJECT", "RETURN", "REDIRECT", "DNAT", "SNAT", "MASQUERADE", "TPROXY"}
)

// clauses splits a rule of a save into tests and target. A test begins at an option, "!"
// belongs to the one after it, and "-m NAME" to the options that follow it.
func (l *line) clauses(raw string) {
	raw = comment().ReplaceAllString(raw, "")
	l.quoted = strings.ContainsAny(raw, `"'\`)
	f := strings.Fields(raw)[2:]
	module := ""
	for i := 0; i < len(f); {
		from := i
		if f[i] == "!" {
			i++
		}
		if i >= len(f) {
			return
		}
		option := f[i]
		for i++; i < len(f) && f[i] != "!" && !strings.HasPrefix(f[i], "-"); i++ {
		}
		words := strings.Join(f[from:i], " ")
		switch option {
		case "-m":
			module = strings.TrimPrefix(words, "-m ")
			if module == "socket" { // a match that tests without an option
				l.tests = append(l.tests, words)
			}
		case "-j", "-g":
			l.target = strings.TrimPrefix(words, option+" ")
			if option == "-g" || !slices.Contains(final, l.target) && isChain(l.target) {
				l.to = l.target
			}
			l.leaves = option == "-g" || slices.Contains(final, l.target)
			return
		default:
			if strings.HasPrefix(option, "--") && module != "" {
				words = module + " " + words
			}
			l.tests = append(l.tests, words)
		}
	}
}

// isChain says whether a target may be a chain's name: no target of iptables(8) is.
func isChain(target string) bool {
	switch target {
	case "", "MARK", "CONNMARK", "CT", "NOTRACK", "LOG", "NFLOG", "TRACE", "CHECKSUM", "SET", "TOS", "DSCP", "TTL", "HL", "TCPMSS", "CLASSIFY", "NFQUEUE", "TEE", "CONNSECMARK", "SECMARK":
		return false
	}
	return true
}

// native reads the tables of nft.json that are not iptables' own: those stand in the saves.
func (b *book) native(data []byte) {
	var doc struct {
		Items []struct {
			Chain *struct{ Family, Table, Name, Hook string }
			Rule  *struct {
				Family, Table, Chain string
				Expr                 []json.RawMessage
			}
			Set, Map json.RawMessage
		} `json:"nftables"`
	}
	if json.Unmarshal(data, &doc) != nil {
		return
	}
	count := map[string]int{}
	for _, it := range doc.Items {
		for _, set := range []json.RawMessage{it.Set, it.Map} {
			if len(set) > 0 {
				b.sets = append(b.sets, string(set))
			}
		}
		if c := it.Chain; c != nil && !b.saved(c.Family, c.Table) {
			b.chains = append(b.chains, chain{source: "nft.json", family: c.Family, table: c.Table, name: c.Name, base: c.Hook != "", hook: c.Hook})
		}
		if r := it.Rule; r != nil && !b.saved(r.Family, r.Table) {
			l := line{source: "nft.json", family: r.Family, table: r.Table, chain: r.Chain}
			count[l.place()]++
			l.number = count[l.place()]
			l.statements(r.Expr)
			b.lines = append(b.lines, l)
			b.counted(l)
		}
	}
}

// saved says whether a table stands in a save of the nft back end.
func (b *book) saved(family, table string) bool {
	return slices.ContainsFunc(b.chains, func(c chain) bool {
		return c.family == family && c.table == table && !c.legacy && c.source != "nft.json"
	})
}

// statements splits a native rule (libnftables-json(5)).
func (l *line) statements(expr []json.RawMessage) {
	var parts []string
	for _, e := range expr {
		var x map[string]json.RawMessage
		if json.Unmarshal(e, &x) != nil {
			continue
		}
		var flat bytes.Buffer
		if json.Compact(&flat, e) != nil {
			continue
		}
		for kind, arg := range x {
			switch kind {
			case "counter", "log", "comment":
			case "match":
				l.tests = append(l.tests, flat.String())
			default:
				l.target = kind
				l.leaves = slices.Contains([]string{"accept", "drop", "return", "reject", "redirect", "dnat", "snat", "masquerade", "goto"}, kind)
				if kind == "jump" || kind == "goto" {
					var to struct{ Target string }
					if json.Unmarshal(arg, &to) == nil {
						l.to = to.Target
					}
				}
			}
		}
		parts = append(parts, flat.String())
	}
	l.text = "[" + strings.Join(parts, ",") + "]"
}

// evidences quotes rules.
func evidences(lines ...line) []flow.Evidence {
	var out []flow.Evidence
	for _, l := range lines {
		out = append(out, l.evidence())
	}
	return out
}

// inMap says whether a named map names the chain.
func (b book) inMap(chain string) bool {
	name := strconv.Quote(chain)
	return slices.ContainsFunc(b.sets, func(s string) bool { return strings.Contains(s, name) })
}

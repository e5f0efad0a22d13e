package doctor

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// words are the values that the rules name. Between two neighbouring boundaries no rule
// can tell one value from another, so that one probe speaks for all of them.
type words struct {
	ports  []uint16 // each begins a run of ports that all rules treat alike
	addrs  []netip.Addr
	nets   []netip.Prefix
	owners map[string][]uint32 // "uid" and "gid"
	marks  []uint32
	cut    bool // there are more than maxRuns of some kind
}

// maxRuns bounds the probes of one kind.
const maxRuns = 600

var (
	portWords = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`--(?:dports?|sports?|ports|to-ports) ([\d:,\-]+)`) })
	netWords  = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?:-s|-d|--(?:src|dst)-range) ([0-9a-fA-F.:]+(?:[/\-][0-9a-fA-F.:]+)?)`)
	})
	idWords   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`--(uid|gid)-owner (\d+)(?:-(\d+))?`) })
	markWords = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`--mark (0x[0-9a-fA-F]+|\d+)`) })
	digits    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\d+`) })
)

type collector struct {
	ports map[uint16]bool
	addrs map[netip.Addr]bool
	words words
}

// words collects what the lines name.
func (b book) words() words {
	c := collector{ports: map[uint16]bool{1: true}, addrs: map[netip.Addr]bool{}, words: words{owners: map[string][]uint32{}}}
	for _, l := range b.lines {
		if l.source == "nft.json" {
			var v any
			if json.Unmarshal([]byte(l.text), &v) == nil {
				c.json(v, "")
			}
			continue
		}
		c.save(l.text)
	}
	for _, raw := range b.sets {
		var set struct{ Elem any }
		if json.Unmarshal([]byte(raw), &set) == nil {
			c.json(set.Elem, "")
		}
	}
	for p := range c.ports {
		c.words.ports = append(c.words.ports, p)
	}
	for a := range c.addrs {
		c.words.addrs = append(c.words.addrs, a)
	}
	slices.Sort(c.words.ports)
	slices.SortFunc(c.words.addrs, netip.Addr.Compare)
	for _, ids := range c.words.owners {
		slices.Sort(ids)
	}
	if c.words.cut = len(c.words.ports) > maxRuns || len(c.words.addrs) > maxRuns; c.words.cut {
		c.words.ports = c.words.ports[:min(len(c.words.ports), maxRuns)]
		c.words.addrs = c.words.addrs[:min(len(c.words.addrs), maxRuns)]
	}
	return c.words
}

func (c *collector) save(text string) {
	for _, m := range portWords().FindAllStringSubmatch(text, -1) {
		for _, d := range digits().FindAllString(m[1], -1) {
			c.number(d)
		}
	}
	for _, m := range netWords().FindAllStringSubmatch(text, -1) {
		c.address(m[1])
	}
	for _, m := range idWords().FindAllStringSubmatch(text, -1) {
		c.owner(m[1], m[2])
		c.owner(m[1], m[3])
	}
	for _, m := range markWords().FindAllStringSubmatch(text, -1) {
		if n, err := strconv.ParseUint(m[1], 0, 32); err == nil {
			c.mark(uint32(n))
		}
	}
}

func (c *collector) owner(kind, s string) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && !slices.Contains(c.words.owners[kind], uint32(n)) {
		c.words.owners[kind] = append(c.words.owners[kind], uint32(n))
	}
}

func (c *collector) mark(n uint32) {
	if !slices.Contains(c.words.marks, n) {
		c.words.marks = append(c.words.marks, n)
	}
}

// number makes a port a run of its own.
func (c *collector) number(s string) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return
	}
	c.ports[uint16(n)] = true
	if n < 65535 {
		c.ports[uint16(n+1)] = true
	}
}

// address makes an address, a prefix or a range a run of its own.
func (c *collector) address(s string) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		c.edge(from, false)
		c.edge(to, true)
		return
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p = p.Masked(); p.Bits() == 0 {
		return
	}
	c.words.nets = append(c.words.nets, p)
	c.addrs[p.Addr()] = true
	if next := last(p).Next(); next.IsValid() {
		c.addrs[next] = true
	}
}

func (c *collector) edge(s string, after bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return
	}
	if after {
		a = a.Next()
	}
	if a.IsValid() {
		c.addrs[a] = true
	}
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < p.Addr().BitLen(); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// json walks a native rule. key is the last key above v that says what a number is.
func (c *collector) json(v any, key string) {
	switch x := v.(type) {
	case []any:
		for _, y := range x {
			c.json(y, key)
		}
	case map[string]any:
		if m, ok := x["match"].(map[string]any); ok {
			c.json(m["right"], measure(m["left"]))
			return
		}
		if p, ok := x["prefix"].(map[string]any); ok {
			addr, _ := p["addr"].(string)
			bits, _ := p["len"].(float64)
			c.address(addr + "/" + strconv.Itoa(int(bits)))
			return
		}
		for _, k := range sortedKeys(x) {
			c.json(x[k], key)
		}
	case string:
		c.address(x)
	case float64:
		c.count(uint64(x), key)
	}
}

// measure is what the left side of a match measures: "skuid", "mark", or "" for the rest.
func measure(left any) string {
	m, _ := left.(map[string]any)
	if meta, ok := m["meta"].(map[string]any); ok {
		k, _ := meta["key"].(string)
		return k
	}
	return ""
}

func (c *collector) count(n uint64, key string) {
	s := strconv.FormatUint(n, 10)
	switch key {
	case "skuid":
		c.owner("uid", s)
	case "skgid":
		c.owner("gid", s)
	case "mark":
		if n < 1<<32 {
			c.mark(uint32(n))
		}
	default:
		c.number(s)
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

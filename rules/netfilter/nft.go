package netfilter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// nftReader reads `nft -j list ruleset` (libnftables-json(5)).
type nftReader struct {
	rs      *Ruleset
	gaps    []flow.Gap
	sets    map[string]*nftSet // by "family table name"
	objects map[string]bool    // limits and quotas by "family table name": true: over
	held    map[*table]bool    // tables whose rules iptables-save printed
	xt      map[*table]bool    // tables with rules that only iptables-save can print
	own     map[*table]*table  // what of a held table iptables-save left out
	counts  map[*chain]int     // rules of chains of held tables
	beyond  []heldRule
}

// nftItem is one object of the list.
type nftItem struct {
	Family  string            `json:"family"`
	Table   string            `json:"table"`
	Name    string            `json:"name"`
	Chain   string            `json:"chain"`
	Handle  uint64            `json:"handle"`
	Type    json.RawMessage   `json:"type"`
	Hook    string            `json:"hook"`
	Prio    int               `json:"prio"`
	Policy  string            `json:"policy"`
	Map     json.RawMessage   `json:"map"`
	Elem    []any             `json:"elem"`
	Inv     bool              `json:"inv"`
	Expr    []json.RawMessage `json:"expr"`
	Comment string            `json:"comment"`
	Flags   any               `json:"flags"`
}

// readNFT adds the tables that iptables-save does not hold, and takes from the others
// what only nft says: priorities, and the order in which they were made.
func (rs *Ruleset) readNFT(data []byte) ([]flow.Gap, error) {
	for len(data) > 0 && data[0] == '#' { // a warning of iptables-nft's tables
		i := bytes.IndexByte(data, '\n')
		data = data[i+1:]
		if i < 0 {
			data = nil
		}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("nft.json: empty, and `nft -j list ruleset` prints its version at least: nothing was listed")
	}
	var doc struct {
		Items []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("nft.json: not the JSON that nft writes: %w", err)
	}
	if doc.Items == nil {
		return nil, errors.New("nft.json: JSON, but without the list nftables that `nft -j list ruleset` writes")
	}
	r := &nftReader{rs: rs, sets: map[string]*nftSet{}, objects: map[string]bool{}, held: map[*table]bool{}, xt: map[*table]bool{}, own: map[*table]*table{}, counts: map[*chain]int{}}
	for _, t := range rs.tables {
		r.held[t] = t.back == backNFT
	}
	// Chains and sets come first, whatever their order, so that rules find them.
	for _, kinds := range []string{"table", "chain", "set map limit quota", "rule"} {
		for n, item := range doc.Items {
			for kind, raw := range item {
				if strings.Contains(" "+kinds+" ", " "+kind+" ") {
					r.item(kind, raw, n)
				}
			}
		}
	}
	r.replaceHeld()
	r.strangers(doc.Items)
	for _, t := range rs.tables {
		if r.xt[t] {
			r.gap("table %s: some rules stand only in iptables-save, which was not read", t.ref)
		}
	}
	return r.gaps, nil
}

func (r *nftReader) gap(format string, args ...any) {
	if len(r.gaps) < 50 {
		r.gaps = append(r.gaps, flow.Gap{Part: "nft.json", Reason: fmt.Sprintf(format, args...)})
	}
	r.rs.partial = [2]bool{true, true}
}

func (r *nftReader) item(kind string, raw json.RawMessage, n int) {
	var it nftItem
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&it); err != nil {
		r.gap("%s %d: %v", kind, n, err)
		r.gaps[len(r.gaps)-1].Broken = true
		return
	}
	switch it.Family {
	case "ip", "ip6", "inet":
	case "bridge", "arp", "netdev": // the first two see no routed packet
		if kind == "rule" && it.Family == "netdev" {
			r.gap("table netdev %s: rules at ingress are not modelled", it.Table)
		}
		return
	default:
		r.gap("%s of item %d: family %s", kind, n+1, quote(it.Family))
		r.gaps[len(r.gaps)-1].Broken = true
		return
	}
	switch kind {
	case "table":
		r.table(&it)
	case "chain":
		r.chain(&it)
	case "set", "map":
		r.set(&it)
	case "limit", "quota":
		r.objects[it.key()] = it.Inv
	case "rule":
		r.rule(&it, raw)
	}
}

// strangers notes what is none of nft's objects. Those that decide nothing about a packet
// are known by name.
func (r *nftReader) strangers(items []map[string]json.RawMessage) {
	for n, item := range items {
		for _, kind := range slices.Sorted(maps.Keys(item)) {
			switch kind {
			case "table", "chain", "set", "map", "limit", "quota", "rule", "metainfo", "counter", "flowtable", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy", "tunnel", "element":
				continue
			}
			r.gap("item %d: no object of nft: %s", n+1, quote(kind))
			r.gaps[len(r.gaps)-1].Broken = true
		}
	}
}

func (it *nftItem) key() string { return it.Family + " " + it.Table + " " + it.Name }

func (r *nftReader) find(family, name string) *table {
	for _, t := range r.rs.tables {
		if t.back != backLegacy && t.family == family && t.name == name {
			return t
		}
	}
	return nil
}

func (r *nftReader) table(it *nftItem) {
	t := r.find(it.Family, it.Name)
	if t == nil {
		t = r.rs.newTable(backNative, it.Family, it.Name, "nft.json")
	}
	t.handle, t.dormant = it.Handle, dormant(it.Flags)
	if t.dormant == flow.Maybe {
		r.gap("table %s: flags %s cannot be read (nft 1.0.6 garbles them): it may be dormant", t.ref, quote(nftText(it.Flags)))
	}
}

// dormant reads the flags of a table. In the place of any, nft 1.0.6 writes the first
// letter of the table's name.
func dormant(flags any) flow.Answer {
	switch x := flags.(type) {
	case nil:
		return flow.No
	case string:
		if x == "owner" || x == "persist" {
			return flow.No
		}
		if x == "dormant" {
			return flow.Yes
		}
	case []any:
		a := flow.No
		for _, f := range x {
			a = a.Or(dormant(f))
		}
		return a
	}
	return flow.Maybe
}

// owned is the part of a table that iptables-save left out: it prints a table without the
// base chains that it did not make ("contains incompatible base-chains", nft.c,
// nft_is_table_tainted), and these run all the same. They may jump to the others.
func (r *nftReader) owned(t *table) *table {
	o := r.own[t]
	if o == nil {
		o = r.rs.newTable(backNative, t.family, t.name, "nft.json")
		o.handle, o.dormant, o.chains = t.handle, t.dormant, maps.Clone(t.chains)
		r.own[t] = o
	}
	return o
}

func (r *nftReader) chain(it *nftItem) {
	t := r.find(it.Family, it.Table)
	if t == nil {
		r.gap("chain %s: there is no table %s", it.Name, it.Table)
		return
	}
	c := t.chains[it.Name]
	if c == nil {
		if r.held[t] {
			t = r.owned(t)
		}
		c = t.chain(it.Name)
	}
	c.handle = it.Handle
	if it.Hook == "" {
		return
	}
	h := hook(0)
	for h < hooks && !strings.EqualFold(hookNames[h], it.Hook) {
		h++
	}
	if h == hooks {
		r.gap("chain %s: hook %s is not modelled", c.ref(), it.Hook)
		return
	}
	c.base, c.hook, c.prio = true, h, it.Prio
	switch strings.Trim(string(it.Type), `"`) {
	case "nat":
		c.kind = kindNAT
	case "route":
		c.kind = kindRoute
	case "filter":
		c.kind = kindFilter
	default:
		c.kind = kindFilter
		r.gap("chain %s: type %s", c.ref(), it.Type)
	}
	switch {
	case r.held[t], it.Policy == "accept", it.Policy == "":
	case it.Policy == "drop":
		c.policy = vDrop
	default:
		c.policy = vUnknown
		r.gap("chain %s: policy %s", c.ref(), quote(it.Policy))
	}
}

func (r *nftReader) rule(it *nftItem, raw json.RawMessage) {
	t := r.find(it.Family, it.Table)
	if t == nil {
		r.gap("rule %d: there is no table %s", it.Handle, it.Table)
		return
	}
	if r.held[t] {
		if t.chains[it.Chain] != nil {
			r.heldRule(t, it, string(raw))
			return
		}
		o := r.own[t]
		if o == nil {
			return
		}
		t = o
	}
	c := t.chains[it.Chain]
	if c == nil {
		r.gap("rule %d: there is no chain %s", it.Handle, it.Chain)
		return
	}
	b := nftBuilder{r: r, table: t}
	made := b.rule(it)
	made.text = string(raw)
	c.rules = append(c.rules, made)
	r.xt[t] = r.xt[t] || b.xt
}

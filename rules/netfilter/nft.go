package netfilter

import (
	"bytes"
	"encoding/json"
	"fmt"
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
		return nil, nil
	}
	var doc struct {
		Items []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("nft.json: not the JSON that nft writes: %w", err)
	}
	r := &nftReader{rs: rs, sets: map[string]*nftSet{}, objects: map[string]bool{}, held: map[*table]bool{}, xt: map[*table]bool{}}
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
	if it.Family != "ip" && it.Family != "ip6" && it.Family != "inet" {
		if kind == "rule" && it.Family == "netdev" {
			r.gap("table netdev %s: rules at ingress are not modelled", it.Table)
		}
		return // bridge and arp see no routed packet
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
	t.handle = it.Handle
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
			return
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
	default:
		c.kind = kindFilter
	}
	if it.Policy == "drop" && !r.held[t] {
		c.policy = vDrop
	}
}

func (r *nftReader) rule(it *nftItem, raw json.RawMessage) {
	t := r.find(it.Family, it.Table)
	if t == nil || r.held[t] {
		return
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

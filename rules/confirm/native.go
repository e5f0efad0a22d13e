package confirm

import (
	"encoding/json"
	"strconv"
)

// nftList is `nft -j list ruleset`, as far as its counters go (libnftables-json(5)).
type nftList struct {
	Items []struct {
		Chain *struct{ Family, Table, Type string }
		Rule  *struct {
			Family, Table, Chain string
			Handle               uint64
			Expr                 []map[string]json.RawMessage
		}
	} `json:"nftables"`
}

// nativeCounters reads the rules that hold a counter, and numbers each chain's rules from 1. A
// table of iptables-nft stands in its save, which was read before.
func nativeCounters(out map[string]Counter, list []byte) {
	var doc nftList
	if json.Unmarshal(list, &doc) != nil {
		return // what is no such list counts nothing
	}
	nat, other := map[string]bool{}, map[string]bool{} // tables, by their base chains
	for _, it := range doc.Items {
		if c := it.Chain; c != nil && c.Type != "" {
			nat[c.Family+" "+c.Table] = nat[c.Family+" "+c.Table] || c.Type == "nat"
			other[c.Family+" "+c.Table] = other[c.Family+" "+c.Table] || c.Type != "nat"
		}
	}
	number := map[string]int{}
	for _, it := range doc.Items {
		r := it.Rule
		if r == nil {
			continue
		}
		table := r.Family + " " + r.Table
		number[table+" "+r.Chain]++
		name := table + " " + r.Chain + " " + strconv.Itoa(number[table+" "+r.Chain])
		if _, saved := out[name]; saved {
			continue
		}
		for _, e := range r.Expr {
			var c struct{ Packets *uint64 }
			if json.Unmarshal(e["counter"], &c) == nil && c.Packets != nil { // a counter of a name is shared
				out[name] = Counter{*c.Packets, "handle " + strconv.FormatUint(r.Handle, 10), nat[table] && !other[table]}
			}
		}
	}
}

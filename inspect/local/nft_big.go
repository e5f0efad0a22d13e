package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
)

// largeRules is the number of rules from which the kernel is asked directly:
// iptables-nft-save and nft would each list them again.
const largeRules = 2000

// bigRules are the tables and chains of a namespace, and the rules of iptables-nft in the
// form of iptables-nft-save -c, by family.
type bigRules struct {
	tables []*nftTable
	text   map[uint8][]byte
}

type nftTable struct {
	family uint8
	name   string
	handle uint64
	chains []nftChain
	// dormant: NFT_TABLE_F_DORMANT, its chains are at no hook
	dormant bool
}

type nftChain struct {
	name, kind string
	handle     uint64
	base, drop bool
	hook       uint32
	prio       int32
}

// nftFamily is a family by its number (include/uapi/linux/netfilter.h, NFPROTO_*); empty:
// another one.
func nftFamily(n uint8) string {
	switch n {
	case 1:
		return "inet"
	case 2:
		return "ip"
	case 3:
		return "arp"
	case 5:
		return "netdev"
	case 7:
		return "bridge"
	case 10:
		return "ip6"
	}
	return ""
}

// nftHooks are the hooks of ip, ip6 and inet by their numbers.
var nftHooks = [...]string{"prerouting", "input", "forward", "output", "postrouting"}

func (b *bigRules) table(family uint8, data []byte) error {
	a := attrs(data)
	b.tables = append(b.tables, &nftTable{family: family, name: cString(a[1]), handle: be64(a[4]), dormant: a[2] != nil && be32(a[2])&1 != 0})
	return nil
}

func be64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (b *bigRules) chain(family uint8, data []byte) error {
	a := attrs(data)
	c := nftChain{name: cString(a[3]), handle: be64(a[2]), base: a[4] != nil, drop: a[5] != nil && be32(a[5]) == 0, kind: cString(a[7])}
	if c.base {
		h := attrs(a[4])
		c.hook, c.prio = be32(h[1]), int32(be32(h[2]))
	}
	name := cString(a[1])
	i := slices.IndexFunc(b.tables, func(t *nftTable) bool { return t.family == family && t.name == name })
	if i < 0 {
		return fmt.Errorf("a chain of table %q, which is not listed", name)
	}
	b.tables[i].chains = append(b.tables[i].chains, c)
	return nil
}

// baseChains are the hooks at which iptables has chains in a table; none: it has no such
// table.
func baseChains(table string) []string {
	switch table {
	case "raw":
		return []string{"prerouting", "output"}
	case "mangle":
		return nftHooks[:]
	case "nat":
		return []string{"prerouting", "input", "output", "postrouting"}
	case "filter", "security":
		return []string{"input", "forward", "output"}
	}
	return nil
}

// iptables says that a table is one of iptables-nft by its name.
func (t *nftTable) iptables() bool {
	return (t.family == 2 || t.family == 10) && baseChains(t.name) != nil
}

// head begins the table. All chains at hooks are written, also those that were not made.
func (t *nftTable) head(out []byte) []byte {
	out = append(append(append(out, '*'), t.name...), '\n')
	for _, h := range baseChains(t.name) {
		policy := "ACCEPT"
		for _, c := range t.chains {
			if c.base && c.drop && strings.EqualFold(c.name, h) {
				policy = "DROP"
			}
		}
		out = append(out, ":"+strings.ToUpper(h)+" "+policy+" [0:0]\n"...)
	}
	for _, c := range t.chains {
		if !c.base {
			out = append(out, ":"+c.name+" - [0:0]\n"...)
		}
	}
	return out
}

// foreign says that the table has a chain that iptables does not make: then its rules are
// nft's own.
func (t *nftTable) foreign() bool {
	return slices.ContainsFunc(t.chains, func(c nftChain) bool {
		if strings.ContainsAny(c.name, " \t\n\"'\\") {
			return true
		}
		return c.base && (int(c.hook) >= len(nftHooks) || c.name != strings.ToUpper(nftHooks[c.hook]) || !slices.Contains(baseChains(t.name), nftHooks[c.hook]))
	})
}

// list is the table and its chains as `nft -j` lists them, without the rules, which stand
// in iptables-save.
func (t *nftTable) list() []any {
	family := nftFamily(t.family)
	table := map[string]any{"family": family, "name": t.name, "handle": t.handle}
	if t.dormant {
		table["flags"] = "dormant"
	}
	out := []any{map[string]any{"table": table}}
	for _, c := range t.chains {
		m := map[string]any{"family": family, "table": t.name, "name": c.name, "handle": c.handle}
		if c.base {
			m["type"], m["hook"], m["prio"], m["policy"] = c.kind, nftHooks[c.hook], c.prio, "accept"
			if c.drop {
				m["policy"] = "drop"
			}
		}
		out = append(out, map[string]any{"chain": m})
	}
	return out
}

// big reads large rules straight from the kernel; nil: there are few, or some that only the
// tools can write.
func (r *reading) big(ctx context.Context) *bigRules {
	for _, p := range []string{"iptables-save", "ip6tables-save", "nft.json"} {
		if !r.wants(p) {
			return nil
		}
	}
	limit := int64(toolBytes)
	if r.want.MaxBytes > 0 {
		limit = min(limit, r.want.MaxBytes)
	}
	call := inspect.Call{What: "read nf_tables", Start: time.Now()}
	b, err := readBig(r.pod.space, int(limit), largeRules)
	call.Took = time.Since(call.Start)
	if err != nil || ctx.Err() != nil {
		return nil
	}
	for _, t := range b.tables {
		if t.iptables() && t.foreign() || !t.iptables() && !plainName(t.name) {
			return nil
		}
		if nftFamily(t.family) == "" {
			return nil
		}
	}
	for _, text := range b.text {
		call.Bytes += int64(len(text))
	}
	r.out.Calls = append(r.out.Calls, call)
	return b
}

// plainName: nft parses its arguments as its language, so no other name is handed to it.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != "" && s[0] != '-' && (s[0] < '0' || s[0] > '9')
}

// bigJSON is nft.json: the tables of iptables without their rules, and all others by nft.
func (r *reading) bigJSON(ctx context.Context, b *bigRules) {
	var items []any
	for _, t := range b.tables {
		if t.iptables() {
			items = append(items, t.list()...)
			continue
		}
		data, err := r.run(ctx, "nft", "-j", "list", "table", nftFamily(t.family), t.name)
		if err != nil {
			r.gap("nft.json", err)
			return
		}
		var doc struct {
			Items []json.RawMessage `json:"nftables"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			r.gap("nft.json", fmt.Errorf("nft -j list table %s %s: %w", nftFamily(t.family), t.name, err))
			return
		}
		for _, it := range doc.Items {
			if !bytes.Contains(it, []byte(`"metainfo"`)) {
				items = append(items, it)
			}
		}
	}
	data, err := json.Marshal(map[string]any{"nftables": items})
	if err != nil {
		r.gap("nft.json", err)
		return
	}
	r.keep("nft.json", data)
}

package egress

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/meshtop/meshtop/rules"
)

// item is what of an object of `nft -j list ruleset` tells where it belongs
// (libnftables-json(5)).
type item struct {
	kind                string // "table", "chain", "rule", "set" ...
	Family, Table, Name string
	Chain, Type         string
}

// table is the name of the table that it belongs to, or is.
func (it item) table() string {
	if it.kind == "table" {
		return it.Name
	}
	return it.Table
}

// without is the snapshot without those objects of nft.json. It is s itself where there are
// none of them.
func without(s *rules.Snapshot, drop func(item) bool) *rules.Snapshot {
	raw, changed := thinned(s.Files["nft.json"], drop)
	if !changed {
		return s
	}
	files := maps.Clone(s.Files)
	files["nft.json"] = raw
	return parsed(s, files)
}

// parsed is another snapshot of the same pod. What makes no sense in it made none before.
func parsed(s *rules.Snapshot, files map[string][]byte) *rules.Snapshot {
	out, _ := rules.ParseSnapshot(files, s.Gaps)
	if out == nil {
		return s
	}
	return out
}

func thinned(raw []byte, drop func(item) bool) (out []byte, changed bool) {
	var doc struct {
		Items []map[string]json.RawMessage `json:"nftables"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &doc) != nil {
		return raw, false
	}
	kept := doc.Items[:0]
	for _, one := range doc.Items {
		dropped := false
		for kind, body := range one {
			it := item{kind: kind}
			dropped = dropped || json.Unmarshal(body, &it) == nil && drop(it)
		}
		if !dropped {
			kept = append(kept, one)
		}
	}
	if len(kept) == len(doc.Items) {
		return raw, false
	}
	doc.Items = kept
	out, err := json.Marshal(doc)
	return out, err == nil
}

// saves are the parts of iptables' two back ends.
var saves = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"}

// untranslated is the pod for a connection whose destination was translated before its nat
// chains are asked: they are not asked then (nf_nat_core.c, nf_nat_inet_fn). Envoy's
// configuration is left out, so that what still meets the proxy is unknown.
func untranslated(s *rules.Snapshot) *rules.Snapshot {
	files := map[string][]byte{}
	for name, raw := range s.Files {
		if name != "config_dump.json" && name != "clusters.json" && name != "listeners.json" && !strings.HasPrefix(name, "config_dump/") && !strings.HasPrefix(name, "clusters/") {
			files[name] = raw
		}
	}
	for _, part := range saves {
		if raw, ok := files[part]; ok {
			files[part] = withoutNAT(raw)
		}
	}
	nat := map[[3]string]bool{}
	thinned(files["nft.json"], func(it item) bool {
		if it.kind == "chain" && it.Type == "nat" {
			nat[[3]string{it.Family, it.Table, it.Name}] = true
		}
		return false
	})
	files["nft.json"], _ = thinned(files["nft.json"], func(it item) bool {
		return it.kind == "chain" && it.Type == "nat" || it.kind == "rule" && nat[[3]string{it.Family, it.Table, it.Chain}]
	})
	if len(files["nft.json"]) == 0 {
		delete(files, "nft.json")
	}
	return parsed(s, files)
}

// withoutNAT is a save without its table nat.
func withoutNAT(raw []byte) []byte {
	var b strings.Builder
	inside := false
	for l := range strings.Lines(string(raw)) {
		word := strings.TrimSpace(l)
		if strings.HasPrefix(word, "*") {
			inside = word == "*nat"
		}
		if !inside {
			b.WriteString(l)
		}
	}
	return []byte(b.String())
}

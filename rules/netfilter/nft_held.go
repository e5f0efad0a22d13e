package netfilter

import "strings"

// A rule that nft put into a table of iptables is printed by iptables-nft-save as far as
// it has words for it: `tcp dport { 80, 81 } drop` becomes "-p tcp -j DROP" (iptables/nft-shared.c,
// nft_rule_to_iptables_command_state passes over what it cannot say). heldRule keeps such a rule as nft lists it, by
// its place in the chain.
type heldRule struct {
	c    *chain
	at   int
	made rule
}

// heldRule takes note of a rule of a table whose rules iptables-save printed.
func (r *nftReader) heldRule(t *table, it *nftItem, raw string) {
	c := t.chains[it.Chain]
	at := r.counts[c]
	r.counts[c]++
	if !beyondIPTables(it) {
		return
	}
	b := nftBuilder{r: r, table: t}
	made := b.rule(it)
	made.text = raw
	if !b.xt { // what is xtables' only iptables-save can print
		r.beyond = append(r.beyond, heldRule{c, at, made})
	}
}

// replaceHeld puts nft's form of a rule in the place of the one that says too little.
func (r *nftReader) replaceHeld() {
	for _, h := range r.beyond {
		if n := len(h.c.rules); n != r.counts[h.c] {
			r.gap("chain %s: iptables-save has %d rules and nft %d, so it is not known which is %s", h.c.ref(), n, r.counts[h.c], quote(h.made.text))
			continue
		}
		h.made.line = h.c.rules[h.at].line
		h.c.rules[h.at] = h.made
	}
}

// beyondIPTables says that a rule holds a match of nft's own that iptables has no word for.
func beyondIPTables(it *nftItem) bool {
	seen := map[string]bool{}
	for _, raw := range it.Expr {
		m, _ := anyOf(raw).(map[string]any)
		if m["xt"] != nil {
			return false
		}
	}
	for _, raw := range it.Expr {
		m, _ := anyOf(raw).(map[string]any)
		if m["vmap"] != nil {
			return true
		}
		match, ok := m["match"].(map[string]any)
		if !ok {
			continue
		}
		left := nftText(match["left"])
		if right, ok := match["right"].(map[string]any); ok && (right["set"] != nil || right["map"] != nil) {
			return true
		}
		if right, _ := match["right"].(string); strings.HasPrefix(right, "@") {
			return true
		}
		field, _, _ := strings.Cut(left, " & ")
		if !iptablesField(field) || seen[left] && left != "meta mark" {
			return true
		}
		seen[left] = true
	}
	return false
}

// iptablesField knows what iptables-nft itself compares by expressions of nf_tables.
func iptablesField(s string) bool {
	switch s {
	case "meta l4proto", "meta mark", "iifname", "oifname", "iif", "oif", "ip saddr", "ip daddr", "ip protocol", "ip frag-off", "ip ttl", "ip6 saddr", "ip6 daddr", "ip6 nexthdr", "ip6 hoplimit":
		return true
	}
	proto, field, _ := strings.Cut(s, " ")
	switch proto {
	case "tcp", "udp", "sctp", "dccp", "udplite", "th":
		return field == "sport" || field == "dport" || field == "flags" && proto == "tcp"
	}
	return false
}

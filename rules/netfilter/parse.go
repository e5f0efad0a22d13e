package netfilter

import (
	"fmt"
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// saveParts are the parts that iptables-save writes.
var saveParts = [...]struct {
	part, family string
	back         backend
}{
	{"iptables-save", "ip", backNFT}, {"ip6tables-save", "ip6", backNFT},
	{"iptables-legacy-save", "ip", backLegacy}, {"ip6tables-legacy-save", "ip6", backLegacy},
}

// Parse reads the rules of a snapshot: the parts iptables-save, ip6tables-save,
// iptables-legacy-save, ip6tables-legacy-save (iptables-save(8), with or without -c),
// nft.json (`nft -j list ruleset`) and ipset (`ipset save`). A part that is absent holds
// no rules. What cannot be read is a Gap with its line; the rest stays readable.
func Parse(files map[string][]byte) (*Ruleset, []flow.Gap, error) {
	rs := &Ruleset{}
	var gaps []flow.Gap
	sets, bad := parseSets(string(files["ipset"]))
	for _, b := range bad {
		gaps = append(gaps, flow.Gap{Part: "ipset", Reason: fmt.Sprintf("line %d: %s", b.line, b.cause), Broken: true})
	}
	var foreign, tainted []foreignTable
	for _, s := range saveParts {
		data, ok := files[s.part]
		if !ok {
			continue
		}
		r := saveReader{rs: rs, part: s.part, back: s.back, family: s.family, sets: sets}
		if err := r.read(string(data)); err != nil {
			return nil, nil, err
		}
		gaps = append(gaps, r.gaps...)
		for _, f := range r.tainted {
			tainted = append(tainted, foreignTable{s.family, f, s.part})
		}
		for _, f := range r.foreign {
			foreign = append(foreign, foreignTable{s.family, f, s.part})
		}
	}
	if data, listed := files["nft.json"]; listed {
		more, err := rs.readNFT(data)
		if err != nil {
			return nil, nil, err
		}
		gaps = append(gaps, more...)
	}
	for _, f := range foreign {
		if rs.has(f.family, f.name) {
			continue
		}
		gaps = append(gaps, flow.Gap{Part: f.part, Reason: fmt.Sprintf("table %q holds rules that only nft can print, and nft.json does not hold it", f.name)})
		rs.partial[famIndex(f.family == "ip6")] = true
	}
	for _, f := range tainted {
		if rs.hasNative(f.family, f.name) {
			continue
		}
		gaps = append(gaps, flow.Gap{Part: f.part, Reason: fmt.Sprintf("table %q holds chains that only nft can print, and nft.json does not hold them", f.name)})
		rs.partial[famIndex(f.family == "ip6")] = true
	}
	rs.number()
	rs.plan()
	return rs, gaps, nil
}

type foreignTable struct{ family, name, part string }

func (rs *Ruleset) has(family, name string) bool {
	for _, t := range rs.tables {
		if t.back != backLegacy && t.family == family && t.name == name {
			return true
		}
	}
	return false
}

func (rs *Ruleset) hasNative(family, name string) bool {
	return slices.ContainsFunc(rs.tables, func(t *table) bool { return t.back == backNative && t.family == family && t.name == name })
}

// needing is a condition or a target that needs conntrack, so that the kernel turns it on
// for its family when the rule is loaded (nf_ct_netns_get).
type needing interface{ needsConntrack(v6 bool) bool }

func (t *conntrackTest) needsConntrack(bool) bool { return true }
func (t *connmarkTest) needsConntrack(bool) bool  { return true }
func (a *setConnmark) needsConntrack(bool) bool   { return true }
func (a *natAct) needsConntrack(bool) bool        { return true }
func (t *nftMatch) needsConntrack(v6 bool) bool   { return anyNeeds(v6, t.left...) }
func (a *setConn) needsConntrack(bool) bool       { return !a.notrack }

func (rs *Ruleset) needsConntrack(v6 bool) flow.Answer {
	for _, c := range rs.chains {
		if !c.table.covers(v6) {
			continue
		}
		for i := range c.rules {
			if c.rules[i].needsConntrack(v6) {
				return flow.Yes
			}
		}
	}
	if rs.partial[famIndex(v6)] {
		return flow.Maybe
	}
	return flow.No
}

func (r *rule) needsConntrack(v6 bool) bool {
	if n, ok := r.act.(needing); ok && n.needsConntrack(v6) {
		return true
	}
	for i := range r.conds {
		if n, ok := r.conds[i].test.(needing); ok && n.needsConntrack(v6) {
			return true
		}
	}
	return false
}

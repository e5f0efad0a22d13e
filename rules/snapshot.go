// Package rules joins the kernel's half and the proxy's half: a snapshot's files become
// one Snapshot, and a request becomes one Trace, leg by leg.
package rules

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// Snapshot is what was read of one pod, parsed. It is not changed after ParseSnapshot,
// so any number of traces may use it at once.
type Snapshot struct {
	Rules *netfilter.Ruleset // nil: no rules were read
	Host  *netfilter.Host    // nil: neither addresses, routes nor sockets were read
	Envoy *envoy.Config      // nil: no configuration was read
	Files map[string][]byte
	Meta  Meta
	Gaps  []flow.Gap
	Names flow.Names // of addresses

	owner proxyOwner
}

// Meta is meta.json: when and from where a snapshot was taken.
type Meta struct {
	Taken    string     `json:"taken"`    // RFC 3339
	Target   string     `json:"target"`   // such as "netns blue"
	Complete []string   `json:"complete"` // Envoy resources of which everything was read
	Gaps     []flow.Gap `json:"gaps"`
	Title    string     `json:"title"` // a sentence, of a saved scene
	// Intent are the parts that say what was meant to be, and not what is.
	Intent []string `json:"intent"`

	// Of recordings.
	About    string  `json:"about"`
	Scenario string  `json:"scenario"`
	EnvoyUID *uint32 `json:"envoy_uid"`
	EnvoyGID *uint32 `json:"envoy_gid"`
}

// ruleParts and hostParts are the parts that make Rules and Host.
var (
	ruleParts = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json"}
	hostParts = []string{"addr.json", "route.json", "route6.json", "rule.json", "sysctl", "sockets", "conntrack"}
)

// ParseSnapshot parses the files of a snapshot by name. A part that cannot be parsed is
// left out; the snapshot holds the rest, and the error says where and why. gaps are the
// parts that could not be read in the first place.
func ParseSnapshot(files map[string][]byte, gaps []flow.Gap) (*Snapshot, error) {
	s := &Snapshot{Files: files, Gaps: append([]flow.Gap(nil), gaps...)}
	var errs []error
	if raw, ok := files["meta.json"]; ok {
		if err := json.Unmarshal(raw, &s.Meta); err != nil {
			errs = append(errs, fmt.Errorf("meta.json: %w", err))
		}
		s.Gaps = append(s.Gaps, s.Meta.Gaps...)
	}
	keep := func(g []flow.Gap, err error) bool {
		s.Gaps = append(s.Gaps, g...)
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}
	if has(files, ruleParts) {
		r, g, err := netfilter.Parse(files)
		// That no rule was seen where they could not be looked for says nothing.
		blind := s.missed("iptables-save") && s.missed("nft.json")
		if keep(g, err) && !(blind && r.Empty()) {
			s.Rules = r
		}
	}
	if has(files, hostParts) {
		h, g, err := netfilter.ParseHost(files)
		if keep(g, err) {
			s.Host = h
		}
	}
	if hasEnvoy(files) {
		c, g, err := envoy.Load(files)
		if keep(g, err) {
			s.Envoy = c
		}
	}
	if raw, ok := files[NamesPart]; ok {
		n, err := parseNames(raw)
		if keep(nil, err) {
			s.Names = n
		}
	}
	s.owner = findOwner(s)
	return s, errors.Join(errs...)
}

// missed says whether a part could not be read.
func (s *Snapshot) missed(part string) bool {
	_, read := s.Files[part]
	return !read && slices.ContainsFunc(s.Gaps, func(g flow.Gap) bool { return g.Part == part })
}

// Parts are the names of the snapshot's files in order.
func (s *Snapshot) Parts() []string {
	names := make([]string, 0, len(s.Files))
	for n := range s.Files {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func has(files map[string][]byte, names []string) bool {
	for _, n := range names {
		if _, ok := files[n]; ok {
			return true
		}
	}
	return false
}

// hasEnvoy says whether any part of Envoy's configuration was read: listeners.json alone
// is enough, since it names what else is needed.
func hasEnvoy(files map[string][]byte) bool {
	if has(files, []string{"config_dump.json", "listeners.json"}) {
		return true
	}
	for n := range files {
		if len(n) > len("config_dump/") && n[:len("config_dump/")] == "config_dump/" {
			return true
		}
	}
	return false
}

// Named is the snapshot with these names too. It is not parsed again.
func (s *Snapshot) Named(n flow.Names) *Snapshot {
	out := *s
	out.Names = flow.Names{Labels: maps.Clone(s.Names.Labels), Partial: cmp.Or(n.Partial, s.Names.Partial)}
	if out.Names.Labels == nil {
		out.Names.Labels = map[netip.Addr][]flow.Label{}
	}
	for a, l := range n.Labels {
		if len(out.Names.Labels) < mostNames {
			out.Names.Labels[a] = l
		}
	}
	raw, _ := json.MarshalIndent(out.Names, "", "  ") // of strings and addresses: it cannot fail
	out.Files = maps.Clone(s.Files)
	if out.Files == nil {
		out.Files = map[string][]byte{}
	}
	out.Files[NamesPart] = append(raw, '\n')
	return &out
}

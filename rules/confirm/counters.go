package confirm

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Counter is a counter's value. Rule is the rule that it is of, as it was added: a number
// names another rule when one before it is taken away. Empty: of no rule. NAT: it is of a table
// of nft that is asked once for a connection.
type Counter struct {
	N    uint64
	Rule string
	NAT  bool
}

// Counters are the counters of a snapshot's files: of rules, by the rule's subject
// ("ip nat OUTPUT 2"), from iptables-save -c and nft.json; Envoy's, by name, from stats (lines
// "name: value"); and those of each endpoint, from clusters.json.
func Counters(files map[string][]byte) map[string]Counter {
	out := map[string]Counter{}
	for part, prefix := range map[string]string{"iptables-save": "ip", "ip6tables-save": "ip6", "iptables-legacy-save": "legacy ip", "ip6tables-legacy-save": "legacy ip6"} {
		ruleCounters(out, files[part], prefix)
	}
	nativeCounters(out, files["nft.json"])
	for line := range bytes.Lines(files["stats"]) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			out[name] = Counter{N: n}
		}
	}
	hostCounters(out, files["clusters.json"])
	return out
}

// hostCounters reads the requests and connections of each endpoint (envoy.admin.v3.Clusters).
func hostCounters(out map[string]Counter, clusters []byte) {
	var doc struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    uint16 `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
				Stats []struct {
					Name  string `json:"name"`
					Value string `json:"value"` // absent: 0
				} `json:"stats"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if json.Unmarshal(clusters, &doc) != nil {
		return // what is no such list counts nothing
	}
	for _, c := range doc.Clusters {
		for _, h := range c.Hosts {
			ip, err := netip.ParseAddr(h.Address.Socket.Address)
			if err != nil {
				continue
			}
			at := hostPrefix(c.Name) + netip.AddrPortFrom(ip, h.Address.Socket.Port).String()
			for _, s := range h.Stats {
				n, err := strconv.ParseUint(s.Value, 10, 64)
				if (err == nil || s.Value == "") && (s.Name == "rq_total" || s.Name == "cx_total") {
					out[at+" "+s.Name] = Counter{N: n}
				}
			}
		}
	}
}

// hostPrefix begins the names of the counters of a cluster's endpoints.
func hostPrefix(cluster string) string { return "cluster " + cluster + " endpoint " }

// rulesRead ends the name that says that a family's rules were read.
const rulesRead = " rules"

// ruleCounters reads "[packets:bytes] -A CHAIN ..." and numbers each chain's rules from 1.
func ruleCounters(out map[string]Counter, save []byte, family string) {
	table := ""
	number := map[string]int{}
	if len(save) > 0 {
		out[family+rulesRead] = Counter{}
	}
	for line := range bytes.Lines(save) {
		text := strings.TrimSpace(string(line))
		if strings.HasPrefix(text, "*") {
			table, number = text[1:], map[string]int{}
			continue
		}
		count, rest, found := strings.Cut(text, "] -A ")
		if !found {
			if rest, found = strings.CutPrefix(text, "-A "); !found {
				continue
			}
			count = ""
		}
		chain, _, _ := strings.Cut(rest, " ")
		number[chain]++
		packets, _, _ := strings.Cut(strings.TrimPrefix(count, "["), ":")
		if n, err := strconv.ParseUint(packets, 10, 64); err == nil {
			out[family+" "+table+" "+chain+" "+strconv.Itoa(number[chain])] = Counter{N: n, Rule: "-A " + rest}
		}
	}
}

// Deltas are the counters that both readings hold, of the same rule, as observations in order
// of their names. at is when they were read; nil: not known.
func Deltas(before, after map[string]Counter, at *flow.Readings) []flow.Observation {
	var out []flow.Observation
	for name, a := range after {
		if b, ok := before[name]; ok && a.Rule == b.Rule {
			o := flow.Observation{Kind: flow.SeenCounter, Ref: name, Name: name, Before: b.N, After: a.N, Readings: at}
			if a.Rule != "" {
				o.Fields = map[string]string{"rule": a.Rule}
				if a.NAT {
					o.Fields["nat"] = "yes"
				}
			}
			out = append(out, o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Text is a rule set as the tools take it. Parts that are empty are not loaded.
type Text struct {
	NFT                string // nft -f
	V4, V6             string // iptables-nft-restore, ip6tables-nft-restore
	Legacy, Legacy6    string // iptables-legacy-restore, ip6tables-legacy-restore
	IPSet              string // ipset restore
	Forward, LocalNet  bool   // sysctls ip_forward (both families), route_localnet
	RPFilter           int    // sysctl rp_filter
	LegacyBeforeNFTSet bool   // which back end is registered first
}

// Files are the parts of a snapshot, by the names that netfilter.Parse knows.
type Files map[string][]byte

// index numbers the rules that are loaded.
type index struct {
	nft    map[string]int // "family table chain handle"
	legacy map[string]int // "family table chain": how many rules it has
}

func (ix index) number(family, table, chain string, handle uint64) int {
	return ix.nft[fmt.Sprintf("%s %s %s %d", family, table, chain, handle)]
}

// Load replaces the pod's rules, and reads them back as a user would.
func (l *Lab) Load(t Text) (Files, error) {
	if err := l.clear(); err != nil {
		return nil, err
	}
	steps := []struct{ text, tool, arg string }{
		{t.IPSet, "ipset", "restore"},
		{traceRules + t.NFT, "nft", "-f-"},
		{t.V4, "iptables-nft-restore", ""},
		{t.V6, "ip6tables-nft-restore", ""},
		{t.Legacy, "iptables-legacy-restore", ""},
		{t.Legacy6, "ip6tables-legacy-restore", ""},
	}
	if t.LegacyBeforeNFTSet {
		steps = slices.Concat(steps[:1], steps[4:], steps[1:4])
	}
	l.sets = t.IPSet != ""
	l.legacy = l.legacy || t.Legacy+t.Legacy6 != ""
	for _, s := range steps {
		if s.text == "" {
			continue
		}
		if _, err := l.pod.run(s.text, s.tool, strings.Fields(s.arg)...); err != nil {
			return nil, err
		}
	}
	if err := l.settle(t); err != nil {
		return nil, err
	}
	return l.Read()
}

// LoadSet loads a random set, without the rules that the tools refuse. It answers the set
// that is loaded.
func (l *Lab) LoadSet(s Set) (Set, Files, error) {
	for try := 0; ; try++ {
		files, err := l.Load(s.Text())
		if err == nil {
			return s, files, nil
		}
		less, ok := s.without(err)
		if !ok || try == 8 {
			return s, nil, err
		}
		s = less
	}
}

// clear takes all rules away. A legacy table cannot be unmade, only emptied.
func (l *Lab) clear() error {
	if _, err := l.pod.run("flush ruleset\n", "nft", "-f-"); err != nil {
		return err
	}
	if l.legacy {
		for _, tool := range []string{"iptables-legacy-restore", "ip6tables-legacy-restore"} {
			if _, err := l.pod.run(emptyTables, tool); err != nil {
				return err
			}
		}
	}
	if l.sets {
		if _, err := l.pod.run("", "ipset", "destroy"); err != nil {
			return err
		}
		l.sets = false
	}
	_, err := l.pod.run("", "conntrack", "-F")
	return err
}

const emptyTables = `*raw
:PREROUTING ACCEPT
:OUTPUT ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
*security
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
`

// settle writes the sysctls that the set asks for; only a change costs anything.
func (l *Lab) settle(t Text) error {
	bit := map[bool]string{true: "1", false: "0"}
	set := map[string]string{"net.ipv4.ip_forward": bit[t.Forward], "net.ipv6.conf.all.forwarding": bit[t.Forward], "net.ipv4.conf.all.rp_filter": strconv.Itoa(t.RPFilter)}
	for _, d := range []string{"all", "eth0", "eth1"} {
		set["net.ipv4.conf."+d+".route_localnet"] = bit[t.LocalNet]
	}
	l.host = nil
	return l.pod.sysctl(set)
}

// Read brings the parts of a snapshot, without the lab's own table.
func (l *Lab) Read() (Files, error) {
	files := Files{}
	for _, p := range []struct{ name, command string }{
		{"nft.json", "nft -j list ruleset"},
		{"iptables-save", "iptables-nft-save"}, {"ip6tables-save", "ip6tables-nft-save"},
		{"iptables-legacy-save", "iptables-legacy-save"}, {"ip6tables-legacy-save", "ip6tables-legacy-save"},
		{"ipset", "ipset save"},
	} {
		if strings.Contains(p.name, "legacy") && !l.legacy || p.name == "ipset" && !l.sets {
			continue // reading would cost time and says nothing
		}
		if err := l.read(files, p.name, p.command); err != nil {
			return nil, err
		}
	}
	var err error
	if l.index, err = numberRules(files); err != nil {
		return nil, err
	}
	if l.host == nil {
		if err := l.readHost(); err != nil {
			return nil, err
		}
	}
	for k, v := range l.host {
		files[k] = v
	}
	return files, nil
}

func (l *Lab) read(into Files, name, command string) error {
	f := strings.Fields(command)
	out, err := l.pod.run("", f[0], f[1:]...)
	if err != nil {
		return err
	}
	into[name] = []byte(out)
	return nil
}

func (l *Lab) readHost() error {
	l.host = Files{}
	for _, p := range []struct{ name, command string }{
		{"addr.json", "ip -j addr"}, {"route.json", "ip -4 -j route show table all"}, {"route6.json", "ip -6 -j route show table all"},
		{"rule.json", "ip -4 -j rule"}, {"rule6.json", "ip -6 -j rule"}, {"sysctl", `sysctl -a -r ^net\.ipv[46]\.(ip_forward|conf\..*\.(rp_filter|route_localnet|forwarding))`},
		{"sockets", "ss -tuanpe --inet-sockopt"},
	} {
		if err := l.read(l.host, p.name, p.command); err != nil {
			return err
		}
	}
	return nil
}

// numberRules takes the tracer's own table out of nft.json and numbers the rules of the rest.
func numberRules(files Files) (index, error) {
	var doc struct {
		Items []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(files["nft.json"], &doc); err != nil {
		return index{}, fmt.Errorf("nft.json: %w", err)
	}
	ix := index{map[string]int{}, map[string]int{}}
	keep := doc.Items[:0]
	count := map[string]int{}
	for _, item := range doc.Items {
		var o struct {
			Family, Table, Name, Chain string
			Handle                     uint64
		}
		for kind, raw := range item {
			if err := json.Unmarshal(raw, &o); err != nil {
				return index{}, fmt.Errorf("nft.json: %s: %w", kind, err)
			}
			if kind == "rule" {
				c := o.Family + " " + o.Table + " " + o.Chain
				count[c]++
				ix.nft[fmt.Sprintf("%s %d", c, o.Handle)] = count[c]
			}
			if o.Table != traceTable && !(kind == "table" && o.Name == traceTable) {
				keep = append(keep, item)
			}
		}
	}
	doc.Items = keep
	var err error
	files["nft.json"], err = json.Marshal(map[string]any{"nftables": keep})
	ix.countLegacy("ip", files["iptables-legacy-save"])
	ix.countLegacy("ip6", files["ip6tables-legacy-save"])
	return ix, err
}

func (ix index) countLegacy(family string, save []byte) {
	table := ""
	for _, line := range bytes.Split(save, []byte("\n")) {
		f := strings.Fields(string(line))
		switch {
		case len(f) == 1 && f[0][0] == '*':
			table = f[0][1:]
		case len(f) > 1 && f[0] == "-A":
			ix.legacy[family+" "+table+" "+f[1]]++
		}
	}
}

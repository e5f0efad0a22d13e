package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// Addresses of a pod without and with IPv6 (ip -j addr).
const (
	only4 = `[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
{"ifindex":2,"ifname":"eth0","flags":["UP"],"addr_info":[{"family":"inet","local":"10.244.1.7","prefixlen":24,"scope":"global"},{"family":"inet6","local":"fe80::7","prefixlen":64,"scope":"link"}]}]`
	dual = `[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},{"family":"inet6","local":"::1","prefixlen":128,"scope":"host"}]},
{"ifindex":2,"ifname":"eth0","flags":["UP"],"addr_info":[{"family":"inet","local":"10.244.1.7","prefixlen":24,"scope":"global"},{"family":"inet6","local":"fd00::7","prefixlen":64,"scope":"global"}]}]`
	route4 = `[{"dst":"default","gateway":"10.244.1.1","dev":"eth0","flags":[]},{"dst":"10.244.1.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.244.1.7","flags":[]}]`
	route6 = `[{"dst":"fd00::/64","dev":"eth0","protocol":"kernel","metric":256,"flags":[]},{"dst":"default","gateway":"fd00::1","dev":"eth0","flags":[]}]`
)

// nat is a nat table: chains PREROUTING, OUTPUT and those named with ":".
func nat(lines ...string) string {
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
	for _, l := range lines {
		if l[0] == ':' {
			b.WriteString(l + " - [0:0]\n")
		}
	}
	for _, l := range lines {
		if l[0] != ':' {
			b.WriteString("-A " + l + "\n")
		}
	}
	return b.String() + "COMMIT\n"
}

const (
	inRule   = "PREROUTING -p tcp -j REDIRECT --to-ports 15006"
	exempt   = "OUTPUT -m owner --uid-owner 1337 -j RETURN"
	outRule  = "OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"
	outRule6 = "OUTPUT ! -d ::1/128 -p tcp -j REDIRECT --to-ports 15001"
)

// listening is the output of ss for the proxy's listeners, of uid 1337 unless said.
func listening(uid string, ports ...string) string {
	s := "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
	for _, p := range ports {
		s += "tcp   LISTEN 0      4096   0.0.0.0:" + p + "      0.0.0.0:*     users:((\"envoy\",pid=9,fd=3)) uid:" + uid + " ino:1 sk:1 <->\n"
	}
	return s
}

// said is a finding as a row says it: severity, kind, facts.
func said(fs []Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Severity, f.Kind, strings.Join(slices.DeleteFunc(slices.Clone(f.Args[:]), func(s string) bool { return s == "" }), " | "))))
	}
	return out
}

func TestExamine(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"the seed's rules, both directions", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "addr.json": only4},
			[]string{"note udp-bypass"}},
		{"no rules", map[string]string{"iptables-save": "", "addr.json": only4}, []string{"warning no-interception"}},
		{"nothing read", map[string]string{"addr.json": only4}, []string{"unknown not-read iptables-save"}},
		{"outbound only", map[string]string{"iptables-save": nat(exempt, outRule), "addr.json": only4},
			[]string{"warning only-outbound 15001", "note udp-bypass"}},
		{"inbound only", map[string]string{"iptables-save": nat(inRule), "addr.json": only4}, []string{"warning only-inbound 15006"}},
		{"a pod with IPv6 and rules for IPv4", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "addr.json": dual, "route6.json": route6},
			[]string{"problem ipv6-bypass outbound | fd00::7", "problem ipv6-bypass inbound | fd00::7", "note udp-bypass"}},
		{"a pod with IPv6 and rules for both", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "ip6tables-save": nat(inRule, exempt, outRule6), "addr.json": dual, "route6.json": route6},
			[]string{"note udp-bypass"}},
		{"rules for IPv6 alone", map[string]string{"ip6tables-save": nat(inRule, exempt, outRule6), "addr.json": dual, "route6.json": route6},
			[]string{"problem ipv4-bypass outbound", "problem ipv4-bypass inbound", "note udp-bypass"}},
		{"DNS captured", map[string]string{"iptables-save": nat(inRule, exempt, "OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053", outRule), "addr.json": only4},
			[]string{"note udp-bypass dns"}},
		{"ports excluded", map[string]string{"iptables-save": nat(exempt, "OUTPUT -p tcp -m tcp --dport 5432 -j RETURN", "OUTPUT -p tcp -m multiport --dports 6000:6001,9092 -j RETURN", outRule,
			"PREROUTING -p tcp -m tcp --dport 15020 -j RETURN", inRule), "addr.json": only4},
			[]string{"warning excluded-ports outbound | 5432, 6000-6001, 9092 | IPv4", "note udp-bypass", "note excluded-ports inbound | 15020 | IPv4"}},
		{"some ports only", map[string]string{"iptables-save": nat(exempt, outRule, "PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 15006"), "addr.json": only4},
			[]string{"warning only-ports inbound | 8080 | IPv4", "note udp-bypass"}},
		{"ranges excluded", map[string]string{"iptables-save": nat(inRule, exempt, "OUTPUT -d 10.0.0.0/8 -j RETURN", outRule), "addr.json": only4},
			[]string{"warning excluded-ranges outbound | 10.0.0.0/8 | IPv4", "note udp-bypass"}},
		{"some ranges only", map[string]string{"iptables-save": nat(inRule, exempt, "OUTPUT -d 10.96.0.0/12 -p tcp -j REDIRECT --to-ports 15001"), "addr.json": only4},
			[]string{"warning only-ranges outbound | 10.96.0.0/12 | IPv4", "note udp-bypass"}},
		{"another owner exempt", map[string]string{"iptables-save": nat(inRule, exempt, "OUTPUT -m owner --uid-owner 999 -j RETURN", outRule), "addr.json": only4, "sockets": listening("1337", "15001", "15006")},
			[]string{"warning excluded-owners uid | 999", "note udp-bypass"}},
		{"nobody exempt", map[string]string{"iptables-save": nat(inRule, outRule), "addr.json": only4},
			[]string{"problem proxy-loop 15001", "note udp-bypass"}},
		{"the wrong uid exempt", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "addr.json": only4, "sockets": listening("101", "15001", "15006")},
			[]string{"problem proxy-loop 101 | 15001", "note udp-bypass"}},
		{"a mark exempts the proxy", map[string]string{"iptables-save": nat(inRule, "OUTPUT -m mark --mark 0x539/0xfff -j RETURN", outRule), "addr.json": only4},
			[]string{"note udp-bypass"}},
		{"both back ends", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "iptables-legacy-save": nat("POSTROUTING -s 10.0.0.0/8 -j MASQUERADE"), "addr.json": only4},
			[]string{"warning both-back-ends ip nat | ip nat", "note udp-bypass"}},
		{"a rule behind one that takes all", map[string]string{"iptables-save": nat(inRule, exempt, outRule, "OUTPUT -p tcp -m tcp ! -d 127.0.0.1/32 --dport 9000 -j RETURN"), "addr.json": only4},
			[]string{"warning shadowed-rule ip nat OUTPUT 3 | ip nat OUTPUT 2", "note udp-bypass"}},
		{"a flushed OUTPUT", map[string]string{"iptables-save": nat(":MESH_OUT", ":MESH_REDIRECT", inRule, "MESH_OUT -m owner --uid-owner 1337 -j RETURN", "MESH_OUT -j MESH_REDIRECT", "MESH_REDIRECT -p tcp -j REDIRECT --to-ports 15001"), "addr.json": only4},
			[]string{"problem nat-emptied ip nat MESH_OUT | ip nat OUTPUT", "warning only-inbound 15006"}},
		{"a flushed table", map[string]string{"iptables-save": nat(":ISTIO_OUTPUT", ":ISTIO_REDIRECT"), "addr.json": only4},
			[]string{"problem nat-emptied ip nat ISTIO_OUTPUT | ip nat OUTPUT", "warning no-interception"}},
		{"a chain nobody needs", map[string]string{"iptables-save": nat(":OLD", inRule, exempt, outRule, "OLD -p tcp -j RETURN"), "addr.json": only4},
			[]string{"note udp-bypass", "note unreachable-chain ip nat OLD"}},
		{"the proxy is not there", map[string]string{"iptables-save": nat(inRule, exempt, outRule), "addr.json": only4, "sockets": strings.ReplaceAll(listening("0", "8080"), "envoy", "app")},
			[]string{"problem nothing-listens 127.0.0.1:15001 | outbound", "problem nothing-listens 10.244.1.7:15006 | inbound", "note udp-bypass"}},
		{"inbound by TPROXY", map[string]string{"iptables-save": "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j TPROXY --on-port 15006 --on-ip 0.0.0.0 --tproxy-mark 0x539/0xffffffff\nCOMMIT\n", "addr.json": only4,
			"rule.json": `[{"priority":0,"src":"all","table":"local"},{"priority":32765,"src":"all","fwmark":"0x539","table":"133"},{"priority":32766,"src":"all","table":"main"}]`},
			[]string{"warning only-inbound 15006"}},
		{"a match that nobody models", map[string]string{"iptables-save": nat(inRule, exempt, "OUTPUT -p tcp -m bpf --bytecode 1,6 -j RETURN", outRule), "addr.json": only4},
			[]string{"unknown cannot-tell outbound TCP over IPv4 | ip nat OUTPUT 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string][]byte{"route.json": []byte(route4)}
			for k, v := range c.files {
				files[k] = []byte(v)
			}
			s, err := rules.ParseSnapshot(files, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := Examine(s)
			if fmt.Sprint(said(got)) != fmt.Sprint(c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(said(got), "\n  "), strings.Join(c.want, "\n  "))
			}
			for _, f := range got {
				// Only what is not there has no rule to show.
				if bare := f.Kind == NotRead || f.Kind == NoInterception || f.Kind == UDPBypass; len(f.Evidence) == 0 && !bare {
					t.Errorf("%s: no evidence", f.Kind)
				}
				for _, e := range f.Evidence {
					if e.Source == "" || e.Ref == "" || e.Text == "" {
						t.Errorf("%s: evidence %+v does not say where it stands", f.Kind, e)
					}
				}
			}
		})
	}
}

// A part that could not be read is not the same as one without rules.
func TestGapsAreFindings(t *testing.T) {
	s, err := rules.ParseSnapshot(map[string][]byte{"iptables-save": []byte(nat(inRule, exempt, outRule)), "addr.json": []byte(only4)}, []flow.Gap{{Part: "iptables-legacy-save", Reason: "not root"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := said(Examine(s)); !slices.Contains(got, "unknown not-read iptables-legacy-save | not root") {
		t.Errorf("%q", got)
	}
}

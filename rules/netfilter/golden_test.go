package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
)

// kernelSets are the rule sets of testdata/kernel.txtar.gz by name.
func kernelSets(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, f := range packed.Files(t, "testdata/kernel.txtar.gz") {
		out[f.Name] = f.Data
	}
	return out
}

// truth is what the kernel did with the packets of one set.
type truth struct {
	Set, Backend string
	Cases        []truthCase
}

type truthCase struct {
	Name   string
	Packet struct {
		Dir, Proto, Src, Dst         string
		UID, GID, Sport, Dport, Mark int
	}
	Hits  []string
	Final string
}

func (c truthCase) packet() Packet {
	p := Packet{Proto: flow.TCP, UID: uint32(c.Packet.UID), GID: uint32(c.Packet.GID), Mark: uint32(c.Packet.Mark)}
	if c.Packet.Proto == "udp" {
		p.Proto = flow.UDP
	}
	src := netip.Addr{}
	if c.Packet.Dir == "in" {
		p.Dir, p.In, src = flow.Inbound, "eth0", netip.MustParseAddr("10.244.1.1")
	}
	if c.Packet.Src != "" {
		src = netip.MustParseAddr(c.Packet.Src)
	}
	p.Src = netip.AddrPortFrom(src, uint16(c.Packet.Sport))
	p.Dst = netip.AddrPortFrom(netip.MustParseAddr(c.Packet.Dst), uint16(c.Packet.Dport))
	return p
}

// truthHost is the pod in which the kernel was asked.
var truthHost = map[string][]byte{
	"addr.json": []byte(`[{"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},{"family":"inet6","local":"::1","prefixlen":128,"scope":"host"}]},
{"ifname":"eth0","flags":["UP"],"addr_info":[{"family":"inet","local":"10.244.1.7","prefixlen":24,"scope":"global"}]}]`),
	"route.json": []byte(`[{"dst":"default","gateway":"10.244.1.1","dev":"eth0","flags":[]},{"dst":"10.244.1.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"10.244.1.7","flags":[]}]`),
	"sysctl":     []byte("net.ipv4.ip_forward = 0\nnet.ipv4.conf.all.route_localnet = 0\n"),
	"sockets":    []byte("LISTEN 0 128 0.0.0.0:15006 0.0.0.0:* users:((\"x\",pid=7,fd=3)) ino:5 sk:6 <-> inet-sockopt: ( is_icsk transparent)\n"),
	// The sets that rules name: the mesh's holds the pod, the node's are empty.
	"ipset": []byte("create istio-inpod-probes-v4 hash:ip\nadd istio-inpod-probes-v4 10.244.1.7\ncreate KUBE-CLUSTER-IP hash:ip,port\ncreate KUBE-EXTERNAL-IP hash:ip,port\n" +
		"create KUBE-LOAD-BALANCER hash:ip,port\ncreate KUBE-LOOP-BACK hash:ip,port,ip\ncreate KUBE-NODE-PORT-TCP bitmap:port range 0-65535\n"),
}

// The kernel and Walk agree on the rules hit, in order, and on where the packet ends, for
// every rule set of a real mesh and every packet.
func TestKernelTruth(t *testing.T) {
	var all []truth
	packed.JSON(t, "testdata/truth.json.gz", &all)
	sets := kernelSets(t)
	h, gaps, err := ParseHost(truthHost)
	if err != nil || len(gaps) > 0 {
		t.Fatal(err, gaps)
	}
	for _, tr := range all {
		parts := []map[string][]byte{{"iptables-save": sets[tr.Set], "ipset": truthHost["ipset"]}}
		prefix := []string{""}
		if tr.Backend == "nft" {
			parts = []map[string][]byte{{"nft.json": sets[tr.Set+".json"]}}
		} else { // the same rules in the other back end, and with nft's view of them beside
			base := strings.TrimSuffix(tr.Set, ".v4.nft.save")
			parts = append(parts, map[string][]byte{"iptables-legacy-save": sets[base+".v4.legacy.save"], "ipset": truthHost["ipset"]},
				map[string][]byte{"iptables-save": sets[tr.Set], "nft.json": sets[base+".v4.nftview.json"], "ipset": truthHost["ipset"]})
			prefix = append(prefix, "legacy ", "")
		}
		for i, files := range parts {
			t.Run(tr.Set+fmt.Sprint(i), func(t *testing.T) {
				rs, gaps, err := Parse(files)
				if err != nil || len(gaps) > 0 {
					t.Fatal(err, gaps)
				}
				for _, c := range tr.Cases {
					checkTruth(t, rs, h, c, prefix[i])
				}
			})
		}
	}
}

func checkTruth(t *testing.T, rs *Ruleset, h *Host, c truthCase, prefix string) {
	t.Helper()
	var want []string
	for _, h := range c.Hits {
		want = append(want, prefix+h)
	}
	ch := &flow.Choices{}
	r := rs.Walk(h, c.packet(), ch)
	got := hits(r)
	final := "DROPPED"
	switch r.Fate {
	case FateLocal:
		final = "LOCAL " + r.To.Dst.String()
	case FateWire:
		final = "WIRE " + r.To.Dst.String()
	}
	if !slices.Equal(got, want) || final != c.Final || len(ch.Made()) > 0 {
		t.Errorf("%s:\n got %v %s %v\nwant %v %s", c.Name, got, final, ch.Made(), want, c.Final)
	}
}

// hits are the subjects of the rules that a walk hit.
func hits(r Result) []string {
	var out []string
	for _, s := range r.Steps {
		if s.Stage == flow.Netfilter && !strings.HasSuffix(s.Subject, " policy") {
			out = append(out, s.Subject)
		}
	}
	return out
}

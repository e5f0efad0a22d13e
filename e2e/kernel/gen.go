package kernel

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// gen draws rule sets and packets. The words are those of the lab's addresses and of the
// meshes' rules, so that a random packet meets a random match often.
type gen struct{ *rand.Rand }

func newGen(seed, n uint64) gen { return gen{rand.New(rand.NewPCG(seed, n))} }

func (g gen) p(share float64) bool        { return g.Float64() < share }
func (g gen) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g gen) not(share float64) string {
	if g.p(share) {
		return "! "
	}
	return ""
}

// Set draws a rule set of a form.
func (g gen) Set(f Form) Set {
	s := Set{Forward: g.p(0.35), LocalNet: g.p(0.2), LegacyFirst: g.p(0.5)}
	if g.p(0.3) {
		s.RPFilter = 1 + g.IntN(2)
	}
	switch f {
	case Native:
		for i := range 1 + g.IntN(3) {
			s.Tables = append(s.Tables, g.nativeTable(i))
		}
	case Mixed:
		s.Tables = append(s.Tables, g.tables(V4Legacy)...)
		s.Tables = append(s.Tables, g.tables(V4NFT)...)
		if g.p(0.5) {
			s.Tables = append(s.Tables, g.nativeTable(0))
		}
	default:
		s.Tables = g.tables(f)
	}
	if t := s.Text(); strings.Contains(t.V4+t.Legacy, "--match-set") {
		s.IPSet = ipsets
	}
	return s
}

// Packet draws a packet that a set of the form can meet; sport makes its connection new.
func (g gen) Packet(f Form, sport uint16) netfilter.Packet {
	w := v4
	if f == V6NFT || f == V6Legacy || f == Native && g.p(0.4) {
		w = v6
	}
	p := netfilter.Packet{Proto: flow.TCP}
	if g.p(0.25) {
		p.Proto = flow.UDP
	}
	port, _ := strconv.Atoi(g.pick("80", "80", "8080", "53", "443", "15001", "15006", "9999"))
	if g.p(0.35) {
		g.inbound(&p, w, uint16(port), sport)
		return p
	}
	p.Dst = netip.AddrPortFrom(netip.MustParseAddr(g.pick(w.dsts...)), uint16(port))
	src := netip.MustParseAddr(w.any)
	if g.p(0.15) {
		src = netip.MustParseAddr(g.pick(w.pod, w.pod2, w.pod1))
		if p.Dst.Addr().IsLoopback() || g.p(0.3) {
			src = netip.MustParseAddr(w.odd)
		}
	}
	p.Src = netip.AddrPortFrom(src, sport)
	p.UID = []uint32{0, 1000, 1337, 1337, 5}[g.IntN(5)]
	p.GID = []uint32{p.UID, 1337, 1000}[g.IntN(3)]
	if g.p(0.15) {
		p.Mark = []uint32{0x539, 0x77, 0x4539}[g.IntN(3)]
	}
	return p
}

func (g gen) inbound(p *netfilter.Packet, w words, port, sport uint16) {
	p.Dir, p.In = flow.Inbound, "eth0"
	src, dst := g.pick(w.peer, w.peer, w.service), g.pick(w.pod, w.pod, w.pod, w.pod2, w.pod1, w.far, w.beyond)
	if g.p(0.2) {
		p.In = "eth1"
		src, dst = g.pick(w.peer1, w.service), g.pick(w.pod1, w.pod1, w.pod, w.far)
	}
	p.Src = netip.AddrPortFrom(netip.MustParseAddr(src), sport)
	p.Dst = netip.AddrPortFrom(netip.MustParseAddr(dst), port)
}

// words are the addresses of one family.
type words struct {
	family                              string // as nft calls it
	any, loop, loopNet, odd             string
	pod, pod2, pod1, peer, peer1        string
	service, far, beyond                string // reached by the default route; by eth1
	podNet, serviceNet, tenNet, hostBit string
	dsts                                []string
}

var (
	v4 = words{family: "ip", any: "0.0.0.0", loop: "127.0.0.1", loopNet: "127.0.0.0/8", odd: "127.0.0.6",
		pod: PodAddr, pod2: PodAddr2, pod1: Pod1Addr, peer: PeerAddr, peer1: "10.9.0.1", service: Service, far: "9.9.9.9", beyond: "10.9.5.5",
		podNet: "10.244.1.0/24", serviceNet: "10.107.0.0/16", tenNet: "10.0.0.0/8", hostBit: "/32",
		dsts: []string{Service, Service, Service, PeerAddr, "127.0.0.1", "127.0.0.2", PodAddr, PodAddr2, Pod1Addr, "9.9.9.9", "10.9.5.5"}}
	v6 = words{family: "ip6", any: "::", loop: "::1", loopNet: "::1/128", odd: "::1",
		pod: PodAddr6, pod2: "fd00:1::8", pod1: Pod1Addr6, peer: PeerAddr6, peer1: "fd00:9::1", service: Service6, far: "2001:db8::9", beyond: "fd00:9::55",
		podNet: "fd00:1::/64", serviceNet: "fd00:107::/32", tenNet: "fd00::/8", hostBit: "/128",
		dsts: []string{Service6, Service6, Service6, PeerAddr6, "::1", PodAddr6, "fd00:1::8", Pod1Addr6, "2001:db8::9", "fd00:9::55"}}
)

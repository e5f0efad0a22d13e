package kernel

import (
	_ "embed"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

//go:embed testdata/real.txtar.gz
var realSets []byte

// Real is a rule set of a real mesh.
type Real struct {
	Name string
	Form Form // V4NFT, V4Legacy (with IPv6 beside it) or Native
	Text Text
}

// Reals are the rule sets of testdata/real.txtar.gz, in order.
func Reals() ([]Real, error) {
	data, err := packed.Open(realSets)
	if err != nil {
		return nil, fmt.Errorf("real rule sets: %w", err)
	}
	by := map[string]*Real{}
	var names []string
	for _, f := range txtar.Parse(data).Files {
		name, rest, _ := strings.Cut(f.Name, ".")
		key := name + "." + rest[strings.IndexByte(rest, '.')+1:]
		r := by[key]
		if r == nil {
			r = &Real{Name: strings.TrimSuffix(key, ".save")}
			by[key] = r
			names = append(names, key)
		}
		r.add(rest, string(f.Data))
	}
	slices.Sort(names)
	var out []Real
	for _, n := range names {
		out = append(out, *by[n])
	}
	return out, nil
}

func (r *Real) add(part, text string) {
	switch part {
	case "v4.nft.save":
		r.Text.V4 = text
	case "v6.nft.save":
		r.Text.V6 = text
	case "v4.legacy.save":
		r.Form, r.Text.Legacy = V4Legacy, text
	case "v6.legacy.save":
		r.Form, r.Text.Legacy6 = V4Legacy, text
	default:
		r.Form, r.Text.NFT = Native, text
	}
	if strings.Contains(text, "--match-set") {
		r.Text.IPSet = realIPSets
	}
}

// realIPSets are the sets that kube-proxy's and Istio's rules name, with a member each.
const realIPSets = `create KUBE-CLUSTER-IP hash:ip,port
add KUBE-CLUSTER-IP 10.107.42.16,tcp:80
create KUBE-EXTERNAL-IP hash:ip,port
create KUBE-LOAD-BALANCER hash:ip,port
add KUBE-LOAD-BALANCER 9.9.9.9,tcp:443
create KUBE-LOOP-BACK hash:ip,port,ip
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
add KUBE-NODE-PORT-TCP 30080
create istio-inpod-probes-v4 hash:ip
add istio-inpod-probes-v4 10.244.1.7
create istio-inpod-probes-v6 hash:ip family inet6
add istio-inpod-probes-v6 fd00:1::7
`

var (
	ipWord   = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)
	portWord = regexp.MustCompile(`(?:--[ds]ports?|[dst]h?c?p? dport|dport(?: !=)?) (?:\{ )?([\d:,\- ]+)`)
	uidWord  = regexp.MustCompile(`(?:-owner|skuid|skgid)(?: !=)? (\d+)`)
	number   = regexp.MustCompile(`\d+`)
)

// Packet draws a packet in the words of the rule set: its addresses, ports and owners,
// and the numbers beside them.
func (r Real) Packet(g gen, sport uint16) netfilter.Packet {
	p := g.Packet(r.Form, sport)
	text := r.Text.V4 + r.Text.Legacy + r.Text.NFT
	if ips := ipWord.FindAllString(text, -1); len(ips) > 0 && p.Dst.Addr().Is4() && p.Dir == flow.Outbound && g.p(0.4) {
		if a, err := netip.ParseAddr(g.pick(ips...)); err == nil && !a.IsUnspecified() && !a.IsMulticast() && a.As4()[0] != 255 {
			p.Dst = netip.AddrPortFrom(a, p.Dst.Port())
			if !a.IsLoopback() && p.Src.Addr().IsLoopback() {
				p.Src = netip.AddrPortFrom(netip.IPv4Unspecified(), sport)
			}
		}
	}
	if m := portWord.FindAllStringSubmatch(text, -1); len(m) > 0 && g.p(0.5) {
		words := number.FindAllString(m[g.IntN(len(m))][1], -1)
		if len(words) > 0 {
			n, _ := strconv.Atoi(g.pick(words...))
			p.Dst = netip.AddrPortFrom(p.Dst.Addr(), uint16(max(1, n+g.IntN(3)-1)))
		}
	}
	if m := uidWord.FindAllStringSubmatch(text, -1); len(m) > 0 && p.Dir == flow.Outbound && g.p(0.5) {
		n, _ := strconv.Atoi(m[g.IntN(len(m))][1])
		p.UID = uint32(n)
		if p.GID = p.UID; g.p(0.3) {
			p.GID = 1000
		}
	}
	return p
}

package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// manyHosts is the number of hosts above which the choice among them is not followed host
// by host, but by groups of hosts that fare alike.
const manyHosts = 16

// hostKind is what decides how a host that was chosen fares: hosts of one kind fare alike.
type hostKind struct {
	internal, name string // the name only of one that the pod itself takes
	orig           netip.AddrPort
	socket         int16
	ahead          string // Conn.Alike
}

// groups puts the hosts of a draw together that fare alike, as indexes into its list in the
// order of their first members; nil: the hosts are few, or one is pinned, and each is
// followed on its own.
func (p *pass) groups(c *cluster, s *hostSet, d *draws, ref string) [][]int {
	if _, pinned := p.ch.Pick[ref]; pinned || len(d.list) < 2 || !p.conn.Group && len(d.list) <= manyHosts {
		return nil
	}
	var out [][]int
	number := map[hostKind]int{}
	for i, k := range d.list {
		h := &s.hosts[k.host]
		kind := hostKind{internal: h.internal, orig: h.orig, socket: h.socket}
		if p.conn.Alike != nil {
			var inside bool
			if kind.ahead, inside = p.conn.Alike(p.connection(c, h)); inside {
				kind.name = h.name
			}
		}
		n, ok := number[kind]
		if !ok {
			n = len(out)
			number[kind], out = n, append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// grouped are the options of a draw by groups: each named by its first host, with the
// weights of all of them.
func (d *draws) grouped(groups [][]int) []flow.Option {
	var out []flow.Option
	for _, g := range groups {
		o := d.options[g[0]]
		for _, i := range g[1:] {
			o.Weight += d.options[i].Weight
		}
		out = append(out, o)
	}
	return append(out, d.options[len(d.list):]...)
}

package egress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// dests makes destinations of words: "else blocked", "port 80 mixed", "10.0.0.1:80 passes".
func dests(words ...string) *pod {
	p := &pod{}
	for _, w := range words {
		f := strings.Fields(w)
		d := traced{dest: dest{proto: flow.TCP}, fate: map[string]fate{"passes": passes, "blocked": blocked, "mixed": mixed}[f[len(f)-1]]}
		switch f[0] {
		case "else":
			d.elsewhere, d.dst, d.hole = true, netip.MustParseAddrPort("203.0.113.7:28080"), flow.Hole{Prefix: everything(false)}
		case "else6":
			d.elsewhere, d.dst, d.hole = true, netip.MustParseAddrPort("[2001:db8::7]:28080"), flow.Hole{Prefix: everything(true)}
		case "port":
			var port uint16
			fmt.Sscan(f[1], &port)
			d.port, d.dst, d.hole = true, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), port), flow.Hole{Prefix: everything(false), Port: port}
		default:
			d.dst = netip.MustParseAddrPort(f[0])
			d.hole = flow.Hole{Prefix: netip.PrefixFrom(d.dst.Addr(), d.dst.Addr().BitLen()), Port: d.dst.Port()}
		}
		p.dests = append(p.dests, d)
	}
	return p
}

// What is spared comes before what is opened. So a wider destination that is spared holds
// the narrower ones in it, and one that is opened must spare those of them that pass.
func TestNarrowing(t *testing.T) {
	for _, c := range []struct {
		dests        []string
		open, except string
	}{
		{[]string{"else passes"}, "[]", "[]"},
		{[]string{"else blocked", "else6 passes"}, "[0.0.0.0/0]", "[]"},
		{[]string{"else passes", "else6 blocked"}, "[::/0]", "[]"},
		{[]string{"else mixed"}, "[]", "[]"},
		// one address
		{[]string{"else passes", "10.0.0.1:80 blocked"}, "[10.0.0.1:80]", "[]"},
		{[]string{"else blocked", "10.0.0.1:80 blocked"}, "[0.0.0.0/0]", "[]"},
		{[]string{"else blocked", "10.0.0.1:80 passes"}, "[0.0.0.0/0]", "[10.0.0.1:80]"},
		{[]string{"else blocked", "10.0.0.1:80 mixed"}, "[0.0.0.0/0]", "[10.0.0.1:80]"},
		// one port of every address
		{[]string{"else passes", "port 80 blocked"}, "[0.0.0.0/0:80]", "[]"},
		{[]string{"else passes", "port 80 mixed"}, "[]", "[]"},
		{[]string{"else blocked", "port 80 blocked"}, "[0.0.0.0/0]", "[]"},
		{[]string{"else blocked", "port 80 mixed"}, "[0.0.0.0/0]", "[0.0.0.0/0:80]"},
		// an address at such a port, and one at another
		{[]string{"else passes", "port 80 blocked", "10.0.0.1:80 passes", "10.0.0.1:81 passes"}, "[0.0.0.0/0:80]", "[10.0.0.1:80]"},
		{[]string{"else passes", "port 80 passes", "10.0.0.1:80 blocked", "10.0.0.1:81 blocked"}, "[10.0.0.1:80 10.0.0.1:81]", "[]"},
		{[]string{"else blocked", "port 80 mixed", "10.0.0.1:80 blocked", "10.0.0.1:80 passes"}, "[0.0.0.0/0]", "[0.0.0.0/0:80]"},
		{[]string{"else blocked", "port 80 blocked", "10.0.0.1:80 passes"}, "[0.0.0.0/0]", "[10.0.0.1:80]"},
		{[]string{"else blocked", "10.0.0.1:80 passes", "10.0.0.1:80 passes"}, "[0.0.0.0/0]", "[10.0.0.1:80]"},
	} {
		var got flow.Change
		dests(c.dests...).narrow(&got)
		same(t, strings.Join(c.dests, ", ")+" opens", got.Open, c.open)
		same(t, strings.Join(c.dests, ", ")+" spares", got.Except, c.except)
	}
}

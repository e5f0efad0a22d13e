package egress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/egress/edits"
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

// Widening holds at least what was there, within the bound; what somebody asked for stays as
// it was said, and what is opened too.
func TestFit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 400 {
		var c flow.Change
		asked := r.IntN(5)
		for range r.IntN(600) {
			a := netip.AddrFrom4([4]byte{10, byte(96 + r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256))})
			h := flow.Hole{Prefix: netip.PrefixFrom(a, 32), Port: uint16(r.IntN(3) * 80)}
			if r.IntN(50) == 0 {
				h = flow.Hole{Prefix: everything(r.IntN(2) == 0), Port: uint16(1 + r.IntN(9))}
			}
			if !slices.Contains(c.Except, h) {
				c.Except = append(c.Except, h)
			}
		}
		c.Open = make([]flow.Hole, r.IntN(20))
		asked = min(asked, len(c.Except))
		was := slices.Clone(c.Except)
		if err := fit(&c, asked); err != nil {
			t.Fatalf("run %d: %d destinations: %v", n, len(was), err)
		}
		if len(c.Except)+len(c.Open) > edits.MostHoles || !slices.Equal(c.Except[:asked], was[:asked]) {
			t.Fatalf("run %d: %d destinations, asked %v", n, len(c.Except), c.Except[:asked])
		}
		if len(was)+len(c.Open) <= edits.MostHoles && !slices.Equal(was, c.Except) {
			t.Fatalf("run %d: widened without need", n)
		}
		for _, h := range was {
			if !slices.ContainsFunc(c.Except, func(w flow.Hole) bool {
				return w.Prefix.Bits() <= h.Prefix.Bits() && w.Prefix.Contains(h.Prefix.Addr()) && (w.Port == 0 || w.Port == h.Port) && w.Prefix == w.Prefix.Masked()
			}) {
				t.Fatalf("run %d: %v is held by none of %v", n, h, c.Except)
			}
		}
	}
	c := flow.Change{Open: make([]flow.Hole, 201)}
	if err := fit(&c, 0); err == nil || !strings.Contains(err.Error(), "may name 200") {
		t.Errorf("too many to open: %v", err)
	}
}

// What passes by another path, header or server name than the rest is no block: a connection
// around the proxy would carry it too.
func TestNarrowDoubts(t *testing.T) {
	mesh := files(t, "mesh")
	blocked := edit(t, mesh, "config_dump.json", `"cluster": "outbound|myngxsvc"`, `"cluster": "BlockAllCluster"`)
	route := func(match string) map[string][]byte {
		return edit(t, blocked, "config_dump.json", `"routes": [`, `"routes": [{"match": `+match+`, "route": {"cluster": "outbound|myngxsvc"}}, `)
	}
	const chain = `{"filter_chain_match": {%s}, "filters": [{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "t", "cluster": "AllowAll"}}]}, `
	// In the scene's dump the listener of the catch-all has the only chain that is called so.
	out := func(match string) map[string][]byte {
		f := edit(t, mesh, "config_dump.json", `"cluster": "AllowAll"`, `"cluster": "BlockAllCluster"`)
		dump := string(f["config_dump.json"])
		at := strings.LastIndex(dump[:strings.LastIndex(dump, `"virtualOutbound-tcp"`)], `"filter_chains": [`) + len(`"filter_chains": [`)
		dump = dump[:at] + fmt.Sprintf(chain, match) + dump[at:]
		at = strings.LastIndex(dump[:at], `"filter_chains": [`)
		inspector := `"listener_filters": [{"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}], `
		return with(f, "config_dump.json", dump[:at]+inspector+dump[at:])
	}
	for name, c := range map[string]struct {
		files        map[string][]byte
		open, except string // empty: nothing
	}{
		"another path":         {route(`{"prefix": "/api"}`), "", ""},
		"a header":             {route(`{"prefix": "/", "headers": [{"name": "x-way", "present_match": true}]}`), "", ""},
		"a regular expression": {route(`{"safe_regex": {"regex": "/v[0-9]+"}}`), "", ""},
		"nothing else":         {blocked, "[10.107.42.16:80]", "[]"},
		"a server name":        {out(`"server_names": ["allowed.example"]`), "", ""},
		"where it comes from":  {out(`"source_prefix_ranges": [{"address_prefix": "10.9.0.0", "prefix_len": 16}]`), "", ""},
		"another port":         {out(`"destination_port": 9999`), "[0.0.0.0/0]", "[10.107.42.16:80 0.0.0.0/0:9999]"},
		"its own port":         {out(`"destination_port": 15001`), "[0.0.0.0/0]", "[10.107.42.16:80]"},
		"a range":              {out(`"prefix_ranges": [{"address_prefix": "10.9.0.0", "prefix_len": 16}]`), "[0.0.0.0/0]", "[10.107.42.16:80 10.9.0.0/16]"},
	} {
		got, err := Plan(snapshot(t, c.files), allow())
		switch {
		case c.open == "" && !errors.Is(err, ErrNothing):
			t.Errorf("%s: opens %v, %v", name, got.Open, err)
		case c.open != "" && (err != nil || fmt.Sprint(got.Open) != c.open || fmt.Sprint(got.Except) != c.except):
			t.Errorf("%s: opens %v, spares %v, %v, want %s and %s", name, got.Open, got.Except, err, c.open, c.except)
		}
	}
}

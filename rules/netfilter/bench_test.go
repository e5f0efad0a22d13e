package netfilter

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// manyRules is a save of n rules such as a large node has.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:TO - [0:0]\n")
	for i := range n {
		fmt.Fprintf(&b, "-A OUTPUT -d 10.%d.%d.%d/32 -p tcp -m comment --comment \"mesh/svc-%d:http cluster IP\" -m tcp --dport %d -j TO\n", 96+i>>16, i>>8&255, i&255, i, 8000+i%1000)
	}
	b.WriteString("-A TO -m owner --uid-owner 1337 -j RETURN\n-A TO -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n")
	return b.String()
}

// BenchmarkParse reads 20,000 rules: at least 100 MB/s is wanted.
func BenchmarkParse(b *testing.B) {
	files := map[string][]byte{"iptables-save": []byte(manyRules(20_000))}
	b.SetBytes(int64(len(files["iptables-save"])))
	b.ReportAllocs()
	best := fastest(b, func() {
		if _, gaps, err := Parse(files); err != nil || len(gaps) > 0 {
			b.Fatal(gaps, err)
		}
	})
	b.ReportMetric(float64(len(files["iptables-save"]))/1e6/best.Seconds(), "best-MB/s")
}

// fastest runs f as often as the benchmark wants and answers the shortest run: on a machine
// that others use too, it is the one that says what the code costs.
func fastest(b *testing.B, f func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

// BenchmarkWalk sends one packet through 20,000 rules that it passes over: at most 1 ms is
// wanted, and no allocation for each.
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{20, 2_000, 20_000} {
		rs, _, err := Parse(map[string][]byte{"iptables-save": []byte(manyRules(n))})
		if err != nil {
			b.Fatal(err)
		}
		h := host(b, someHost)
		b.Run(fmt.Sprint(n, " rules"), func(b *testing.B) {
			b.ReportAllocs()
			best := fastest(b, func() {
				if r := rs.Walk(h, out("9.9.9.9:80"), &flow.Choices{}); r.Fate != FateWire {
					b.Fatal(r.Fate)
				}
			})
			b.ReportMetric(float64(best.Nanoseconds()), "best-ns")
		})
	}
}

// A rule that is tried and passed over costs no allocation.
func TestNoAllocationPerRule(t *testing.T) {
	h := host(t, someHost)
	allocs := func(n int) float64 {
		rs, _, err := Parse(map[string][]byte{"iptables-save": []byte(manyRules(n))})
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(20, func() { rs.Walk(h, out("9.9.9.9:80"), &flow.Choices{}) })
	}
	// The list of losers grows by doubling: that is all that may differ.
	if few, many := allocs(20), allocs(20_000); many > few+40 {
		t.Errorf("%v allocations with 20 rules, %v with 20,000", few, many)
	}
}

// The read rules of a node with 20,000 cost little memory.
func BenchmarkParseNFT(b *testing.B) {
	var items []string
	items = append(items, `{"table":{"family":"inet","name":"m","handle":1}}`, `{"chain":{"family":"inet","table":"m","name":"o","handle":1,"type":"nat","hook":"output","prio":-100,"policy":"accept"}}`)
	for i := range 2_000 {
		items = append(items, fmt.Sprintf(`{"rule":{"family":"inet","table":"m","chain":"o","handle":%d,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"10.%d.%d.%d"}},{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}},{"counter":{"packets":0,"bytes":0}},{"redirect":{"port":15001}}]}}`, i+2, i>>16, i>>8&255, i&255))
	}
	files := map[string][]byte{"nft.json": []byte(`{"nftables":[` + strings.Join(items, ",") + `]}`)}
	b.SetBytes(int64(len(files["nft.json"])))
	b.ReportAllocs()
	for b.Loop() {
		if _, gaps, err := Parse(files); err != nil || len(gaps) > 0 {
			b.Fatal(gaps, err)
		}
	}
}

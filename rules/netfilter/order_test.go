package netfilter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// nftTables is nft's listing of tables inet a, b ..., made in this order, each with one
// chain at OUTPUT and one rule.
func nftTables(kind string, prio int, rules ...string) map[string][]byte {
	var items []string
	for i, r := range rules {
		name := string(rune('a' + i))
		items = append(items, fmt.Sprintf(`{"table":{"family":"inet","name":%q,"handle":%d}}`, name, i+1),
			fmt.Sprintf(`{"chain":{"family":"inet","table":%q,"name":"o","handle":1,"type":%q,"hook":"output","prio":%d,"policy":"accept"}}`, name, kind, prio),
			fmt.Sprintf(`{"rule":{"family":"inet","table":%q,"chain":"o","handle":2,"expr":[%s]}}`, name, r))
	}
	return map[string][]byte{"nft.json": []byte(`{"nftables":[` + strings.Join(items, ",") + `]}`)}
}

// Tables of nftables at one priority: the youngest runs first as far as their numbers
// tell. Where the order tells, each that can be the first is tried; where only the order
// of the rules hit differs, that is assumed.
func TestTablesOfOnePriority(t *testing.T) {
	h := host(t, someHost)
	const tcp = `{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}},`
	const udpOnly = `{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"udp"}},`
	for _, c := range []struct {
		files map[string][]byte
		want  []string
		byAge bool
	}{
		{nftTables("nat", -100, tcp+`{"redirect":{"port":1}}`, tcp+`{"redirect":{"port":2}}`, tcp+`{"redirect":{"port":3}}`), []string{
			"order inet a o=inet/c-first local 127.0.0.1:3", "order inet a o=inet/b-first local 127.0.0.1:2", "order inet a o=inet/a-first local 127.0.0.1:1"}, false},
		{nftTables("nat", -100, tcp+`{"redirect":{"port":1}}`, udpOnly+`{"redirect":{"port":2}}`), []string{" local 127.0.0.1:1"}, false},
		{nftTables("filter", 0, `{"counter":{"packets":0,"bytes":0}}`, `{"counter":{"packets":0,"bytes":0}}`), []string{" wire eth0 10.244.1.7>9.9.9.9:80"}, true},
		{nftTables("filter", 0, `{"drop":null}`, `{"counter":{"packets":0,"bytes":0}}`), []string{"order inet a o=inet/b-first dropped", "order inet a o=inet/a-first dropped"}, false},
	} {
		rs := must(t, c.files)
		var got []string
		byAge := false
		for ch := (&flow.Choices{}); ch != nil; ch = ch.Next() {
			r := rs.Walk(h, out("9.9.9.9:80"), ch)
			chosen := ""
			for _, m := range ch.Made() {
				chosen += m.Choice.Ref + "=" + m.Option().Value
			}
			got = append(got, chosen+" "+way(r))
			for _, s := range r.Steps {
				byAge = byAge || slices.ContainsFunc(s.Assumed, func(a flow.Assumption) bool { return a.Reason.Kind == flow.WhyOrderByAge })
			}
		}
		if !slices.Equal(got, c.want) || byAge != c.byAge {
			t.Errorf("got %q, by age %v\nwant %q, %v", got, byAge, c.want, c.byAge)
		}
	}
}

package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// stringMatch is a StringMatcher (type.matcher.v3 and xds.type.matcher.v3), compiled once.
func (c *Config) stringMatch(n tree.Node, s string) flow.Answer {
	t := memo(c, n, func() *stringTest {
		t := readStringMatcher(n, c.version)
		return &t
	})
	return t.match(s)
}

// inRanges says whether the address is in one of the CidrRanges; Maybe where one is none.
func inRanges(list tree.Node, a netip.Addr) flow.Answer {
	ans := flow.No
	a = a.WithZone("").Unmap()
	for _, n := range list.All() {
		p, ok := readCIDR(n)
		if !ok {
			ans = ans.Or(flow.Maybe)
			continue
		}
		ans = ans.Or(flow.Is(a.IsValid() && p.Contains(a)))
	}
	return ans
}

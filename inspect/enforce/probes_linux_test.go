package enforce

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What a probe can be sent to proves, in either family; what an exception leaves open, or never
// leaves the pod, is not tried and spoils no proof.
func TestProbesAreChosen(t *testing.T) {
	s := space(t)
	block := func(except ...flow.Hole) flow.Change { return flow.Change{Kind: flow.BlockAll, Except: except} }
	open := func(holes ...flow.Hole) flow.Change { return flow.Change{Kind: flow.AllowAll, Open: holes} }
	except := func(c flow.Change, holes ...flow.Hole) flow.Change { c.Except = holes; return c }
	strong := block(hole("0.0.0.0/0", 0))
	strong.Strong, strong.ProxyUIDs, strong.ProxyGIDs = true, []uint32{1337}, []uint32{1337}
	for _, c := range []struct {
		what   string
		change flow.Change
		state  flow.PolicyState
		proof  string // each: where to, and whether it holds or was not tried
	}{
		{"IPv6 left open", block(hole("::/0", 0)), flow.StateApplied, "192.0.2.1:9 holds, [2001:db8::1]:9 not tried"},
		{"IPv4 left open", strong, flow.StateApplied, "192.0.2.1:9 not tried, 192.0.2.1:9 not tried, 192.0.2.1:9 not tried, [2001:db8::1]:9 holds, [2001:db8::1]:9 holds, [2001:db8::1]:9 holds"},
		{"all left open", block(hole("::/0", 0), hole("0.0.0.0/0", 0)), flow.StateUnknown, "192.0.2.1:9 not tried, [2001:db8::1]:9 not tried"},
		{"all opened", open(hole("0.0.0.0/0", 0), hole("::/0", 0)), flow.StateApplied, "192.0.2.1:9 holds, [2001:db8::1]:9 holds"},
		{"a port of all", open(hole("0.0.0.0/0", 443), hole("::/0", 443)), flow.StateApplied, "192.0.2.1:443 holds, [2001:db8::1]:443 holds"},
		{"one address", open(hole("10.9.9.9/32", 80)), flow.StateApplied, "10.9.9.9:80 holds"},
		{"the pod's own and loopback first", open(hole("127.0.0.0/8", 0), hole("10.244.1.7/32", 0), hole("10.9.9.9/32", 80)), flow.StateApplied, "10.9.9.9:80 holds"},
		{"the pod's own in a network", open(hole("10.244.1.6/31", 0), hole("10.9.9.0/24", 80)), flow.StateApplied, "10.9.9.1:80 holds"},
		{"only loopback of IPv6", open(hole("10.9.9.9/32", 80), hole("::1/128", 0)), flow.StateApplied, "10.9.9.9:80 holds, [::1]:9 not tried"},
		{"the test's address is spared", except(open(hole("0.0.0.0/0", 0), hole("10.9.9.0/24", 80)), hole("192.0.2.0/24", 0), hole("10.9.9.1/32", 80)), flow.StateApplied, "10.9.9.2:80 holds"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := apply(t, s, c.change)
			var got []string
			for _, x := range p.Proof {
				to, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(x.What, "probe "), "udp "), " ")
				switch {
				case x.Holds:
					to += " holds"
				case strings.HasPrefix(x.Result, "not tried: "):
					to += " not tried"
				default:
					to += " " + x.Result
				}
				got = append(got, to)
			}
			if p.State != c.state || strings.Join(got, ", ") != c.proof {
				t.Errorf("%s, %q: %s", p.State, p.Why, strings.Join(got, ", "))
			}
			apply(t, s, flow.Change{Kind: flow.Restore})
		})
	}
}

package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// The first step says where the address came from; what nobody of the pod said is assumed, and
// so is which of several addresses is followed.
func TestNamed(t *testing.T) {
	s := &Snapshot{}
	one := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	two := append(one[:1:1], netip.MustParseAddr("10.0.0.2"))
	for _, c := range []struct {
		named   flow.Named
		facts   []flow.ReasonKind
		assumed []flow.ReasonKind
	}{
		{flow.Named{By: flow.NamedHosts, Addrs: one}, []flow.ReasonKind{flow.WhyNamedHosts}, nil},
		{flow.Named{By: flow.NamedServer, Addrs: one}, []flow.ReasonKind{flow.WhyNamedServer}, nil},
		{flow.Named{By: flow.NamedServer, Addrs: one, Via: netip.MustParseAddrPort("127.0.0.1:15053")}, []flow.ReasonKind{flow.WhyNamedServer, flow.WhyNamedVia}, nil},
		{flow.Named{By: flow.NamedServer, Addrs: two}, []flow.ReasonKind{flow.WhyNamedServer}, []flow.ReasonKind{flow.WhyNamedFirst}},
		{flow.Named{By: flow.NamedProgram, Addrs: two, Picked: true}, []flow.ReasonKind{flow.WhyNamedProgram, flow.WhyNamedPicked}, nil},
		{flow.Named{By: flow.NamedService, Addrs: one}, nil, []flow.ReasonKind{flow.WhyNamedService}},
		{flow.Named{Addrs: one}, nil, []flow.ReasonKind{flow.WhyNamedService}},
		{flow.Named{By: flow.NamedLocal, Addrs: one}, []flow.ReasonKind{flow.WhyNamedLocal}, nil},
	} {
		r := run{s: s, req: flow.Request{Dst: netip.MustParseAddrPort("10.0.0.1:80"), Named: &c.named}, legs: []flow.Leg{{Steps: make([]flow.Step, 1)}}}
		r.named()
		st := r.legs[0].Steps[0]
		var facts, assumed []flow.ReasonKind
		for _, f := range st.Facts {
			facts = append(facts, f.Kind)
		}
		for _, a := range st.Assumed {
			assumed = append(assumed, a.Reason.Kind)
		}
		if !slices.Equal(facts, c.facts) || !slices.Equal(assumed, c.assumed) {
			t.Errorf("%+v: facts %v, assumed %v", c.named, facts, assumed)
		}
	}
	if got := addrList(make([]netip.Addr, 12)); !strings.HasSuffix(got, ", and 4 more") {
		t.Error(got)
	}
}

package rules

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// NamesPart is the part of a snapshot with the names of addresses.
const NamesPart = "names.json"

// mostNames bounds what is taken of a part with names.
const mostNames = 4096

// parseNames reads NamesPart.
func parseNames(raw []byte) (flow.Names, error) {
	var n flow.Names
	if err := json.Unmarshal(raw, &n); err != nil {
		return flow.Names{}, fmt.Errorf("%s: %w", NamesPart, err)
	}
	if len(n.Labels) > mostNames {
		return flow.Names{}, fmt.Errorf("%s: %d addresses, more than %d", NamesPart, len(n.Labels), mostNames)
	}
	return n, nil
}

// Addresses are those that a trace speaks of, in the order in which it does.
func Addresses(t flow.Trace) []netip.Addr {
	var out []netip.Addr
	add := func(a netip.AddrPort) {
		if b := a.Addr().Unmap(); nameable(b) && !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	if n := t.Request.Named; n != nil {
		for _, a := range n.Addrs[:min(len(n.Addrs), shownAddrs)] {
			add(netip.AddrPortFrom(a, 0))
		}
	}
	for _, legs := range everyLegs(t) {
		for _, l := range legs {
			for _, a := range []netip.AddrPort{l.From.Src, l.From.Dst, l.To.Dst} {
				add(a)
			}
			for _, s := range l.Steps {
				for _, a := range spoken(s) {
					add(a)
				}
			}
		}
	}
	return out
}

// nameable says whether an address can be anybody's but this host's.
func nameable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}

func everyLegs(t flow.Trace) [][]flow.Leg {
	out := [][]flow.Leg{t.Legs}
	for _, v := range t.Variants {
		out = append(out, v.Legs)
	}
	return out
}

// spoken are the addresses that a step speaks of.
func spoken(s flow.Step) []netip.AddrPort {
	var out []netip.AddrPort
	for _, text := range append([]string{s.Subject}, s.Reason.Args[:]...) {
		if a, err := netip.ParseAddrPort(text); err == nil {
			out = append(out, a)
		} else if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.AddrPortFrom(a, 0))
		}
	}
	return out
}

// Label adds to a trace what stands behind its addresses, each at the first step of a way that
// speaks of it. It may be done again with more names.
func Label(t flow.Trace, n flow.Names) flow.Trace {
	if len(n.Labels) == 0 && n.Partial == "" {
		return t
	}
	t.Legs = labelled(t.Legs, n)
	t.Variants = slices.Clone(t.Variants)
	for i := range t.Variants {
		t.Variants[i].Legs = labelled(t.Variants[i].Legs, n)
	}
	return t
}

func labelled(legs []flow.Leg, n flow.Names) []flow.Leg {
	legs = slices.Clone(legs)
	told := map[netip.AddrPort]bool{}
	lacks := false
	for i := range legs {
		legs[i].Steps = slices.Clone(legs[i].Steps)
		for k := range legs[i].Steps {
			st := &legs[i].Steps[k]
			st.Facts = slices.DeleteFunc(slices.Clone(st.Facts), func(f flow.Reason) bool {
				return f.Kind == flow.WhyAddress || f.Kind == flow.WhyNamesPartial
			})
			for _, a := range spoken(*st) {
				name := n.At(a)
				lacks = lacks || name == "" && nameable(a.Addr())
				if name != "" && !told[a] {
					told[a] = true
					st.Facts = append(st.Facts, flow.Because(flow.WhyAddress, shown(a), n.Kind(a.Addr()), name))
				}
			}
		}
	}
	if lacks && n.Partial != "" && len(legs) > 0 && len(legs[0].Steps) > 0 {
		st := &legs[0].Steps[0]
		st.Facts = append(st.Facts, flow.Because(flow.WhyNamesPartial, n.Partial))
	}
	return legs
}

// shown is an address with its port, if it has one.
func shown(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

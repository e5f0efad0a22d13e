package rules

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Each address is told once a way, with what its port is called; a second time changes nothing,
// and the trace that was given stays as it was.
func TestLabel(t *testing.T) {
	service, pod := netip.MustParseAddr("10.107.42.16"), netip.MustParseAddr("10.244.0.7")
	names := flow.Names{Partial: "only here", Labels: map[netip.Addr][]flow.Label{
		service: {{Kind: "Service", Namespace: "shop", Name: "web", Ports: map[uint16]string{80: "http"}}},
		pod:     {{Kind: "Pod", Namespace: "shop", Name: "web-0"}, {Kind: "Pod", Namespace: "shop", Name: "web-1"}},
	}}
	legs := []flow.Leg{
		{Steps: []flow.Step{{Subject: "uid 0", Reason: flow.Because(flow.WhyAppSocket, "10.107.42.16:80", "0"), Facts: []flow.Reason{flow.Because(flow.WhyNoRules, "x")}},
			{Subject: "10.107.42.16:80"}, {Subject: "10.107.42.16:8080"}}},
		{Steps: []flow.Step{{Subject: "10.244.0.7:80"}, {Subject: "10.1.1.1:80"}, {Subject: "127.0.0.1:80"}}},
	}
	given := flow.Trace{Legs: legs, Variants: []flow.Variant{{Legs: legs}}}
	before := slices.Clone(legs[0].Steps[0].Facts)
	got := Label(Label(given, names), names)
	var told [][3]string
	for _, l := range got.Legs {
		for _, s := range l.Steps {
			for _, f := range s.Facts {
				if f.Kind != flow.WhyNoRules {
					told = append(told, f.Args)
				}
			}
		}
	}
	want := [][3]string{{"10.107.42.16:80", "Service", "shop/web:http"}, {"only here"}, {"10.107.42.16:8080", "Service", "shop/web"}, {"10.244.0.7:80", "Pod", "shop/web-0 or shop/web-1"}}
	if !reflect.DeepEqual(told, want) || !reflect.DeepEqual(got.Legs, got.Variants[0].Legs) {
		t.Errorf("told %v\nwant %v", told, want)
	}
	if !reflect.DeepEqual(legs[0].Steps[0].Facts, before) || len(legs[1].Steps[0].Facts) != 0 {
		t.Error("the trace that was given has changed")
	}
	if got, want := Addresses(given), []netip.Addr{service, pod, netip.MustParseAddr("10.1.1.1")}; !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}

// Names are kept with a snapshot, and read back with it.
func TestNamesPart(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	s := (&Snapshot{}).Named(flow.Names{Labels: map[netip.Addr][]flow.Label{a: {{Kind: "Service", Namespace: "x", Name: "y", Ports: map[uint16]string{80: "p"}}}}})
	s = s.Named(flow.Names{Partial: "some", Labels: map[netip.Addr][]flow.Label{netip.MustParseAddr("fd00::1"): {{Kind: "Node", Name: "n"}}}})
	again, err := ParseSnapshot(s.Files, nil)
	if err != nil || !reflect.DeepEqual(again.Names, s.Names) || len(s.Names.Labels) != 2 || again.Names.At(netip.MustParseAddrPort("10.0.0.1:80")) != "x/y:p" {
		t.Errorf("%+v, %v", again.Names, err)
	}
	if s, err := ParseSnapshot(map[string][]byte{NamesPart: []byte(`{"addresses":{"x":[]}}`)}, nil); err == nil || s == nil {
		t.Errorf("no address: %v", err)
	}
}

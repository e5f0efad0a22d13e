package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/rules/flow"
)

var (
	seed   = flag.Uint64("live.seed", 1, "seed of the random requests of TestLive")
	amount = flag.Int("live.n", 8, "random requests for each scene and back end of TestLive")
)

// served are the places outside that answer, so that what is seen is the pod's doing and not
// the far end's; here are places of the pod, where a closed port is the pod's own answer.
var (
	served = []string{"10.107.42.16:80", "10.107.42.16:8080", "10.107.42.21:80", "10.107.42.22:80", "203.0.113.10:80", "203.0.113.10:15001", "[fd00:107::16]:80"}
	here   = []string{"127.0.0.1", "127.0.0.2", lab.PodAddr, lab.PodAddr6, "::1"}
	// No port of a capture listener on an own address: such a request makes Envoy dial
	// itself a thousand times, which the scene loop shows.
	ports = []uint16{80, 8080, 8081, 8082, 9999, 9}
)

// draw draws requests.
type draw struct{ *rand.Rand }

func (d draw) of(words ...string) string { return words[d.IntN(len(words))] }

// cases are n requests for one scene.
func (d draw) cases(n int) []scenes.Case {
	var out []scenes.Case
	for i := range n {
		out = append(out, scenes.Case{Name: fmt.Sprintf("random-%d", i), Request: d.request()})
	}
	return out
}

func (d draw) request() flow.Request {
	r := flow.Request{Proto: flow.TCP}
	if d.IntN(3) == 0 {
		r.Dir = flow.Inbound
		r.Dst = netip.AddrPortFrom(netip.MustParseAddr(d.of(lab.PodAddr, lab.PodAddr, lab.PodAddr6)), ports[d.IntN(len(ports))])
		if r.Dst.Addr().Is4() && d.IntN(2) == 0 {
			r.Src = netip.MustParseAddrPort(lab.OtherAddr + ":0")
		}
	} else {
		r.UID = []uint32{0, 1000, lab.AppUID, lab.EnvoyUID, lab.EnvoyUID + 1}[d.IntN(5)]
		r.GID = []uint32{r.UID, r.UID, 0, lab.EnvoyUID}[d.IntN(4)]
		r.Dst = d.outbound()
	}
	r.HTTP = d.http(r.Dst)
	return r
}

func (d draw) outbound() netip.AddrPort {
	if d.IntN(2) == 0 {
		return netip.MustParseAddrPort(d.of(served...))
	}
	return netip.AddrPortFrom(netip.MustParseAddr(d.of(here...)), ports[d.IntN(len(ports))])
}

func (d draw) http(dst netip.AddrPort) *flow.HTTP {
	h := &flow.HTTP{Method: d.of("GET", "GET", "HEAD", "DELETE"), Authority: d.of(dst.String(), dst.Addr().Unmap().String(), "app.shadow.com", "APP.shadow.com", "app.shadow.com:8080", "other.example"),
		Path: d.of("/", "/aa", "/aa/b?c=d", "/bb", "/AA", "/public", "/cc", "//aa", "/a/../bb")}
	if dst.Addr().Is6() && h.Authority == dst.Addr().String() {
		h.Authority = "[" + h.Authority + "]"
	}
	for range d.IntN(3) {
		h.Headers = append(h.Headers, [2]string{d.of("version", "Version", "authorization", "x-request-id"), d.of("v1", "v2", "V2", " v2", "v2,v3", "", "Bearer good", "Bearer bad")})
	}
	if d.IntN(12) == 0 {
		h.Version = "1.0"
	}
	return h
}

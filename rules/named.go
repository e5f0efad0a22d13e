package rules

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// named adds to the first step where the request's address came from.
func (r *run) named() {
	n := r.req.Named
	if n == nil || len(r.legs) == 0 || len(r.legs[0].Steps) == 0 {
		return
	}
	st := &r.legs[0].Steps[0]
	asked, addrs := n.Name, addrList(n.Addrs)
	if full := strings.TrimSuffix(n.Full, "."); full != "" && full != strings.TrimSuffix(n.Name, ".") {
		asked += " (" + full + ")"
	}
	fact := func(k flow.ReasonKind, args ...string) { st.Facts = append(st.Facts, flow.Because(k, args...)) }
	switch n.By {
	case flow.NamedHosts:
		fact(flow.WhyNamedHosts, asked, addrs, n.Where)
	case flow.NamedServer:
		fact(flow.WhyNamedServer, asked, addrs, n.Where)
		if n.Via.IsValid() {
			fact(flow.WhyNamedVia, n.Server.String(), n.Via.String())
		}
	case flow.NamedProgram:
		fact(flow.WhyNamedProgram, asked, addrs, n.Where)
	case flow.NamedLocal:
		fact(flow.WhyNamedLocal, asked, addrs)
	default: // nobody who knows was asked
		st.Assumed = append(st.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyNamedService, asked, addrs, n.Where), Flag: "--to ADDR"})
	}
	switch at := r.req.Dst.Addr().String(); {
	case len(n.Addrs) < 2:
	case n.Picked:
		fact(flow.WhyNamedPicked, at, strconv.Itoa(len(n.Addrs)))
	default:
		st.Assumed = append(st.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyNamedFirst, at, strconv.Itoa(len(n.Addrs)), strconv.Itoa(n.NoRoute)), Flag: "--to ADDR --authority " + n.Name})
	}
}

// shownAddrs is how many addresses of a name a sentence holds.
const shownAddrs = 8

func addrList(list []netip.Addr) string {
	var out []string
	for i, a := range list {
		if i == shownAddrs {
			out = append(out, "and "+strconv.Itoa(len(list)-i)+" more")
			break
		}
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

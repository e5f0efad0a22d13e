package session

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// hints say what a trace predicts for a packet.
type hints struct {
	ways    []way
	clients map[netip.AddrPort]int // who began a connection, and on which way
}

// maxClients bounds what a long capture keeps; then it begins anew.
const maxClients = 1 << 16

// way is one leg of a trace, or of one of its variants.
type way struct {
	flow.Leg
	number int // from 1
	caller flow.Symptom
}

func newHints(t flow.Trace) *hints {
	h := &hints{clients: map[netip.AddrPort]int{}}
	add := func(legs []flow.Leg, caller flow.Symptom) {
		for i, l := range legs {
			h.ways = append(h.ways, way{l, i + 1, caller})
		}
	}
	add(t.Legs, t.Caller)
	for _, v := range t.Variants {
		add(v.Legs, v.Caller)
	}
	return h
}

// comment is the predicted step that a packet shows; empty: of no leg of the trace.
func (h *hints) comment(o flow.Observation) string {
	w, forth, ok := h.find(o)
	if !ok {
		return ""
	}
	head := "connection " + strconv.Itoa(w.number)
	syn, ack := o.Flags&flow.SYN != 0, o.Flags&flow.ACK != 0
	switch {
	case forth && (syn && !ack || o.Tuple.Proto == flow.UDP):
		return w.step(head, flow.Netfilter, flow.Wire, flow.RouteLookup, flow.Socket)
	case !forth && syn:
		return w.step(head, flow.Listener, flow.Wire, flow.Socket)
	case forth && o.Len > 0:
		return w.step(head, flow.Endpoint, flow.Cluster, flow.Route, flow.HTTPFilter, flow.NetworkFilter, flow.FilterChain)
	case !forth && o.Len > 0 && w.number == 1 && w.caller.Code != 0:
		return head + ": the caller is to see " + strconv.Itoa(w.caller.Code)
	case !forth && o.Flags&(flow.RST|flow.FIN) != 0 && w.number == 1 && w.caller.Flags != "":
		return head + ": to end with " + render.Clean(w.caller.Flags)
	}
	return head
}

// step is the last step of the first stage that the leg has.
func (w way) step(head string, stages ...flow.Stage) string {
	for _, want := range stages {
		for n := len(w.Steps) - 1; n >= 0; n-- {
			if st := w.Steps[n]; st.Stage == want {
				why := render.Reason(st.Reason)
				if why != "" {
					why = ": " + why
				}
				return fmt.Sprintf("%s, step %d: %s %s%s", head, n+1, render.StageWord(st.Stage), render.Clean(st.Subject), why)
			}
		}
	}
	return head
}

// find is the leg of a packet: that of the client who began its connection, else the one
// that has its addresses. forth: it goes from the client to the server.
func (h *hints) find(o flow.Observation) (w way, forth, ok bool) {
	begins := o.Flags&(flow.SYN|flow.ACK) == flow.SYN
	if !begins {
		if i, ok := h.clients[o.Tuple.Src]; ok {
			return h.ways[i], true, true
		}
		if i, ok := h.clients[o.Tuple.Dst]; ok {
			return h.ways[i], false, true
		}
	}
	for i, w := range h.ways {
		there, back := w.ends()
		switch {
		case !w.on(o.Device):
		case o.Tuple.Dst == there:
			if len(h.clients) >= maxClients {
				clear(h.clients)
			}
			h.clients[o.Tuple.Src] = i
			return w, true, true
		case o.Tuple.Src == back && !begins:
			return w, false, true
		}
	}
	return way{}, false, false
}

// ends are the server's address as a packet socket sees it on the way there and back. It
// taps before the rules of the way in, and after those of the way out: a connection that is
// redirected on its way out shows where it goes to, and answers come from where it was
// dialled; one that is redirected on its way in shows nothing of it.
func (w way) ends() (there, back netip.AddrPort) {
	if w.From.In != "" {
		return w.From.Dst, w.From.Dst
	}
	return w.To.Dst, w.From.Dst
}

// on says whether the leg's packets come by a device; one that is not known may be any.
func (w way) on(device string) bool {
	want := w.To.Out
	if w.From.In != "" {
		want = w.From.In
	} else if w.To.In != "" {
		want = w.To.In
	}
	return want == "" || want == device
}

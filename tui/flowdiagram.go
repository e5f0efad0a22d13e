package tui

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// Columns of the sequence diagram.
const (
	colApp = iota
	colKernel
	colEnvoy
	colWire
)

// hop is one row of the sequence diagram.
type hop struct {
	at       time.Time
	from, to int
	label    string
	inferred bool   // from conntrack: no packet shows it
	ref      string // of the observation
}

// arrows are what the observations show of the path, in the order in which they came. A
// connection that the trace or conntrack says is redirected runs to the proxy; the others
// are the proxy's own. Bare acknowledgements are left out, and what fits no connection.
func arrows(t flow.Trace, seen []flow.Observation) []hop {
	captured, proxied := map[uint16]bool{}, false
	for _, l := range t.Legs {
		if l.To.Dst != l.From.Dst {
			captured[l.To.Dst.Port()], proxied = true, true
		}
		proxied = proxied || l.Owner == flow.OwnerProxy
	}
	near, far := colApp, colWire
	if t.Request.Dir == flow.Inbound {
		near, far = colWire, colApp
	}
	redirected := map[netip.AddrPort]bool{}
	clients := map[netip.AddrPort]bool{}
	for i := range seen {
		switch o := &seen[i]; {
		case o.Kind == flow.SeenConntrack:
			clients[o.Tuple.Src] = true
			redirected[o.Tuple.Src] = redirected[o.Tuple.Src] || o.Reply.Src != o.Tuple.Dst
		case o.Kind == flow.SeenPacket && o.Flags&flow.SYN != 0:
			client, server := o.Tuple.Src, o.Tuple.Dst
			if o.Flags&flow.ACK != 0 {
				client, server = server, client
			}
			clients[client] = true
			redirected[client] = redirected[client] || captured[server.Port()]
		}
	}
	var out []hop
	for i := range seen {
		o := &seen[i]
		forward := clients[o.Tuple.Src]
		client := o.Tuple.Src
		if !forward {
			client = o.Tuple.Dst
		}
		if !clients[client] {
			continue
		}
		a := hop{at: o.At, ref: o.Ref, from: near, to: colEnvoy}
		if !redirected[client] {
			a.from, a.to = colEnvoy, far
			if !proxied {
				a.from = near
			}
		}
		switch {
		case o.Kind == flow.SeenConntrack && o.Event == "NEW":
			a.to, a.inferred, a.label = colKernel, true, "connect :"+itoa(int(o.Tuple.Dst.Port()))
		case o.Kind == flow.SeenPacket:
			a.label = packetWord(o)
			switch {
			case !forward:
				a.from, a.to = a.to, a.from
			case o.Flags&flow.SYN != 0 && redirected[client] && near == colApp:
				a.from = colKernel // nat rewrote it before any device saw it
			}
		}
		if a.label != "" {
			out = append(out, a)
		}
	}
	return out
}

// packetWord names a packet by its flags or the first words of a plain HTTP head; the
// query of a path is left out, and no other payload is shown.
func packetWord(o *flow.Observation) string {
	switch {
	case o.Flags&flow.RST != 0:
		return "RST"
	case o.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
		return "SYN/ACK"
	case o.Flags&flow.SYN != 0:
		return "SYN :" + itoa(int(o.Tuple.Dst.Port()))
	case o.Len == 0 && o.Flags&flow.FIN != 0:
		return "FIN"
	case o.Len == 0:
		return ""
	}
	head, _, _ := bytes.Cut(o.Head[:min(len(o.Head), 256)], []byte("\r\n"))
	words := strings.Fields(string(head))
	switch {
	case len(words) == 3 && strings.HasPrefix(words[2], "HTTP/1."):
		path, _, _ := strings.Cut(words[1], "?")
		return render.Clean(words[0] + " " + path)
	case len(words) > 1 && strings.HasPrefix(words[0], "HTTP/1."):
		return render.Clean(strings.Join(words[1:], " "))
	case len(o.Head) > 1 && o.Head[0] == 22 && o.Head[1] == 3:
		return "TLS handshake"
	case len(o.Head) > 1 && o.Head[0] == 23 && o.Head[1] == 3:
		return "TLS data"
	}
	return itoa(o.Len) + " bytes"
}

// drawFlow draws the last arrows that fit, under the names of the columns.
func drawFlow(c *canvas, r rect, list []hop, steps map[string]string) {
	const left, tail = 12, 12
	if r.h < 2 || r.w < left+tail+24 {
		return
	}
	var x [4]int
	for i, name := range []string{"app", "kernel", "envoy", "wire"} {
		x[i] = r.x + left + i*(r.w-left-tail)/3
		c.put(max(x[i]-1, 0), r.y, 8, style.Faint, name)
	}
	c.put(r.x+7, r.y, 2, style.Faint, "ms")
	c.right(r.x+r.w-1, r.y, style.Faint, "step")
	shown := list[max(len(list)-(r.h-1), 0):]
	for i, a := range shown {
		y := r.y + 1 + i
		if !a.inferred {
			ms := float64(a.at.Sub(firstPacket(list)).Microseconds()) / 1000
			c.right(r.x+9, y, style.Plain, fixed3(ms))
		}
		for _, at := range x {
			c.put(at, y, 1, style.Faint, style.Upright)
		}
		lo, hi, dash := x[min(a.from, a.to)], x[max(a.from, a.to)], style.LightRule
		if a.inferred {
			dash = style.Dashed
		}
		c.fill(lo+1, y, hi-lo-1, style.Plain, dash)
		if a.to > a.from {
			c.put(hi-1, y, 1, style.Plain, style.Winner)
		} else {
			c.put(lo+1, y, 1, style.Plain, style.ArrowLeftEnd)
		}
		label := " " + cut(a.label, hi-lo-7) + " "
		c.put(lo+(hi-lo-textWidth(label))/2+1, y, hi-lo-2, style.Plain, label)
		c.right(r.x+r.w-1, y, style.Goes, steps[a.ref])
	}
}

// firstPacket is when the first packet was seen: times count from it.
func firstPacket(list []hop) time.Time {
	for _, a := range list {
		if !a.inferred {
			return a.at
		}
	}
	return time.Time{}
}

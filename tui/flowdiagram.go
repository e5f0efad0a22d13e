package tui

import (
	"bytes"
	"net/netip"
	"slices"
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

// hop is one row of what was seen: an arrow of the sequence diagram, or a row of the list.
type hop struct {
	o        *flow.Observation // nil: gap observations were let go here
	gap      int
	from, to int
	label    string
	inferred bool // from conntrack: no packet shows it
}

// parties are the connections that were seen so far: their clients, and whether the rules
// redirect them. They outlive the packets that told of them.
type parties struct {
	client map[netip.AddrPort]bool // to: redirected
	server map[netip.AddrPort]bool
	// captured are the ports to which the trace's rules redirect.
	captured map[uint16]bool
	proxied  bool // the proxy is on the path
	inbound  bool
}

// keepClients bounds the connections that the screen knows: of a busier pod only what the
// packets at hand tell.
const keepClients = 20_000

func newParties(t flow.Trace) parties {
	p := parties{client: map[netip.AddrPort]bool{}, server: map[netip.AddrPort]bool{}, captured: map[uint16]bool{}, inbound: t.Request.Dir == flow.Inbound}
	for _, l := range t.Legs {
		if l.To.Dst != l.From.Dst {
			p.captured[l.To.Dst.Port()], p.proxied = true, true
		}
		p.proxied = p.proxied || l.Owner == flow.OwnerProxy
		p.server[l.From.Dst], p.server[l.To.Dst] = true, true
	}
	return p
}

// learn takes from an observation who is a client, and whether it is redirected.
func (p *parties) learn(o *flow.Observation) {
	client, redirected := o.Tuple.Src, false
	switch {
	case o.Kind == flow.SeenConntrack:
		redirected = o.Reply.Src != o.Tuple.Dst
	case o.Kind == flow.SeenPacket && o.Flags&(flow.SYN|flow.ACK) == flow.SYN|flow.ACK:
		client, redirected = o.Tuple.Dst, p.captured[o.Tuple.Src.Port()]
	case o.Kind == flow.SeenPacket && o.Flags&flow.SYN != 0:
		redirected = p.captured[o.Tuple.Dst.Port()]
	default:
		return
	}
	if len(p.client) >= keepClients {
		clear(p.client)
	}
	p.client[client] = p.client[client] || redirected
}

// clientOf is the client of a packet's connection, and whether the packet comes from it.
func (p *parties) clientOf(o *flow.Observation) (client netip.AddrPort, forward, ok bool) {
	src, dst := o.Tuple.Src, o.Tuple.Dst
	_, fromClient := p.client[src]
	_, toClient := p.client[dst]
	switch {
	case fromClient:
		return src, true, true
	case toClient:
		return dst, false, true
	case p.server[dst]:
		return src, true, true
	case p.server[src]:
		return dst, false, true
	}
	return client, false, false
}

// hops are the rows of what is kept: the path's arrows, or everything. Of the path, bare
// acknowledgements are left out, and what fits no connection.
func (p *parties) hops(l *seenLog, everything bool) []hop {
	out := make([]hop, 0, len(l.first)+len(l.last)+1)
	add := func(list []*flow.Observation) {
		for _, o := range list {
			h, ok := p.hop(o)
			if ok || everything {
				out = append(out, h)
			}
		}
	}
	add(l.first)
	head := len(out)
	if l.letGo > 0 {
		out = append(out, hop{gap: l.letGo})
	}
	add(l.last)
	if l.letGo > 0 {
		p.order(out[:head])
		p.order(out[head:])
	} else {
		p.order(out)
	}
	return out
}

// order sorts rows by time: devices hand their packets over block by block. A conntrack
// entry is read a little after it was made, so it goes before its connection's first packet.
func (p *parties) order(rows []hop) {
	opened := map[netip.AddrPort]time.Time{}
	for _, h := range rows {
		if h.o == nil || h.o.Kind != flow.SeenPacket {
			continue
		}
		client, _, _ := p.clientOf(h.o)
		if at, ok := opened[client]; !ok || h.o.At.Before(at) {
			opened[client] = h.o.At
		}
	}
	when := func(h hop) (time.Time, int) {
		switch {
		case h.o == nil:
			return time.Time{}, 0 // it leads its part
		case h.o.Kind == flow.SeenConntrack && h.o.Event == "NEW":
			if at, ok := opened[h.o.Tuple.Src]; ok && at.Before(h.o.At) {
				return at, 0
			}
		}
		return h.o.At, 1
	}
	slices.SortStableFunc(rows, func(a, b hop) int {
		x, m := when(a)
		y, n := when(b)
		if c := x.Compare(y); c != 0 {
			return c
		}
		return m - n
	})
}

// hop is the arrow of an observation. A connection that the trace or conntrack says is
// redirected runs to the proxy; the others are the proxy's own.
func (p *parties) hop(o *flow.Observation) (hop, bool) {
	near, far := colApp, colWire
	if p.inbound {
		near, far = colWire, colApp
	}
	client, forward, ok := p.clientOf(o)
	redirected := p.client[client]
	h := hop{o: o, from: near, to: colEnvoy}
	if !redirected {
		h.from, h.to = colEnvoy, far
		if !p.proxied {
			h.from = near
		}
	}
	switch {
	case o.Kind == flow.SeenConntrack:
		h.label = conntrackWord(o)
		h.to, h.inferred = colKernel, true
		return h, ok && o.Event == "NEW" && (redirected || p.server[o.Tuple.Dst] || !o.Tuple.Dst.Addr().IsLoopback())
	case o.Kind != flow.SeenPacket:
		return h, false
	}
	h.label = packetWord(o)
	switch {
	case !forward:
		h.from, h.to = h.to, h.from
	case o.Flags&flow.SYN != 0 && redirected && near == colApp:
		h.from = colKernel // nat rewrote it before any device saw it
	}
	return h, ok && h.label != ""
}

func conntrackWord(o *flow.Observation) string {
	if o.Event == "NEW" {
		return "connect :" + itoa(int(o.Tuple.Dst.Port()))
	}
	return strings.TrimSpace(render.Clean(o.Event + " " + o.State))
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
	if line := httpLine(o.Head); line != "" {
		return line
	}
	switch {
	case len(o.Head) > 1 && o.Head[0] == 22 && o.Head[1] == 3:
		return "TLS handshake"
	case len(o.Head) > 1 && o.Head[0] == 23 && o.Head[1] == 3:
		return "TLS data"
	}
	return itoa(o.Len) + " bytes"
}

// httpLine is the first line of an HTTP/1 head without the query of its path; empty: head
// is none.
func httpLine(head []byte) string {
	first, _, _ := bytes.Cut(head[:min(len(head), 256)], []byte("\r\n"))
	words := strings.Fields(string(first))
	switch {
	case len(words) == 3 && strings.HasPrefix(words[2], "HTTP/1."):
		path, _, _ := strings.Cut(words[1], "?")
		return render.Clean(words[0] + " " + path)
	case len(words) > 1 && strings.HasPrefix(words[0], "HTTP/1."):
		return render.Clean(strings.Join(words[1:], " "))
	}
	return ""
}

// proven are the steps that an observation proves, as the diagram's last column says them.
type proven struct {
	line line // signs, numbers and words
}

// drawFlow draws the arrows from row first on, under the names of the columns.
func (t *confirmScreen) drawFlow(c *canvas, r rect, s *state) {
	const left = 12
	tail, end := flowTail(r.w)
	room := (r.w - left - tail - end) / 3
	if r.h < 2 || room < 8 {
		return
	}
	var x [4]int
	for i, name := range t.columns(s, room-2, end+1) {
		x[i] = r.x + left + i*room
		c.put(max(x[i]-1, 0), r.y, room-1, style.Faint, name)
	}
	c.put(r.x+7, r.y, 2, style.Faint, "ms")
	head := "steps"
	if c.w >= wideFrom {
		head = "steps that it proves"
	}
	c.put(r.x+r.w-tail, r.y, tail, style.Faint, head)
	for i := 0; i < r.h-1 && t.top+i < len(t.rows); i++ {
		h, y := t.rows[t.top+i], r.y+1+i
		for _, at := range x {
			c.put(at, y, 1, style.Faint, style.Upright)
		}
		if h.o == nil {
			c.put(r.x+left+2, y, r.w-left-2, style.Depends, " "+letGoWords(h.gap)+" ")
		} else {
			t.drawHop(c, rect{r.x, y, r.w, 1}, x, h)
			c.draw(r.x+r.w-tail, y, tail, t.proof[h.o].line)
		}
		t.drawCursor(c, rect{r.x, y, r.w, 1}, t.top+i)
	}
}

// flowTail is how much of a row the steps take that it proves, and how much is left
// between them and the last upright.
func flowTail(w int) (tail, end int) {
	if w < wideFrom {
		return 10, 4
	}
	return w / 3, 10
}

func letGoWords(n int) string {
	return style.Ellipsis + " " + itoa(n) + " observations between were counted and let go " + style.Ellipsis
}

func (t *confirmScreen) drawHop(c *canvas, r rect, x [4]int, h hop) {
	if !h.inferred {
		c.right(r.x+9, r.y, style.Plain, t.ms(h.o))
	}
	lo, hi, dash := x[min(h.from, h.to)], x[max(h.from, h.to)], style.LightRule
	if h.inferred {
		dash = style.Dashed
	}
	if hi-lo < 4 {
		return
	}
	c.fill(lo+1, r.y, hi-lo-1, style.Plain, dash)
	if h.to > h.from {
		c.put(hi-1, r.y, 1, style.Plain, style.Winner)
	} else {
		c.put(lo+1, r.y, 1, style.Plain, style.ArrowLeftEnd)
	}
	label := " " + cut(h.label, hi-lo-7) + " "
	c.put(lo+(hi-lo-textWidth(label))/2+1, r.y, hi-lo-2, style.Plain, label)
}

// drawCursor marks the selected row and makes it answer to clicks.
func (t *confirmScreen) drawCursor(c *canvas, r rect, n int) {
	c.spot(r.x, r.y, r.w, effect{kind: effSelect, n: n})
	if n != t.sel {
		return
	}
	if t.focus == onFlow {
		c.wash(r, style.Selected)
		c.cursor.x, c.cursor.y, c.cursor.on = r.x, r.y, true
	}
	c.put(r.x, r.y, 1, style.Plain, style.Cursor)
}

// ms is when a packet was seen, in milliseconds since the first one.
func (t *confirmScreen) ms(o *flow.Observation) string {
	if o.At.IsZero() || t.start.IsZero() {
		return ""
	}
	return fixed3(float64(o.At.Sub(t.start).Microseconds()) / 1000)
}

// columns are the names of the diagram's columns; where there is room, with who they are.
// The last one has less of it.
func (t *confirmScreen) columns(s *state, room, last int) [4]string {
	names := [4]string{"app", "kernel", "envoy", "wire"}
	for _, l := range s.legs() {
		if l.Owner == flow.OwnerApp && s.trace.Request.Dir == flow.Outbound {
			names[colApp] = "app uid " + utoa(l.From.UID)
		}
		if l.Owner == flow.OwnerProxy {
			names[colEnvoy] = "envoy uid " + utoa(l.From.UID)
		}
		if l.To.Out != "" && l.To.Out != "lo" {
			names[colWire] = "wire " + render.Clean(l.To.Out)
		}
	}
	for i, n := range names {
		if textWidth(n) > room || i == colWire && textWidth(n) > last {
			names[i], _, _ = strings.Cut(n, " ")
		}
	}
	return names
}

// drawList draws every observation as a row.
func (t *confirmScreen) drawList(c *canvas, r rect, s *state) {
	if r.h < 2 {
		return
	}
	addr := 21
	if r.w >= wideFrom {
		addr = 30
	}
	c.put(r.x+7, r.y, 2, style.Faint, "ms")
	c.draw(r.x+11, r.y, r.w-11, text(style.Faint, pad("where", 10)+pad("from", addr+3)+pad("to", addr+1)+"what"))
	for i := 0; i < r.h-1 && t.top+i < len(t.rows); i++ {
		h, y := t.rows[t.top+i], r.y+1+i
		if h.o == nil {
			c.put(r.x+11, y, r.w-11, style.Depends, letGoWords(h.gap))
		} else {
			if h.o.Kind == flow.SeenPacket { // the others are read some time after they happened
				c.right(r.x+9, y, style.Plain, t.ms(h.o))
			}
			c.draw(r.x+11, y, r.w-11, listRow(h, addr).with(style.Plain, "  ").with(style.Plain, t.proof[h.o].line.String()))
		}
		t.drawCursor(c, rect{r.x, y, r.w, 1}, t.top+i)
	}
}

func listRow(h hop, addr int) line {
	o := h.o
	where, what := render.Clean(o.Device), h.label
	switch o.Kind {
	case flow.SeenConntrack:
		where = "conntrack"
	case flow.SeenSocket:
		where, what = "socket", "uid "+utoa(o.UID)
	case flow.SeenPacket:
		if what == "" {
			what = flagWords(o.Flags)
		}
	case flow.SeenAccessLog:
		where, what = "access log", render.Clean(o.Fields["response_code"]+" "+o.Fields["response_flags"])
	}
	return text(style.Faint, pad(where, 10)).with(style.Plain, pad(addrWords(o.Tuple.Src), addr)+" "+style.Arrow+" "+pad(addrWords(o.Tuple.Dst), addr)+" "+what)
}

func addrWords(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// flagWords are a packet's TCP flags (RFC 9293, 3.1).
func flagWords(f flow.TCPFlags) string {
	var out []string
	for _, b := range []struct {
		bit  flow.TCPFlags
		name string
	}{{flow.SYN, "SYN"}, {flow.FIN, "FIN"}, {flow.RST, "RST"}, {flow.PSH, "PSH"}, {flow.ACK, "ACK"}} {
		if f&b.bit != 0 {
			out = append(out, b.name)
		}
	}
	return strings.Join(out, ",")
}

// since is a time for a hint, without the clock's own.
func since(from, now time.Time) int { return max(int(now.Sub(from)/time.Second), 0) }

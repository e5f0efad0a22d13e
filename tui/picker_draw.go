package tui

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// View draws the frame.
func (p *picker) View() tea.View {
	c := newCanvas(p.s.w, p.s.h)
	p.paint(c)
	v := tea.NewView(c.String(p.s.palette))
	v.AltScreen = true
	v.WindowTitle = "meshtop: choose a pod"
	if p.s.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if c.cursor.on {
		v.Cursor = tea.NewCursor(c.cursor.x, c.cursor.y)
		if c.cursor.text {
			v.Cursor.Shape = tea.CursorBar
		}
	}
	return v
}

// area is where the rows are; where records tell of policies, or could not be read, the row
// below is for what they say.
func (p *picker) area() rect {
	r := body(p.s.w, p.s.h)
	if r.h > 3 && slices.ContainsFunc(p.rows, func(c inspect.Candidate) bool { return c.Untold != "" || egressCell(c, p.s.now) != "" }) {
		r.h--
	}
	return r
}

func (p *picker) paint(c *canvas) {
	where, _ := p.pods.Where()
	space := "namespace " + render.Clean(p.namespace)
	if p.all {
		space = "all namespaces"
	}
	c.wash(rect{0, 0, c.w, 1}, style.Bar)
	end := c.right(c.w-1, 0, style.Bar, cut(space, c.w/2))
	x := c.put(0, 0, max(end-2, 0), style.Bar, " meshtop  ")
	if y := alarm(c, x, max(end-2, 0), p.s.opt.Danger, where); y > x {
		x, where = y, ""
	} else {
		where = cut(render.Clean(where), max(end-30, 8)) + " "
	}
	c.put(x, 0, max(end-2-x, 0), style.Bar, where+style.Cursor+" choose a pod")
	if c.h > 2 {
		p.drawRows(c, p.area())
	}
	switch {
	case p.typing && c.h > 1:
		c.wash(rect{0, c.h - 1, c.w, 1}, style.Bar)
		x := c.put(1, c.h-1, c.w, style.Key, ": ")
		p.command.draw(c, x, c.h-1, c.w-x-1, style.Bar, true)
	case c.h > 1:
		footer(c, &p.s, p.s.opt.Keys.of(modePicker))
	}
	if p.dialog != nil {
		p.dialog.draw(c, &p.s)
	}
}

func (p *picker) drawRows(c *canvas, r rect) {
	list := p.shown()
	hint := itoa(len(list)) + " of " + itoa(len(p.rows)) + "  " + p.s.key(actFind) + " filter"
	c.pane(r, true, "pods", orders[p.order], hint)
	if b := body(c.w, c.h); b.h > r.h {
		c.put(r.x+1, r.y+r.h, r.w-2, style.Depends, p.said(list))
	}
	_, in := r.top(1)
	w := p.columns(in.w - 2)
	if p.asking || len(p.filter.text) > 0 {
		x := c.put(in.x+1, in.y, in.w, style.Key, "/ ")
		p.filter.draw(c, x, in.y, in.w-4, style.Plain, p.asking)
	} else {
		c.put(in.x+1, in.y, in.w-2, style.Faint, w.line("namespace", "pod", "ready", "state", "proxy", "egress", "age"))
	}
	if len(list) == 0 {
		c.page(rect{in.x + 1, in.y + 2, in.w - 2, max(in.h-2, 0)}, 0, p.empty(in.w-2, in.h-2))
	}
	for i := 0; i < in.h-1 && p.top+i < len(list); i++ {
		k, y := list[p.top+i], in.y+1+i
		ink := style.Plain
		if k.Closed != "" || k.Proxy == "" {
			ink = style.Faint
		}
		c.put(in.x+1, y, in.w-2, ink, w.line(render.Clean(k.Namespace), render.Clean(k.Name), render.Clean(k.Ready), render.Clean(k.State), proxyCell(k), egressCell(k, p.s.now), ago(p.s.now.Sub(k.Created))))
		if at := in.x + 1 + w.before(); egressCell(k, p.s.now) != "" && w.egress > 0 {
			c.put(at, y, w.egress-1, style.Stops, egressCell(k, p.s.now))
		}
		c.spot(in.x, y, in.w, effect{kind: effSelect, n: p.top + i})
		if p.top+i == p.sel {
			c.wash(rect{in.x, y, in.w, 1}, style.Selected)
			if !p.asking && !p.typing {
				c.cursor.x, c.cursor.y, c.cursor.on = in.x, y, true
			}
		}
	}
	if p.sel < len(list) {
		k := list[p.sel]
		room := in.w
		if w.cuts(k) {
			room = 0
		}
		c.full(in.inset(), in.y+1+p.sel-p.top, room, text(style.Plain, render.Clean(k.Namespace)+"/"+render.Clean(k.Name)+" · "+render.Clean(k.State)+" · "+proxyCell(k)))
	}
}

// said is what the record of the selected pod says of its policy.
func (p *picker) said(list []inspect.Candidate) string {
	if p.sel < len(list) {
		k := list[p.sel]
		switch {
		case egressCell(k, p.s.now) != "":
			until := "until somebody ends it"
			if !k.Policy.Expires.IsZero() {
				until = "until " + k.Policy.Expires.Local().Format("15:04")
			}
			c := k.Policy.Change
			c.Since = time.Time{}
			why := ""
			if c.Reason != "" {
				why, c.Reason = " · "+render.Clean(c.Reason), ""
			}
			return "its Lease tells of " + c.Kind.String() + " " + until + why + byWords(c)
		case k.Untold != "":
			return "who blocks what is not known: " + render.Clean(k.Untold)
		}
	}
	return ""
}

// egressCell is the policy that a pod's record tells of, with the time that is left.
func egressCell(k inspect.Candidate, now time.Time) string {
	word := map[flow.PolicyKind]string{flow.BlockAll: "BLOCKED", flow.AllowAll: "OPENED"}[k.Policy.Change.Kind]
	switch left := k.Policy.Expires.Sub(now); {
	case word == "" || k.Policy.Expires.IsZero():
		return word
	case left <= 0:
		return ""
	case left < time.Minute:
		return word + " <1m"
	default:
		return word + " " + ago(left)
	}
}

func proxyCell(k inspect.Candidate) string {
	if k.Proxy == "" {
		return "none found"
	}
	return render.Clean(k.Proxy)
}

// empty says why there is no row, in h rows of w columns; what a credential plugin said may be
// why, or what to do.
func (p *picker) empty(w, h int) []line {
	out := p.why(w)
	if p.busy || !p.read || p.failed != nil {
		if more := p.told.page(w, h-len(out)-1); more != nil {
			out = append(append(out, line{}), more...)
		}
	}
	return out
}

// why says why there is no row.
func (p *picker) why(w int) []line {
	switch {
	case p.failed != nil:
		out := para(line{}, style.Stops, "the pods could not be listed: "+render.Clean(p.failed.Error()), w)
		out = append(out, line{})
		return append(out, para(line{}, style.Plain, "What still works, if you know a name:  :pod NAME  or  :ns NAMESPACE  or  :ctx CONTEXT.  "+p.s.key(actRefresh)+" lists again.", w)...)
	case p.busy || !p.read:
		return []line{text(style.Faint, "listing the pods"+style.Ellipsis)}
	case len(p.rows) > 0:
		return []line{text(style.Faint, "none of "+itoa(len(p.rows))+" fits the filter: "+p.s.key(actBack)+" takes it away")}
	}
	return para(line{}, style.Faint, "there is no pod here: "+p.s.key(actNamespace)+" chooses another namespace, "+p.s.key(actAll)+" shows all", w)
}

// pickColumns are the widths of the columns; 0 leaves one out.
type pickColumns struct{ space, name, state, proxy, egress int }

// before is where the column of policies begins.
func (k pickColumns) before() int { return k.space + k.name + 8 + k.state + k.proxy }

// columns gives the names what the others leave.
func (p *picker) columns(w int) pickColumns {
	const ready, age = 8, 5
	k := pickColumns{state: 13, proxy: 19}
	if w >= wideFrom {
		k.state, k.proxy = 20, 26
	}
	if p.all {
		k.space = 15
	}
	if w >= wideFrom || slices.ContainsFunc(p.rows, func(c inspect.Candidate) bool { return egressCell(c, p.s.now) != "" }) {
		k.egress = 13
	}
	if k.egress > 0 && k.space > 0 && w < wideFrom {
		k.state, k.proxy = 10, 12
	}
	k.name = max(w-ready-age-k.state-k.proxy-k.space-k.egress, 10)
	return k
}

// cuts says whether a column has no room for what stands in it.
func (k pickColumns) cuts(c inspect.Candidate) bool {
	return textWidth(render.Clean(c.Name)) >= k.name || k.space > 0 && textWidth(render.Clean(c.Namespace)) >= k.space ||
		textWidth(render.Clean(c.State)) >= k.state || textWidth(proxyCell(c)) >= k.proxy
}

func (k pickColumns) line(space, name, ready, state, proxy, egress, age string) string {
	out := ""
	if k.space > 0 {
		out = pad(space, k.space-1) + " "
	}
	out += pad(name, k.name-1) + " " + pad(ready, 7) + " " + pad(state, k.state-1) + " " + pad(proxy, k.proxy-1) + " "
	if k.egress > 0 {
		out += pad(egress, k.egress-1) + " "
	}
	return out + age
}

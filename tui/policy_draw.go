package tui

import (
	"strings"

	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// The dialog's widths: of its box, and of the names at its left.
const policyWidth, policyLead = 78, 8

func (d *policyDialog) draw(c *canvas, s *state) {
	in := c.box(policyWidth, c.h-2, "Change egress policy of "+render.Clean(s.opt.Target))
	in = rect{in.x + 1, in.y, max(in.w-2, 0), in.h}
	if d.result != nil {
		d.drawResult(c, s, in)
		return
	}
	foot := d.foot(c, in)
	d.head(c, s, in)
	r := rect{in.x, in.y + 1, in.w, max(in.h-1-foot, 0)}
	d.page(c, r, d.planLines(s, r.w))
}

// page shows the plan, and in the row below how much of it is out of sight.
func (d *policyDialog) page(c *canvas, r rect, lines []line) {
	d.lines, d.room = len(lines), r.h
	d.top = max(min(d.top, d.lines-d.room), 0)
	c.page(r, d.top, lines)
	if rest := d.lines - d.top - d.room; rest > 0 && r.h > 0 {
		c.right(r.x+r.w, r.y+r.h, style.Key, " pgdn: "+itoa(rest)+" more ")
	} else if d.top > 0 && r.h > 0 {
		c.right(r.x+r.w, r.y+r.h, style.Key, " pgup ")
	}
}

// head is the first row: what is in force, and what is to be.
func (d *policyDialog) head(c *canvas, s *state, in rect) {
	now, ink := "not read", style.Depends
	switch p := s.policy.policy; {
	case s.inForce():
		now, ink = strings.ToUpper(p.Change.Kind.String()), style.Turns
	case s.policy.known:
		now, ink = p.State.String(), style.Plain
	}
	l := text(style.Strong, "now  ").with(ink, now).to(20).with(style.Strong, "new ")
	for _, k := range kinds {
		word, mark, ink := k.String(), "( ) ", style.Plain
		if k == d.kind {
			word, mark, ink = strings.ToUpper(word), "("+style.Radio+") ", style.Stops
			if k == flow.Restore {
				ink = style.Goes
			}
		}
		l = l.with(style.Plain, " "+mark).with(ink, word).with(style.Plain, " ")
	}
	c.draw(in.x, in.y, in.w, l)
	if d.row == pKind && d.busy == "" {
		c.wash(rect{in.x + 20, in.y, max(in.w-20, 0), 1}, style.Selected)
	}
}

// planLines are what is in force and the plan as text, or why there is none.
func (d *policyDialog) planLines(s *state, width int) []line {
	out := heldLines(s, width)
	if d.wrong != "" {
		out = append(out, para(text(style.Stops, style.MarkStops+" "), style.Stops, d.wrong, width)...)
	}
	switch {
	case d.busy != "":
		return []line{text(style.Depends, style.Ellipsis+" "+d.busy)}
	case d.wrong != "" && !d.planned:
		return out
	case d.pending && !d.planned:
		return append(out, text(style.Faint, "planning"+style.Ellipsis))
	case d.wrong != "":
		out = append(out, line{})
	}
	return append(out, policyLines(session.Planned(d.change), s, width, true)...)
}

// fieldOrder is how a dialog orders the fields of a policy: what it does and does not first.
// The dialog says in other places what policy it is.
var fieldOrder = []string{"why", "proof", "effect", "misses", "ends", "open", "covers", "refused", "by", "record", "event", "driver", "change", "undo"}

// policyLines are a policy as text with the words that matter in their inks.
func policyLines(p flow.Policy, s *state, width int, whole bool) []line {
	fields := map[string][]line{}
	at, last := "", style.Plain
	text := render.PolicyText(p, render.PolicyOptions{Target: s.opt.Target, Now: s.now, Whole: whole, Width: width})
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		name, rest := cutColumns(l, 10)
		ink := style.Plain
		if trimmed := strings.TrimSpace(name); trimmed != "" {
			at = trimmed
		}
		switch {
		case at == "why" || strings.HasPrefix(rest, "x ") || strings.HasPrefix(strings.TrimSpace(rest), "! "):
			ink = style.Stops
		case at == "misses" || strings.HasPrefix(rest, "? ") || strings.Contains(rest, "NEVER by itself"):
			ink = style.Depends
		case strings.HasPrefix(rest, "+ "):
			ink = style.Goes
		case at == "effect" && strings.HasPrefix(rest, "  "):
			ink = last // the effect goes on
		}
		last = ink
		if at == "effect" {
			rest = screenMarks(rest)
		}
		fields[at] = append(fields[at], line{spans: []span{{style.Strong, name}, {ink, rest}}})
	}
	var out []line
	for _, name := range fieldOrder {
		out = append(out, fields[name]...)
	}
	return out
}

// screenMarks is a line of an effect with the marks and arrows that the screens have.
func screenMarks(l string) string {
	for plain, mark := range map[string]string{"x ": style.MarkStops, "+ ": style.MarkGoes, "? ": style.MarkUnknown} {
		if rest, ok := strings.CutPrefix(l, plain); ok {
			l = mark + " " + rest
			break
		}
	}
	if before, ok := strings.CutSuffix(l, " ->"); ok {
		l = before + " " + style.Arrow // it goes on in the next row
	}
	return strings.ReplaceAll(l, " -> ", " "+style.Arrow+" ")
}

// cutColumns splits a line of render's after n characters, which are names there and ASCII.
func cutColumns(l string, n int) (head, rest string) {
	if len(l) <= n {
		return l, ""
	}
	return l[:n], l[n:]
}

// foot draws the rows that get keys at the bottom, and gives how many they are.
func (d *policyDialog) foot(c *canvas, in rect) int {
	rows := d.rows()
	var lines []line
	var fields []policyRow // the row of each line; pKind: none
	add := func(l line, r policyRow) { lines, fields = append(lines, l), append(fields, r) }
	for _, r := range rows[1:] {
		if l, ok := d.option(r); ok {
			add(l, r)
		}
	}
	y := in.y + in.h - len(lines)
	for i, l := range lines {
		c.draw(in.x, y+i, in.w, l)
		d.drawField(c, in, y+i, fields[i])
	}
	return len(lines) + 1
}

// option is a row's line; text fields are drawn into it.
func (d *policyDialog) option(r policyRow) (line, bool) {
	box := func(on bool, what string) line {
		return text(style.Plain, strings.Repeat(" ", policyLead)+map[bool]string{true: "[x] ", false: "[ ] "}[on]+what)
	}
	switch r {
	case pClose:
		return box(d.closeOpen, "end the connections that are open"), true
	case pStrong:
		return box(d.strong, "strong: the proxy's own connections and UDP too"), true
	case pAll:
		return box(d.all, "all: every destination, not only what the proxy blocks"), true
	case pPlaintext:
		return box(d.plain, "around the proxy's TLS and policies is meant"), true
	case pTTL:
		return text(style.Strong, pad("undo", policyLead)).with(style.Plain, "by itself in [          ] ").with(style.Faint, strings.Join(ttls, " ")+", or type never"), true
	case pExcept:
		return text(style.Strong, pad("except", policyLead)).with(style.Plain, "["+strings.Repeat(" ", 34)+"] ").with(style.Faint, "CIDR or HOST:PORT, "+style.Ellipsis), true
	case pReason:
		return text(style.Strong, pad("reason", policyLead)).with(style.Plain, "["+strings.Repeat(" ", 52)+"]"), true
	case pName:
		return text(style.Plain, "Type "+d.wanted()+" to "+applyWord(d.kind)+": ["+strings.Repeat(" ", nameRoom)+"]  ").
			with(style.Key, "enter").with(style.Plain, " "+applyWord(d.kind)+"  ").with(style.Key, "esc").with(style.Plain, " cancel"), true
	}
	return line{}, false
}

const nameRoom = 15

// drawField puts the text of a row into its brackets, and the cursor where the keys are.
func (d *policyDialog) drawField(c *canvas, in rect, y int, r policyRow) {
	here := d.row == r && d.busy == ""
	var f *field
	at, room := in.x+policyLead+1, 0
	switch r {
	case pTTL:
		f, at, room = &d.ttl, in.x+policyLead+len("by itself in ["), 10
	case pExcept:
		f, room = &d.except, 34
	case pReason:
		f, room = &d.reason, 52
	case pName:
		f, at, room = &d.name, in.x+textWidth("Type "+d.wanted()+" to "+applyWord(d.kind)+": ["), nameRoom
	default:
		if here {
			c.wash(rect{in.x + policyLead, y, max(in.w-policyLead, 0), 1}, style.Selected)
		}
		return
	}
	f.draw(c, at, y, min(room, in.x+in.w-at), style.Strong, here)
}

// drawResult shows what became of it.
func (d *policyDialog) drawResult(c *canvas, s *state, in rect) {
	p := *d.result
	mark, ink, word := style.MarkUnknown, style.Depends, "STATE UNKNOWN: it was carried out, and is not proven"
	switch {
	case p.State == flow.StateApplied:
		mark, ink, word = style.MarkGoes, style.Goes, "APPLIED: read back and proven"
	case p.State == flow.StateNone && d.kind == flow.Restore:
		mark, ink, word = style.MarkGoes, style.Goes, "RESTORED: nothing of meshtop's is there"
	}
	c.put(in.x, in.y, in.w, ink, mark+" "+word)
	r := rect{in.x, in.y + 2, in.w, max(in.h-4, 0)}
	d.page(c, r, policyLines(p, s, r.w, false))
	c.draw(in.x, in.y+in.h-1, in.w, text(style.Key, "enter").with(style.Plain, " closes"))
}

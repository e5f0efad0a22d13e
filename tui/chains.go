package tui

import (
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// column is one criterion over all chains.
type column struct {
	field, has string
	width      int
}

// chainTable shows filter chains with a column for each criterion, as Envoy tests them
// from left to right; a criterion that no chain has is left out. Nil: these are no
// chains, or the table is wider than the pane.
func chainTable(list []render.Candidate, width int) []line {
	cols := columns(list)
	if len(cols) == 0 {
		return nil
	}
	name := textWidth("the request")
	for _, c := range list {
		name = max(name, textWidth(c.Text))
	}
	name = min(name, 30)
	if !squeeze(cols, &name, width-14) {
		return nil
	}
	head := text(style.Faint, "  "+pad("chain", name)+"  ")
	req := text(style.Faint, "  "+pad("the request", name)+"  ")
	for _, c := range cols {
		head = head.with(style.Faint, pad(c.field, c.width)+"  ")
		req = req.with(style.Plain, pad(or(c.has, "none"), c.width)+"  ")
	}
	out := []line{head.with(style.Faint, "result"), req}
	for _, c := range list {
		out = append(out, chainRow(c, cols, name))
	}
	return append(out, nearest(list, width)...)
}

// squeeze narrows the widest columns until all fit in width; false: they cannot.
func squeeze(cols []column, name *int, width int) bool {
	for {
		need, widest := 2+*name+2, name
		for i := range cols {
			need += cols[i].width + 2
			if cols[i].width > *widest {
				widest = &cols[i].width
			}
		}
		if need <= width {
			return true
		}
		if *widest <= 12 {
			return false
		}
		*widest--
	}
}

// columns are the criteria in the order in which Envoy tests them, which is that of each
// chain's own tests.
func columns(list []render.Candidate) []column {
	var cols []column
	for _, c := range list {
		at := 0
		for _, t := range c.Tests {
			if t.Field == "" {
				return nil
			}
			i := slices.IndexFunc(cols, func(k column) bool { return k.field == t.Field })
			if i < 0 {
				cols = slices.Insert(cols, at, column{field: t.Field, has: t.Has, width: max(textWidth(t.Field), textWidth(or(t.Has, "none")))})
				i = at
			}
			cols[i].width = min(max(cols[i].width, textWidth(t.Want)+2), 26)
			at = i + 1
		}
	}
	return cols
}

func chainRow(c render.Candidate, cols []column, name int) line {
	l, ink := text(style.Stops, style.MarkStops+" "), style.Plain
	if c.Won {
		l, ink = text(style.Goes, style.Winner+" "), style.Strong
	}
	l = l.with(ink, pad(or(c.Text, "unnamed"), name)+"  ")
	failed := ""
	for _, col := range cols {
		i := slices.IndexFunc(c.Tests, func(t render.TestLine) bool { return t.Field == col.field })
		if i < 0 {
			l = l.with(style.Faint, pad(style.Dot, col.width)+"  ")
			continue
		}
		t := c.Tests[i]
		at := l.width()
		if t.Answer == flow.Yes {
			l = l.with(ink, cut(t.Want, col.width-2)+" ").with(style.Goes, style.MarkGoes)
		} else {
			failed = or(failed, t.Field)
			l = l.with(style.Stops, cut(t.Want, col.width-2)+" "+style.MarkStops)
		}
		l = l.to(at + col.width + 2)
	}
	switch {
	case c.Won:
		return l.with(style.Strong, "MATCH")
	case c.Near:
		return l.with(style.Plain, failed+"  ").with(style.Depends, "near miss")
	}
	return l.with(style.Plain, or(failed, "less specific"))
}

// nearest says of the near misses what they lack.
func nearest(list []render.Candidate, width int) []line {
	var out []line
	for _, c := range list {
		if c.Won || !c.Near {
			continue
		}
		if len(out) == 0 {
			out = append(out, line{})
		}
		out = append(out, para(text(style.Depends, "near: "+or(c.Text, "unnamed")+"  "), style.Plain, c.Why, width)...)
	}
	return out
}

package tui

import (
	"testing"

	tea "charm.land/bubbletea/v2"
)

// later drives a model whose last answer has not come: type types, and come lets it come.
type later struct {
	*driver
	owed []tea.Cmd
}

func (l *later) typed(keys ...string) {
	for _, k := range keys {
		_, cmd := l.m.Update(key(k))
		l.owed = append(l.owed, cmd)
	}
}

func (l *later) come() {
	owed := l.owed
	l.owed = nil
	for _, cmd := range owed {
		l.run(cmd)
	}
}

// What is typed while a trace is made is acted on when it is there, in its order, on the new
// trace's steps and not on those of the one before.
func TestTypedAheadOfTheTrace(t *testing.T) {
	l := later{driver: drive(t, sceneOptions(t, "mesh"), 80, 24)}
	l.keys("j", "j", "j", "e")
	l.typed("ctrl+r", "G", "g", "j", "z")
	if l.m.trace.sel != 3 || l.m.trace.zoom {
		t.Errorf("step %d, zoom %t before the trace is there", l.m.trace.sel+1, l.m.trace.zoom)
	}
	l.come()
	if l.m.trace.sel != 1 || !l.m.trace.zoom {
		t.Errorf("step %d, zoom %t: want the second step, zoomed", l.m.trace.sel+1, l.m.trace.zoom)
	}
	// A key of every screen acts at once, but not before one that waits.
	l.keys("z", "e")
	l.typed("ctrl+r", "1")
	if l.m.s.at != overviewID {
		t.Errorf("1 led to %v", l.m.s.at)
	}
	l.come()
	l.keys("e")
	l.typed("ctrl+r", "j", "1")
	if l.m.s.at != traceID {
		t.Errorf("1 has overtaken j: %v", l.m.s.at)
	}
	l.come()
	if l.m.s.at != overviewID || l.m.trace.sel != 2 {
		t.Errorf("%v, step %d: want the overview, and step 3 on the trace", l.m.s.at, l.m.trace.sel+1)
	}
	// esc takes back what was typed.
	l.keys("e")
	l.typed("ctrl+r", "j", "j", "esc")
	l.come()
	if l.m.trace.sel != 2 {
		t.Errorf("step %d after esc: want 3", l.m.trace.sel+1)
	}
}

// What is typed while a document is made is for its screen.
func TestTypedAheadOfTheDocument(t *testing.T) {
	l := later{driver: drive(t, sceneOptions(t, "mesh"), 80, 24)}
	l.keys("j", "j")
	was := l.m.trace.sel
	l.typed("y", "g", "j", "j", "?")
	if l.m.dialog != nil {
		t.Error("the help has overtaken the document")
	}
	l.come()
	if l.m.s.at != configID || l.m.config.sel != 2 || l.m.trace.sel != was || l.m.dialog == nil {
		t.Errorf("%v, row %d, step %d", l.m.s.at, l.m.config.sel, l.m.trace.sel)
	}
	l.keys("esc", "esc")
	l.typed("y", "j", "esc")
	l.come()
	if l.m.s.at != traceID || l.m.trace.sel != was {
		t.Errorf("%v, step %d after esc", l.m.s.at, l.m.trace.sel)
	}
}

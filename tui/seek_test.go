package tui

import "testing"

// Keys typed behind a search act on what it finds, and not on what was selected before.
func TestTypedAheadOfASearch(t *testing.T) {
	l := later{driver: drive(t, sceneOptions(t, "mesh"), 80, 24)}
	l.keys("j", "j", "j", "j", "y", "g", "/", "n", "a", "m", "e")
	was := l.m.config.sel
	l.typed("enter", "j", "n")
	if l.m.config.sel != was || l.m.config.hit >= 0 {
		t.Errorf("row %d, match %d before the search is done", l.m.config.sel, l.m.config.hit)
	}
	l.come()
	if l.m.config.nth != 2 || l.m.config.hits < 2 || len(l.m.ahead.typed) > 0 {
		t.Errorf("match %d of %d, %d keys wait: want the second, none", l.m.config.nth, l.m.config.hits, len(l.m.ahead.typed))
	}
	l.keys("N")
	if l.m.config.nth != 1 {
		t.Errorf("match %d after N", l.m.config.nth)
	}
}

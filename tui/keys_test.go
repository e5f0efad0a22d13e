package tui

import (
	"fmt"
	"strings"
	"testing"
)

// No two bindings of one mode share a key, every act has a key somewhere and a name of its own.
func TestKeyMapHasNoConflicts(t *testing.T) {
	k, err := NewKeys(nil)
	if err != nil {
		t.Error(err)
	}
	used, names := map[act]bool{}, map[string]act{}
	for _, list := range tables() {
		for i, b := range k.lists[list.at] {
			used[b.act] = true
			if b.act == actNone || len(b.keys) == 0 {
				t.Errorf("%s: a binding without an act or a key: %+v", list.at.name(), b)
			}
			if i == 0 && b.help == "" {
				t.Errorf("%s: the first row has no words", list.at.name())
			}
			for _, key := range b.keys {
				if err := checkKey(key, list.at == requestID); err != nil {
					t.Errorf("%s: %s: %v", list.at.name(), b.name, err)
				}
			}
		}
	}
	for a := actNone + 1; a < actEnd; a++ {
		if old, ok := names[a.String()]; ok || a.String() == "" {
			t.Errorf("act %d has the name %q, as %d has", a, a, old)
		}
		names[a.String()] = a
		if !used[a] {
			t.Errorf("act %s has no key", a)
		}
	}
}

// What the user says of keys decides on every screen; help, footer and palette say it.
func TestRemappedKeys(t *testing.T) {
	k, err := NewKeys([]Remap{{"next-decision", []string{"D", "f2"}, 2}, {"zoom", []string{"ctrl+o"}, 3}, {"variant", nil, 4}})
	if err != nil {
		t.Fatal(err)
	}
	opt := sceneOptions(t, "mesh")
	opt.Keys = k
	d := drive(t, opt, 140, 40)
	before := d.m.trace.sel
	if d.keys("s"); d.m.trace.sel != before {
		t.Error("the old key still acts")
	}
	if d.keys("D"); d.m.trace.sel == before {
		t.Error("the new key does nothing")
	}
	if d.keys("ctrl+o"); !d.m.trace.zoom {
		t.Error("ctrl+o does not zoom")
	}
	frame := d.frame()
	for _, want := range []string{"D decision", "ctrl+o zoom"} {
		if !strings.Contains(frame, want) {
			t.Errorf("the footer does not say %q:\n%s", want, frame)
		}
	}
	if strings.Contains(frame, "variant") {
		t.Errorf("the footer names an act without a key:\n%s", frame)
	}
	d.keys("?")
	if frame := d.frame(); !strings.Contains(frame, "D S ") || !strings.Contains(frame, "no key") {
		t.Errorf("the help does not follow:\n%s", frame)
	}
	d.keys("esc", ":")
	for _, c := range "next, previous decision" {
		d.keys(string(c))
	}
	if !strings.Contains(d.frame(), "key D S") {
		t.Errorf("the palette does not follow:\n%s", d.frame())
	}
}

// What cannot be is an error with its line, and names both acts.
func TestWrongKeys(t *testing.T) {
	for _, c := range []struct {
		list []Remap
		want string // empty: it can be
	}{
		{[]Remap{{"next-decision", []string{"D"}, 2}}, ""},
		{[]Remap{{"export", []string{"r"}, 7}}, "line 7: the key r is both refresh (built in) and export (line 7) on the screen Confirm"},
		{[]Remap{{"copy", []string{"x"}, 9}, {"zoom", []string{"x"}, 3}}, "line 9: the key x is both zoom (line 3) and copy (line 9) on the screen Overview"},
		{[]Remap{{"export", []string{"r"}, 7}, {"refresh", []string{"R"}, 8}}, ""}, // one makes room for the other
		{[]Remap{{"down", []string{"space"}, 1}, {"page-down", []string{"ctrl+f"}, 2}}, "both pause (built in) and down (line 1) on the screen Confirm"},
		{[]Remap{{"decision", []string{"D"}, 4}}, "line 4: there is no act \"decision\": was next-decision or previous-decision meant?"},
		{[]Remap{{"zoom", []string{"ctrl+"}, 4}}, "line 4: zoom: there is no key"},
		{[]Remap{{"zoom", []string{"zz"}, 4}}, "there is no key \"zz\""},
		{[]Remap{{"zoom", []string{""}, 4}}, "a key without a name"},
		{[]Remap{{"zoom", []string{"\x1b"}, 4}}, "there is no key"},
		{[]Remap{{"zoom", []string{"ctrl+m"}, 4}}, "terminals send it as"},
		{[]Remap{{"zoom", []string{"shift+z"}, 4}}, "write the one that it makes"},
		{[]Remap{{"zoom", []string{"Z", "Z"}, 4}}, "line 4: zoom has the key Z twice"},
		{[]Remap{{"zoom", []string{"é"}, 4}, {"what-if", []string{"alt+i"}, 5}}, ""},
		{[]Remap{{"form-run", []string{"R"}, 4}}, "\"R\" is text in the form"},
		{[]Remap{{"form-run", []string{"f5"}, 4}}, ""},
		{[]Remap{{"quit", nil, 4}}, "line 4: quit needs a key"},
		{[]Remap{{"zoom", nil, 4}}, ""},
		{[]Remap{{"zoom", []string{"Z"}, 4}, {"zoom", []string{"X"}, 6}}, "line 6: zoom has its keys in line 4 already"},
		{[]Remap{{"sort", []string{"n"}, 4}}, "both namespace (built in) and sort (line 4) on the list of pods"},
	} {
		_, err := NewKeys(c.list)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.list, err, c.want)
		}
	}
}

// The map that is in force, given as a configuration, is the same map: an act has the same keys
// on every screen.
func TestActsAreAConfiguration(t *testing.T) {
	for _, remaps := range [][]Remap{nil, {{"page-down", []string{"space"}, 1}, {"pause", []string{"P"}, 2}, {"variant", nil, 3}}} {
		k, err := NewKeys(remaps)
		if err != nil {
			t.Fatal(err)
		}
		var again []Remap
		for i, a := range k.Acts() {
			again = append(again, Remap{a.Name, a.Keys, i + 1})
		}
		k2, err := NewKeys(again)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range tables() {
			if got, want := fmt.Sprintf("%#v", k2.lists[list.at]), fmt.Sprintf("%#v", k.lists[list.at]); got != want {
				t.Errorf("%s:\n%s\n%s", list.at.name(), got, want)
			}
		}
	}
}

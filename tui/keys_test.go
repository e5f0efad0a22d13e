package tui

import "testing"

// No two bindings of one mode share a key, and every act has a key somewhere.
func TestKeyMapHasNoConflicts(t *testing.T) {
	used := map[act]bool{}
	for name, lists := range map[string][][]binding{
		"overview": {overviewKeys(), globalKeys()}, "trace": {traceKeys(), globalKeys()},
		"config": {configKeys(), globalKeys()}, "request": {requestKeys()}, "confirm": {confirmKeys(), globalKeys()}, "picker": {pickerKeys(), pickerGlobals()},
	} {
		seen := map[string]binding{}
		for _, list := range lists {
			for _, b := range list {
				used[b.act] = true
				if b.act == actNone || len(b.keys) == 0 {
					t.Errorf("%s: a binding without an act or a key: %+v", name, b)
				}
				if b.help != "" && b.label == "" {
					t.Errorf("%s: %q has help and no label", name, b.keys)
				}
				for _, k := range b.keys {
					if old, ok := seen[k]; ok {
						t.Errorf("%s: key %q is both %q and %q", name, k, old.help, b.help)
					}
					seen[k] = b
				}
			}
		}
	}
	for a := actNone + 1; a < actEnd; a++ {
		if !used[a] {
			t.Errorf("act %d has no key", a)
		}
	}
}

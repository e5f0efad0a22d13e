package tui

import (
	"context"
	"strings"
	"testing"
)

// The footer says which ways a copy took, and no more than is known; OSC 52 is sent where it is
// one of them.
func TestCopySaysItsWay(t *testing.T) {
	for _, c := range []struct {
		name string
		how  Copied
		says string
		osc  bool
	}{
		{"terminal", Copied{OSC52: true}, "copied the text of nat OUTPUT by OSC 52, if the terminal takes it", true},
		{"tmux", Copied{OSC52: true, Tmux: true}, "copied the text of nat OUTPUT in tmux's buffer, which hands it on; by OSC 52", true},
		{"long", Copied{File: "f\x1b.txt", Why: "it has 104 kB"}, `copied the text of nat OUTPUT in the file f\x1b.txt: it has 104 kB`, false},
		{"nowhere", Copied{Why: "disk full"}, "the text of nat OUTPUT is NOT copied: disk full", false},
	} {
		opt := sceneOptions(t, "mesh")
		given := ""
		opt.Copy = func(_ context.Context, text string) Copied { given = text; return c.how }
		d := drive(t, opt, 120, 30)
		d.keys("s", "c")
		d.has(c.says)
		if !strings.Contains(given, "-j REDIRECT --to-ports 15001") {
			t.Errorf("%s: given %q", c.name, given)
		}
		if (d.copied != "") != c.osc {
			t.Errorf("%s: OSC 52 of %q", c.name, d.copied)
		}
		if d.m.s.alarm != (c.name == "nowhere") {
			t.Errorf("%s: alarm %v", c.name, d.m.s.alarm)
		}
	}
}

// What can be copied of a step, of a place in the configuration, and of a watch.
func TestCopyAs(t *testing.T) {
	for _, c := range []struct{ keys, form, want string }{
		{"s C", "iptables", "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"},
		{"s C", "command", "meshtop trace demo mesh --to "},
		{"s C", "curl", "curl "},
		{"s C", "whole!json", "verdict   DELIVERED"},
		{"s C", "json!request!path!pointer", `"schema": "meshtop.trace/v1"`},
		{"s s s C", "path", "configs["},
		{"s s s C", "pointer", "/configs/"},
		{"s s s s enter j j C", "path", "configs["},
		{"s s s s enter j j j C", "yaml", "\"socket_address\":\n  address: \"10.107.42.16\""},
		{"5 C", "capture", "meshtop capture -w trace.pcapng demo mesh --to "},
	} {
		d := drive(t, sceneOptions(t, "mesh"), 120, 30)
		d.keys(strings.Fields(c.keys)...)
		d.has("Copy as")
		for i, word := range strings.Split(c.form, "!") {
			if i > 0 {
				d.keys("space", "!")
			}
			d.keys(letters(word)...)
		}
		d.keys("enter")
		if !strings.Contains(d.copied, c.want) {
			t.Errorf("%s %s: %q, want %q\n%s", c.keys, c.form, d.copied, c.want, d.frame())
		}
	}
}

func TestJSONPath(t *testing.T) {
	for pointer, want := range map[string]string{
		"": "", "/a": "a", "/configs/2/listeners/0/name": "configs[2].listeners[0].name", "/0": "[0]", "/a~1b/c~0d": "a/b.c~d",
	} {
		if got := jsonPath(pointer); got != want {
			t.Errorf("%q: %q, want %q", pointer, got, want)
		}
	}
}

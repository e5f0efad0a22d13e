package tui

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// evil is what a terminal must never get from a pod: OSC 52 writes the clipboard, CSI
// moves the cursor, bidi turns text round, a tag and a zero width hide it.
const evil = "\x1b]52;c;ZXZpbA==\a\x1b[2J\u202e\u200b\u2066\U000e0041\x9b31m\r\n\t\x00\xff界e\u0301"

// plant writes evil into every string below v.
func plant(v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(v.String() + evil)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			plant(v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			plant(v.Index(i), depth+1)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			plant(v.Elem(), depth+1)
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// harmless fails if a frame holds anything that a terminal acts on but the colours.
func harmless(t *testing.T, name, content string) {
	t.Helper()
	for i, l := range strings.Split(content, "\n") {
		if s := sgr.ReplaceAllString(l, ""); render.Clean(s) != s {
			t.Errorf("%s: line %d is not clean: %q", name, i, s)
		}
	}
}

func evilOptions(t *testing.T) Options {
	tr := meshTrace()
	for i := range tr.Legs {
		plant(reflect.ValueOf(&tr.Legs[i].Steps).Elem(), 0)
		for k := range tr.Legs[i].Steps {
			if st := &tr.Legs[i].Steps[k]; st.Explain != nil {
				l := append(losers(nil), st.Explain.(losers)...)
				plant(reflect.ValueOf(l), 0)
				st.Explain = l
			}
		}
	}
	plant(reflect.ValueOf(&tr.Outcome).Elem(), 0)
	plant(reflect.ValueOf(&tr.Caller).Elem(), 0)
	tr.Gaps = []flow.Gap{{Part: evil, Reason: evil}}
	tr.Variants = []flow.Variant{{When: evil, Legs: tr.Legs, Outcome: tr.Outcome, Caller: tr.Caller, Verdict: flow.Refused,
		Choices: []flow.Chosen{{Choice: flow.Choice{Ref: evil, Options: []flow.Option{{Value: evil}}}}}}, {Legs: tr.Legs, Verdict: flow.Delivered, Outcome: tr.Outcome}}
	files := map[string][]byte{"config_dump.json": []byte(fmt.Sprintf(`{"configs":[{"dynamic_listeners":[{"name":%q,%q:[%q,{"a\u202e\u001b[2J":"\u001b]52;c;x\u0007"}]}]}]}`, "x", "k", "v")),
		"iptables-save": []byte("*nat\n-A OUTPUT -m comment --comment \"" + evil + "\" -j ACCEPT\nCOMMIT\n"), evil: []byte(evil),
		"conntrack": []byte("tcp 6 1 " + evil + " src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2 src=1.2.3.5 dst=1.2.3.4 sport=2 dport=1"),
		"addr.json": []byte(`[{"ifname":"e\u001b[2Jth","addr_info":[{"local":"1.2.3.4","scope":"global"}]}]`), "meta.json": []byte(`{"title":"\u202e\u001b[2J"}`)}
	snap, err := rules.ParseSnapshot(files, []flow.Gap{{Part: evil, Reason: evil}})
	if err != nil {
		t.Log(err)
	}
	r := Reading{Live: true, Reading: session.Reading{Taken: noon(), Files: files, Snapshot: snap, Calls: []inspect.Call{{What: evil, Err: evil, Start: noon()}}}}
	req := *meshRequest()
	req.HTTP = &flow.HTTP{Method: evil, Authority: evil, Path: evil, Headers: [][2]string{{evil, evil}}}
	req.TLS = &flow.TLS{SNI: evil, ALPN: []string{evil}}
	req.In, req.Pick = evil, flow.Pick{evil: evil}
	src := source(r, tr)
	return Options{Target: evil, Command: evil, Request: &req, Requests: []flow.Request{req}, Source: src}
}

func TestHostileStringsAppearInNoFrame(t *testing.T) {
	opt := evilOptions(t)
	paths := []string{"", "j", "j enter", "j enter J a", "j j enter / e s enter", "1", "1 enter", "1 tab", "1 /", "1 y", "2", "2 down down down down", "2 ctrl+p down enter", "3 v", "3 v down enter", "3 C", "3 i",
		"3 /", "?", ":", "@", "z", "G", "4", "3 c", "3 s s s s z"}
	for _, sz := range sizes {
		for _, p := range paths {
			d := drive(t, opt, sz[0], sz[1])
			d.keys(strings.Fields(p)...)
			name := fmt.Sprintf("%v %q", sz, p)
			d.exact(name)
			harmless(t, name, d.m.View().Content)
			harmless(t, name+" title", d.m.View().WindowTitle)
		}
	}
	d := drive(t, opt, 80, 24)
	d.keys("3", "c")
	if render.Clean(d.copied) != d.copied {
		t.Errorf("copied %q", d.copied)
	}
	d.send(tea.PasteMsg{Content: "curl '" + evil + "'"})
	harmless(t, "paste", d.m.View().Content)
	d.send(readingMsg{gen: d.m.s.gen, err: errors.New(evil)})
	harmless(t, "error", d.m.View().Content)
	d.m.s.busy = &busy{what: evil, since: noon().Add(-time.Hour), stop: func() {}, parts: []inspect.Progress{{Part: evil, Err: errors.New(evil)}}}
	harmless(t, "busy", d.m.View().Content)
}

package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/tui/style"
)

// The pager is given what is shown, in its form and without secrets; its failure is said.
func TestPagerIsGivenTheDocument(t *testing.T) {
	for _, c := range []struct{ keys, name, want, not string }{
		{"s s s s enter o", "config_dump.yaml", "\"@type\": \"type.googleapis.com/envoy.config.listener.v3.Listener\"", "{"},
		{"s s s s enter J o", "config_dump.json", `"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"`, "\n\"@type\""},
		{"s enter o", "iptables-save.txt", "-A OUTPUT ! -d 127.0.0.1/32", "{"},
	} {
		opt := sceneOptions(t, "mesh")
		name, text := "", ""
		opt.Pager = func(n string, b []byte) (*exec.Cmd, func() error, error) {
			name, text = n, string(b)
			return nil, nil, errors.New("no \x1b pager")
		}
		d := drive(t, opt, 80, 24)
		d.keys(strings.Fields(c.keys)...)
		if name != c.name || !strings.Contains(text, c.want) || strings.HasPrefix(text, c.not) {
			t.Errorf("%s: %q %.200q", c.keys, name, text)
		}
		d.has(`no \x1b pager`)
	}
	d := drive(t, sceneOptions(t, "mesh"), 80, 24)
	d.keys("s", "enter", "o")
	d.has("there is no pager here")
}

// On a terminal the pager has it until it ends, and the screens come back.
func TestPagerOnATerminal(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	file := filepath.Join(t.TempDir(), "text")
	gone := make(chan bool, 1)
	opt.Pager = func(_ string, b []byte) (*exec.Cmd, func() error, error) {
		err := os.WriteFile(file, b, 0o600)
		return exec.Command("sh", "-c", `printf 'PAGED '; grep -c REDIRECT "$1"; read line; echo "got $line"; [ "$line" = well ]`, "sh", file), func() error { gone <- true; return os.Remove(file) }, err
	}
	tm := onTerminal(t, opt, 80, 24)
	tm.Sees("DELIVERED")
	tm.Types("s\r")
	tm.Sees("▸ Config")
	tm.Types("o")
	tm.Sees("PAGED 1")
	tm.Types("well\r")
	tm.Sees("▸ Config")
	<-gone
	tm.Types("o")
	tm.Sees("PAGED 1")
	tm.Types("badly\r")
	tm.Sees("the pager: exit status 1")
	tm.Types("q")
	if err := tm.End(); err != nil {
		t.Error(err)
	}
	tm.GivenBack()
}

// W wraps rows that are longer than the screen: all of a row is there, the selected row is in
// sight, and frames stay exact.
func TestWrapRows(t *testing.T) {
	const tail = "HttpConnectionManager"
	for _, sz := range sizes {
		d := drive(t, sceneOptions(t, "mesh"), sz[0], sz[1])
		d.keys(strings.Fields("s s s s enter g")...)
		if sz == [2]int{80, 24} && strings.Contains(strings.ReplaceAll(d.frame(), "\n", ""), tail) {
			t.Error("the row is not long")
		}
		d.keys(strings.Fields(strings.Repeat("j ", 11))...)
		if sz == [2]int{80, 24} {
			c := newCanvas(80, 24)
			d.m.paint(c)
			if at := strings.LastIndex(d.frame(), style.Cursor); c.cells[strings.Count(d.frame()[:at], "\n")*80+70].ink != style.Selected {
				t.Errorf("the whole row cannot be told from those that it stands over:\n%s", d.frame())
			}
		}
		d.keys("W")
		d.exact(fmt.Sprint("wrap ", sz))
		if _, rows, _ := strings.Cut(d.frame(), "\n"); strings.Contains(rows, style.Cursor) {
			t.Errorf("%v: a row that is wrapped stands there twice:\n%s", sz, d.frame())
		}
		if sz == [2]int{80, 24} {
			if all := strings.Join(strings.Fields(d.frame()), ""); !strings.Contains(all, tail) {
				t.Errorf("the row is cut:\n%s", d.frame())
			}
			d.shot("wrap-80x24")
		}
		for range 60 {
			d.keys("j")
			c := newCanvas(d.m.s.w, d.m.rows)
			d.m.paint(c)
			if w, h := sz[0], sz[1]; w >= minWidth && h >= minHeight && (!c.cursor.on || c.cursor.y >= h-1) {
				t.Fatalf("%v: row %d is not in sight:\n%s", sz, d.m.config.sel, d.frame())
			}
			d.exact(fmt.Sprint("wrap ", sz, " row ", d.m.config.sel))
		}
		d.keys("G")
		d.exact(fmt.Sprint("wrap ", sz, " end"))
	}
	if lines := (line{spans: []span{{0, "ab"}, {0, "界cdef"}}}).fold(4, 1); len(lines) != 3 || lines[0].String() != "ab界" || lines[1].String() != " cde" || lines[2].String() != " f" {
		t.Errorf("%q", lines)
	}
}

// The palette finds what has a name, and every command with its key.
func TestPaletteFinds(t *testing.T) {
	for typed, want := range map[string]string{
		"listener virtual": "listener virtualOutbound", "cluster myngx": "cluster outbound|myngxsvc", "endpoint 10.107": "endpoint 10.107.42.16:80",
		"virtual host": "virtual host myngxsvc_host", "route table": "route table outbound_myngxsvc_route", "step nat": "step 3 nat OUTPUT #2", "egress policy": "change the egress policy",
		"what-if": "key i", "file iptables": "file iptables-save",
	} {
		d := drive(t, sceneOptions(t, "mesh"), 100, 30)
		d.keys(":")
		for _, c := range typed {
			if c == ' ' {
				d.keys("space")
				continue
			}
			d.keys(string(c))
		}
		if !strings.Contains(d.frame(), want) {
			t.Errorf("%q finds no %q:\n%s", typed, want, d.frame())
		}
	}
	d := drive(t, sceneOptions(t, "mesh"), 100, 30)
	d.keys(":", "e", "n", "d", "p", "o", "i", "n", "t", "space", "1", "0", ".", "1", "0", "7", "space", "!", "s", "t", "e", "p", "enter")
	d.has("▸ Config", "port_value: 80", "path ")
}

// The terminal's cursor is on the selected row of every list, and in the text while that is typed.
func TestCursorFollows(t *testing.T) {
	at := func(d *driver) (line string, text, on bool) {
		v := d.m.View()
		if v.Cursor == nil {
			return "", false, false
		}
		return strings.Split(d.frame(), "\n")[v.Cursor.Y], v.Cursor.Shape == tea.CursorBar, true
	}
	for _, c := range []struct {
		keys, row string
		text      bool
	}{
		{"3 j", " 2 routing", false}, {"1 tab j", "", false}, {"2 down", "", true}, {"s s s s enter j", "", false}, {"5", "replay what was recorded", false},
		{": c l u", ": clu", true}, {": down", "step 2", false}, {"? down", "first, last", false}, {"? f", "type to filter: f", true}, {"C down", "command", false},
	} {
		d := drive(t, sceneOptions(t, "mesh"), 100, 30)
		d.keys(strings.Fields(c.keys)...)
		line, text, on := at(d)
		if !on || !strings.Contains(line, c.row) || text != c.text {
			t.Errorf("%s: the cursor is on %q (%v), text %v\n%s", c.keys, line, on, text, d.frame())
		}
	}
}

// Where pods can be chosen, the palette leads there.
func TestPaletteLeadsToThePods(t *testing.T) {
	opt := sceneOptions(t, "mesh")
	opt.Opener = &Opener{Others: true, Open: func(context.Context, Opening) (Opened, error) {
		return Opened{Target: "pod web.shop", Source: opt.Source}, nil
	}}
	d := drive(t, opt, 100, 30)
	d.keys(":")
	d.keys(letters("pods:")...)
	d.has("pods: choose another")
	if d.keys("enter"); !d.quit || !d.m.choose {
		t.Errorf("quit %v, choose %v", d.quit, d.m.choose)
	}
}

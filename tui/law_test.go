package tui

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/tui/style"
)

// frameSizes are those at which every frame of the table is looked at.
var frameSizes = [][2]int{{60, 16}, {80, 24}, {140, 40}, {200, 60}}

// looks are the ways in which a frame is dressed.
var looks = []look{{}, {ascii: true}, {mono: true}}

// Every screen, dialog and problem that there is stands in the table.
func TestTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range entries() {
		d := e.open(t, 80, 24)
		d.press(strings.Fields(e.keys)...)
		at := d.where()
		seen["screen "+at.screen], seen["dialog "+at.dialog], seen["problem "+at.problem] = true, true, true
	}
	for id := range screens {
		if !seen["screen "+id.String()] {
			t.Errorf("screen %s is not in the table", id)
		}
	}
	for k := range problemKinds {
		if !seen["problem "+fmt.Sprint(k)] {
			t.Errorf("problem %d is not in the table", k)
		}
	}
	for _, d := range dialogTypes(t) {
		if !seen["dialog "+d] {
			t.Errorf("dialog %s is not in the table", d)
		}
	}
}

// dialogTypes are the types of this package that are dialogs: they have press with a key and the
// state, and give an effect.
func dialogTypes(t *testing.T) []string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range files {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "press" || fn.Type.Results == nil || len(fn.Type.Params.List) != 2 {
				continue
			}
			star, ok := fn.Type.Params.List[1].Type.(*ast.StarExpr)
			if id, is := star.X.(*ast.Ident); !ok || !is || id.Name != "state" {
				continue
			}
			if p, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
				out = append(out, p.X.(*ast.Ident).Name)
			}
		}
	}
	if len(out) < 5 {
		t.Fatalf("only these dialogs were found: %v", out)
	}
	return out
}

// A frame has the size that it was asked for, holds nothing that a terminal acts on but colours,
// in ASCII nothing beyond ASCII, without colours none, and says the same in each look. Of a trace
// it shows the verdict.
func TestEveryFrame(t *testing.T) {
	t.Parallel()
	for _, e := range entries() {
		for _, sz := range frameSizes {
			said := map[bool]string{}
			d := e.open(t, sz[0], sz[1])
			d.press(strings.Fields(e.keys)...)
			for _, l := range looks {
				l.w, l.h = sz[0], sz[1]
				name := fmt.Sprintf("%s-%dx%d %+v", e.name, sz[0], sz[1], l)
				d.dress(l.ascii, l.mono)
				lawful(t, name, d, l)
				if e.verdict && !strings.Contains(d.plain(), "DELIVERED") && !strings.Contains(d.plain(), "REFUSED") && !strings.Contains(d.plain(), "DEPENDS") {
					t.Errorf("%s: no verdict in\n%s", name, d.plain())
				}
				if was, ok := said[l.ascii]; ok && was != d.plain() {
					t.Errorf("%s says something else without colours:\n%s\n--- with\n%s", name, d.plain(), was)
				}
				said[l.ascii] = d.plain()
				if l == (look{w: sz[0], h: sz[1]}) {
					shot(t, fmt.Sprintf("%s-%dx%d", e.name, sz[0], sz[1]), d.view().Content)
				}
			}
		}
	}
}

// lawful fails where a frame breaks a law of all frames.
func lawful(t *testing.T, name string, d sitting, l look) {
	t.Helper()
	content := d.view().Content
	lines := strings.Split(content, "\n")
	if len(lines) != l.h {
		t.Errorf("%s: %d lines", name, len(lines))
	}
	for i, row := range lines {
		if a, b := ansi.StringWidth(row), ansi.StringWidthWc(row); a != l.w || b != l.w {
			t.Errorf("%s: line %d is %d and %d columns: %q", name, i, a, b, ansi.Strip(row))
		}
	}
	harmless(t, name, content)
	harmless(t, name+" title", d.view().WindowTitle)
	if l.ascii {
		for _, r := range content {
			if r > 0x7e {
				t.Errorf("%s: %q in an ASCII frame", name, r)
				break
			}
		}
	}
	if l.mono {
		colourless(t, name, content)
	}
}

// colourless fails where a frame has a colour.
func colourless(t *testing.T, name, content string) {
	t.Helper()
	for _, s := range sgr.FindAllString(content, -1) {
		for _, n := range strings.Split(strings.Trim(s, "\x1b[m"), ";") {
			if len(n) > 1 && (n[0] == '3' || n[0] == '4' || n[0] == '9' || n[0] == '1') {
				t.Errorf("%s: colour %q", name, s)
				return
			}
		}
	}
}

// That something stops is never told by colour alone: a mark stands in the row, or a word.
func TestStopsIsToldInWords(t *testing.T) {
	marks := []string{style.MarkStops, "!", "NOT", "REFUSED", "BLOCK"}
	rows := 0
	for _, e := range entries() {
		d, ok := e.open(t, 140, 40).(*driver)
		if !ok {
			continue // the picker tells no verdict
		}
		d.press(strings.Fields(e.keys)...)
		c := newCanvas(d.m.s.w, d.m.rows)
		d.m.paint(c)
		for y := range c.h {
			row, red := "", ""
			for _, k := range c.cells[y*c.w : (y+1)*c.w] {
				if row += k.text; k.ink == style.Stops {
					red += k.text
				}
			}
			if strings.TrimSpace(red) == "" {
				continue
			}
			if rows++; !slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(row, m) }) {
				t.Errorf("%s: only its colour tells what %q is in %q", e.name, red, strings.TrimSpace(row))
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows tell of what stops", rows)
	}
}

// The main frames as a person looked at them, in a terminal's usual size.
func TestMainFrames(t *testing.T) {
	main := []string{"pick", "overview", "request", "trace-output", "trace-banner", "trace-route", "confirm", "policy", "config", "palette", "help", "no-admin", "no-rights", "opening", "pod-lost"}
	for _, e := range entries() {
		if i := slices.Index(main, e.name); i >= 0 {
			main = slices.Delete(main, i, i+1)
			d := e.open(t, 80, 24)
			d.press(strings.Fields(e.keys)...)
			golden(t, "main-"+e.name, d.plain(), d.view().Content)
		}
	}
	if len(main) > 0 {
		t.Errorf("not in the table: %v", main)
	}
}

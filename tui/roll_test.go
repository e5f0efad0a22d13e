package tui

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/tui/style"
)

// A roll over pieces shows what a list of all their lines would.
func TestRoll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var all []line
		var each [][]line
		for range r.IntN(12) {
			var piece []line
			for range r.IntN(5) {
				piece = append(piece, text(style.Plain, strconv.Itoa(len(all))))
				all = append(all, piece[len(piece)-1])
			}
			each = append(each, piece)
		}
		p := pieces{len(each), func(i int) []line { return each[i] }}
		var at roll
		top, h := 0, 1+r.IntN(8)
		for range 40 {
			by := r.IntN(21) - 10
			switch r.IntN(10) {
			case 0:
				by = far
			case 1:
				by = -far
			}
			at.move(p, by, h)
			top = max(min(top+by, len(all)-h), 0)
			c := newCanvas(4, h)
			c.roll(rect{0, 0, 4, h}, p, at)
			want := newCanvas(4, h)
			want.page(rect{0, 0, 4, h}, top, all)
			if got, want := c.String(style.New(style.Mono, false, false)), want.String(style.New(style.Mono, false, false)); got != want {
				t.Fatalf("%d lines in %d pieces, %d rows, moved by %d to line %d (%+v):\n%s\nwant\n%s", len(all), len(each), h, by, top, at, got, want)
			}
		}
	}
}

// A sieve narrows its rows key by key, and keeps what it would keep of all of them.
func TestSieve(t *testing.T) {
	rows := []string{"out 10.0.0.1 envoy", "OUT 10.0.0.12 direct", "in 10.0.0.2 Envoy", "", "in"}
	s := newSieve(rows)
	for _, typed := range []string{"i", "in", "in ", "in e", "in E", "in", "", "!in", "!in e", "!inx", "1", "12", "1", "10.0 !env", "OUT"} {
		var want []string
		if len(typed) > 0 {
			for _, r := range rows {
				if holds(r, strings.Fields(typed)) {
					want = append(want, r)
				}
			}
		} else {
			want = rows
		}
		var got []string
		for _, i := range s.through(typed) {
			got = append(got, rows[i])
		}
		if len(got) != len(want) {
			t.Errorf("%q: %q, want %q", typed, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q: %q, want %q", typed, got, want)
			}
		}
	}
}

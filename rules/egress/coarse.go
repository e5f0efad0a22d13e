package egress

import (
	"fmt"
	"slices"

	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// fit makes the change name no more destinations than one may. What is spared on our own
// account is widened, so that less is opened, never more; asked are those that somebody named,
// which stay as they are. What is opened cannot be widened.
func fit(c *flow.Change, asked int) error {
	if most := edits.MostHoles - len(c.Open) - asked; len(c.Open) <= edits.MostHoles && most > 0 {
		c.Except = append(c.Except[:asked:asked], coarse(c.Except[asked:], most)...)
	}
	if n := len(c.Except) + len(c.Open); n > edits.MostHoles {
		return fmt.Errorf("it would name %d destinations, and a change may name %d: say --all with --except, or use --driver xds", n, edits.MostHoles)
	}
	return nil
}

// steps are the lengths to which prefixes are cut, as parts of an address.
var steps = []float64{1, 7. / 8, 6. / 8, 5. / 8, 4. / 8, 3. / 8, 2. / 8}

// coarse holds at least what the holes hold, in no more than most of them if that can be: first
// as they are, then without ports, then as ever wider prefixes. A port of every address stays.
func coarse(holes []flow.Hole, most int) []flow.Hole {
	for _, step := range steps {
		if len(holes) <= most {
			break
		}
		var out []flow.Hole
		for _, h := range holes {
			if h.Prefix.Bits() > 0 {
				h.Port = 0
				bits := min(h.Prefix.Bits(), int(step*float64(h.Prefix.Addr().BitLen())))
				h.Prefix, _ = h.Prefix.Addr().Prefix(bits) // no error: it is not longer than it was
			}
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
		holes = out
	}
	return holes
}

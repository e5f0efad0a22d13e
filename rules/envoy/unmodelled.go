package envoy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Unmodelled are the kinds of objects that were read and are not understood, by type.
func (c *Config) Unmodelled() []flow.NotModelled {
	if c == nil {
		return nil
	}
	c.nameStrange()
	var out []flow.NotModelled
	for _, u := range c.unmodelled {
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b flow.NotModelled) int { return cmp.Compare(a.Type, b.Type) })
	return out
}

// unknown passes over a value that is not modelled, or a list of such, and counts it.
func (x *indexer) unknown(typ, pointer string, at int) (int, error) {
	defer x.uncounted()()
	if at >= len(x.scan.Raw) || x.scan.Raw[at] != '[' {
		name, end, err := x.named(at, 2)
		x.count(typ, name, pointer)
		return end, err
	}
	return x.scan.List(at, func(n, at int) (int, error) {
		name, end, err := x.named(at, 2)
		x.count(typ, name, pointer+"/"+strconv.Itoa(n))
		return end, err
	})
}

// uncounted leaves the types of what is passed over next out of the count, until its answer
// is called.
func (x *indexer) uncounted() (again func()) {
	types := x.scan.Types
	x.scan.Types = nil
	return func() { x.scan.Types = types }
}

// named passes over a value and answers the name that it bears, or that an object in it
// bears, down to a depth.
func (x *indexer) named(at, depth int) (name string, end int, err error) {
	inner := ""
	end, err = x.scan.Object(at, func(key []byte, at int) (int, error) {
		if string(key) == "name" && name == "" {
			var err error
			name, at, err = x.scan.String(at)
			return at, err
		}
		if depth == 0 || inner != "" {
			return x.scan.Skip(at)
		}
		return x.scan.List(at, func(_, at int) (int, error) {
			one, end, err := x.named(at, depth-1)
			inner = orDefault(inner, one)
			return end, err
		})
	})
	return orDefault(name, inner), end, err
}

func (x *indexer) count(typ, name, pointer string) { x.countMany(typ, name, pointer, 1) }

func (x *indexer) countMany(typ, name, pointer string, n int) {
	u := x.unmodelled[typ]
	if u == nil && len(x.unmodelled) >= unknownNames {
		typ = "other names"
		u = x.unmodelled[typ]
	}
	if u == nil {
		if x.part.name != dumpPart {
			pointer = x.part.name + "#" + pointer
		}
		u = &flow.NotModelled{Type: typ, Name: name, Ref: pointer}
		x.unmodelled[typ] = u
	}
	u.Count += n
}

// lookOver looks for what is odd in a part that no walk of its own has looked over.
func (c *Config) lookOver(part string, raw []byte) {
	switch part {
	case "listeners.json", "certs.json", "runtime.json", "server_info.json":
		s := tree.Scanner{Raw: raw, Notes: new(tree.Notes)}
		if _, err := s.Skip(s.Space(0)); err == nil {
			c.odd(part, s.Notes, func(int) string { return "" })
		}
	}
}

// odd makes gaps of what was odd in a part and was read all the same. owner names the object
// that a byte of it belongs to.
func (c *Config) odd(part string, notes *tree.Notes, owner func(at int) string) {
	for _, n := range notes.List {
		where := "byte " + strconv.Itoa(n.At)
		if who := owner(n.At); who != "" {
			where = who + ", " + where
		}
		c.oddities = append(c.oddities, flow.Gap{Part: part, Reason: where + ": " + n.What})
	}
	if notes.More > 0 {
		c.oddities = append(c.oddities, flow.Gap{Part: part, Reason: strconv.Itoa(notes.More) + " more places that are odd"})
	}
}

// owner names the object of the dump that a byte belongs to; empty: none.
func (x *indexer) owner(at int) string {
	for _, e := range x.entries {
		if e.start <= at && at < e.end {
			what := strings.ReplaceAll(orDefault(e.res.facts().body, "scoped routes"), "_", " ")
			return what + " " + strconv.Quote(e.name)
		}
	}
	if b := x.bootstrap; b != nil && b.start <= at && at < b.end {
		return "bootstrap"
	}
	return ""
}

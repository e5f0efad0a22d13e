package envoy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// Raw is the raw JSON of the object that an Evidence.Ref names: a JSON pointer into the
// dump, or PART#POINTER.
func (c *Config) Raw(ref string) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	name, pointer, ok := strings.Cut(ref, "#")
	if !ok {
		name, pointer = dumpPart, ref
	}
	if e, rest := c.holder(name, pointer); e != nil {
		start, end, ok := tree.Find(e.part.raw[e.start:e.end], rest)
		if !ok {
			return nil, false
		}
		return e.part.raw[e.start+start : e.start+end], true
	}
	for _, p := range c.parts {
		if p.name != name {
			continue
		}
		if start, end, ok := tree.Find(p.raw, pointer); ok {
			return p.raw[start:end], true
		}
	}
	return nil, false
}

// row are the entries of one list of the text, by their numbers there.
type row []*entry

// rows are all entries by the lists that they stand in, made when an object is first asked for by
// its pointer: a large mesh has tens of thousands, of a dozen lists.
func (c *Config) rows() []row {
	c.rowing.Do(func() {
		type list struct {
			part *part
			base *string
		}
		at := map[list]int{}
		for _, e := range c.entries {
			i, ok := at[list{e.part, e.base}]
			if !ok {
				i = len(c.rowed)
				at[list{e.part, e.base}], c.rowed = i, append(c.rowed, nil)
			}
			c.rowed[i] = append(c.rowed[i], e)
		}
		for _, r := range c.rowed {
			slices.SortStableFunc(r, func(a, b *entry) int { return cmp.Compare(a.n, b.n) })
		}
	})
	return c.rowed
}

// holder is the entry whose body holds what the pointer names, with the rest of the pointer inside
// it; nil: there is none.
func (c *Config) holder(name, pointer string) (*entry, string) {
	for _, r := range c.rows() {
		rest, ok := strings.CutPrefix(pointer, *r[0].base)
		if !ok || r[0].part.name != name {
			continue
		}
		if word, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/"); r[len(r)-1].n >= 0 {
			n, err := strconv.Atoi(word)
			if err != nil {
				continue
			}
			r = r[r.before(n):r.before(n+1)]
		}
		for _, e := range r {
			if rest, ok := e.holds(pointer); ok {
				return e, rest
			}
		}
	}
	return nil, ""
}

// before is how many entries have a lower number.
func (r row) before(n int) int {
	i, _ := slices.BinarySearchFunc(r, n, func(e *entry, n int) int { return cmp.Compare(int(e.n), n) })
	return i
}

// holds says whether the entry's body holds what the pointer names, and answers the rest
// of the pointer inside it.
func (e *entry) holds(pointer string) (string, bool) {
	rest, ok := strings.CutPrefix(pointer, *e.base)
	if !ok {
		return "", false
	}
	if e.n >= 0 {
		if rest, ok = strings.CutPrefix(rest, "/"+strconv.Itoa(int(e.n))); !ok {
			return "", false
		}
	}
	if rest, ok = strings.CutPrefix(rest, e.suffix); !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return rest, true
}

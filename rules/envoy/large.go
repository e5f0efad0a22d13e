package envoy

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Bounds of what the index keeps by name of things that are not understood.
const (
	unknownNames = 1000 // more of them are counted together
	unknownName  = 100  // bytes of one
)

// brief is as much of a name as is kept of one that is not understood.
func brief(name []byte) string { return string(name[:min(len(name), unknownName)]) }

// is says whether the value at i begins with c.
func (x *indexer) is(i int, c byte) bool { return i < len(x.scan.Raw) && x.scan.Raw[i] == c }

// wrongsKept bounds the wrong things of one part that are told.
const wrongsKept = 20

// wrong skips a value of a wrong kind in a resource. It is a Gap, and the resource is not
// known in whole.
func (x *indexer) wrong(r resource, what string, at int) (int, error) {
	x.left[r] = true
	if len(x.wrongs) < wrongsKept {
		x.wrongs = append(x.wrongs, what)
	}
	return x.scan.Skip(at)
}

func numbered(n int32) string {
	if n < 0 {
		return ""
	}
	return "/" + strconv.Itoa(int(n))
}

// piece is the size of the largest text that is decoded at once of the entry.
func (e *entry) piece() int {
	n := e.end - e.start
	if e.hosts == nil {
		return n
	}
	n -= e.hosts.end - e.hosts.start
	for _, s := range e.hosts.spans {
		n = max(n, s.end-s.start)
	}
	return n
}

// leaveOut takes out of an index what is too large to be decoded, and tells what is of a
// wrong kind. Both are Gaps, and what is of their resource is not known in whole: nothing
// may be told from its absence.
func (c *Config) leaveOut(x *indexer) {
	large := func(e *entry) bool { return e != nil && e.piece() >= tree.MaxDoc }
	gap := func(e *entry, what string) {
		c.oddities = append(c.oddities, flow.Gap{Part: e.part.name, Broken: true,
			Reason: fmt.Sprintf("%s at %s takes %d bytes: an object of 256 MiB or more is not read", what, e.pointer(), e.piece())})
	}
	for _, e := range x.entries {
		if large(e) {
			gap(e, fmt.Sprintf("%s %.100q", e.res.facts().field, e.name))
			x.left[e.res] = true
		}
	}
	for _, w := range x.wrongs {
		c.oddities = append(c.oddities, flow.Gap{Part: x.part.name, Broken: true, Reason: w})
	}
	for r, left := range x.left {
		x.seen[r] = x.seen[r] && !left
	}
	x.entries = slices.DeleteFunc(x.entries, large)
	x.heads = slices.DeleteFunc(x.heads, func(h *listenerHead) bool { return large(h.entry) })
	if large(x.bootstrap) {
		gap(x.bootstrap, "the bootstrap")
		x.bootstrap = nil
	}
}

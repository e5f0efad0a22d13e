package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// CheckPick says whether the request's own pins decide something: a reference that no
// choice of any variant has, or a value that it does not take, is most likely a slip, and
// the trace would answer as if nothing were pinned. "random" pins whatever chance there is.
func CheckPick(s *Snapshot, req flow.Request) error {
	if len(req.Pick) == 0 {
		return nil
	}
	used := map[string]bool{"random": true}
	var open []flow.Choice
	all := runs(s, req, func(r *run) {
		for _, m := range r.ch.Made() {
			if m.Pinned {
				used[m.Choice.Ref] = true
			}
			if !slices.ContainsFunc(open, func(c flow.Choice) bool { return c.Ref == m.Choice.Ref }) {
				open = append(open, m.Choice)
			}
		}
	}, func() {})
	if !all {
		return nil // the pinned choice may be in a variant that was not run
	}
	for _, ref := range req.Pick.Keys() {
		if !used[ref] {
			return notPicked(ref, req.Pick[ref], open)
		}
	}
	return nil
}

func notPicked(ref, value string, open []flow.Choice) error {
	var refs []string
	for _, c := range open {
		if c.Ref == ref {
			return fmt.Errorf("--pick %q: it takes no %q, but %s", ref, value, values(c))
		}
		refs = append(refs, fmt.Sprintf("%q (%s)", c.Ref, values(c)))
	}
	if len(refs) == 0 {
		return fmt.Errorf("--pick %q: this trace leaves no choice open", ref)
	}
	return fmt.Errorf("--pick %q: this trace has no such choice; it has %s", ref, strings.Join(refs, ", "))
}

// values are those that a choice takes; of the endpoints of a large cluster a few.
func values(c flow.Choice) string {
	const most = 6
	var out []string
	for _, o := range c.Options[:min(most, len(c.Options))] {
		out = append(out, o.Value)
	}
	if more := len(c.Options) - most; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

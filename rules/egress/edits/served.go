package edits

import (
	"fmt"
	"slices"

	"github.com/meshtop/meshtop/rules/flow"
)

// Served gives the edits of a change that a control plane carries out in a configuration, by the
// names of the listeners that capture what the pod sends, and those that take it back.
func Served(c flow.Change, capturing []string) (do, undo []string) {
	const back = "serve the configuration as it was written"
	if c.Kind == flow.Restore {
		return []string{back}, nil
	}
	to := "a cluster without endpoints"
	if c.Kind == flow.AllowAll {
		to = "the original destination of each connection"
	}
	for _, l := range capturing {
		do = append(do, fmt.Sprintf("listener %s: tcp_proxy to %s", l, to))
		for _, h := range slices.Concat(c.Except, c.Open) {
			do = append(do, fmt.Sprintf("listener %s: a filter chain of its own for %s", l, h))
		}
	}
	if !c.KeepHandoff {
		do = append(do, "remove the listeners that connections are handed over to")
	}
	return do, []string{back}
}

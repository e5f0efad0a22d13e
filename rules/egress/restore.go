package egress

import (
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// Leased says whether a driver's policies end by themselves, whoever is gone: the kernel ends
// its own, and who serves a configuration ends that.
func Leased(d flow.Driver) bool { return d == flow.Kernel || d == flow.XDS }

// Back is the change that takes another one back, without looking at the pod again: of what
// is asked, by whom, why, and whether open connections are ended.
func Back(c flow.Change, a Ask) flow.Change {
	out := flow.Change{Kind: flow.Restore, Driver: c.Driver, By: a.By, Reason: a.Reason, Since: a.Since, CloseOpen: a.CloseOpen,
		ProxyUIDs: c.ProxyUIDs, ProxyGIDs: c.ProxyGIDs, Capture: c.Capture}
	if out.Driver == flow.NoDriver {
		out.Driver = flow.Kernel
	}
	for _, s := range c.Runtime {
		back := flow.Setting{Key: s.Key, Before: s.Value, Had: true}
		if s.Had {
			back.Value = s.Before
		}
		out.Runtime = append(out.Runtime, back)
	}
	words(&out)
	return out
}

// words writes the edits of a change for eyes.
func words(c *flow.Change) {
	if c.Driver == flow.Kernel || c.Driver == flow.EnvoyRuntime {
		c.Edits, c.Undo = edits.Of(*c)
	}
}

//go:build !linux

package local

import "github.com/meshtop/meshtop/inspect/netns"

// readBig cannot be done on this system.
func readBig(*netns.Space, int, int) (*bigRules, error) { return nil, netns.ErrSystem }

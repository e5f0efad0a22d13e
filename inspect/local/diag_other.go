//go:build !linux

package local

import "github.com/meshtop/meshtop/inspect/netns"

// diagnose cannot be done on this system.
func diagnose(*netns.Space) ([]socket, error) { return nil, netns.ErrSystem }

//go:build !linux

package local

import "github.com/meshtop/meshtop/inspect/netns"

const diagSize = 72

// diagnose cannot be done on this system.
func diagnose(*netns.Space) ([]socket, error) { return nil, netns.ErrSystem }

package tui

import (
	"testing"

	"github.com/meshtop/meshtop/rules/live"
)

// What is read of a connection is shown whatever it is.
func FuzzConnLine(f *testing.F) {
	f.Add("nginx", "ESTABLISHED", uint64(1200))
	f.Fuzz(func(t *testing.T, process, state string, bytes uint64) {
		_ = connLine(conn{Conn: live.Conn{Src: addr("10.244.1.7:41822"), Dst: addr("10.107.42.16:80"), Process: process, State: state, Bytes: bytes, Known: true}}, state, 80)
		_ = devices([]byte(process))
	})
}

package tui

import (
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
)

// conn is a live connection with what a trace of it says.
type conn struct {
	live.Conn
	outcome flow.Outcome
	traced  bool
	admin   bool // to Envoy's admin interface
}

// connections lists what is live, established connections first.
func connections(s *rules.Snapshot) []conn {
	var out []conn
	for _, c := range live.Connections(s) {
		out = append(out, conn{Conn: c})
	}
	return out
}

// size is how many bytes a connection has carried; empty where nobody counted.
func (c conn) size() string {
	if c.Bytes == 0 {
		return ""
	}
	return bytesWord(int64(min(c.Bytes, 1<<62)))
}

package netfilter

import (
	"fmt"
	"strings"
)

// lines counts those of a part that nobody can read, so that what was lost is said.
type lines struct {
	first, more int
	text        string
}

func (b *lines) bad(n int, l string) {
	if b.first == 0 {
		b.first, b.text = n, l
		return
	}
	b.more++
}

// err is nil where every line was read.
func (b *lines) err(what string) error {
	switch {
	case b.first == 0:
		return nil
	case b.more == 0:
		return fmt.Errorf("line %d: %s: %s", b.first, what, quote(b.text))
	}
	return fmt.Errorf("line %d: %s: %s, and %d more such lines", b.first, what, quote(b.text), b.more)
}

// alienSocket says that a line of the sockets is neither a header nor a socket of a kind
// that no packet of IP comes to (ss(8), the column Netid).
func alienSocket(l string) bool {
	f := strings.Fields(l)
	if len(f) == 0 {
		return false
	}
	switch f[0] {
	case "Netid", "State", "Recv-Q":
		return false
	case "nl", "p_raw", "p_dgr", "raw", "ip", "icmp6", "ipv6", "u_str", "u_seq", "u_dgr", "unix", "ti_st", "ti_dg", "ti_rd", "ti_sq", "v_str", "v_dgr", "xdp", "dccp", "sctp", "mptcp", "??":
		return len(f) < 5
	}
	return true
}

// readConntrack checks the lines of `conntrack -L` or /proc/net/nf_conntrack. A trace is
// of a new connection and looks into none of them; but a part that holds something else
// must not pass for one that was read.
func readConntrack(data []byte) error {
	var b lines
	n := 0
	for l := range strings.Lines(string(data)) {
		n++
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "conntrack v") {
			continue
		}
		has := 0
		for _, w := range strings.Fields(l) {
			if strings.HasPrefix(w, "src=") || strings.HasPrefix(w, "dst=") {
				has++
			}
		}
		if has != 4 { // both directions have both
			b.bad(n, l)
		}
	}
	return b.err("no line of conntrack")
}

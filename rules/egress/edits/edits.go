// Package edits words a change as the edits that carry it out.
//
// The kernel's are a script that nft itself takes. Who plans a change shows them, and who
// carries it out makes its own rules from the same typed list.
package edits

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Names of what the kernel's driver makes: one table of its own, of family inet.
const (
	Table = "meshtop"
	Lease = "lease" // the set whose element, while it lives, lets the rules match
	About = "about" // the set whose comments say what the table is
)

// Of gives the edits that put a change into force, and those that take it back.
func Of(c flow.Change) (do, undo []string) {
	switch {
	case c.Driver == flow.Kernel && c.Kind == flow.Restore:
		do = []string{"delete table inet " + Table}
	case c.Driver == flow.Kernel:
		do, undo = kernel(c), []string{"delete table inet " + Table}
	case c.Driver == flow.EnvoyRuntime:
		do, undo = runtime(c)
	default:
		return nil, nil
	}
	return append(do, sockets(c)...), undo
}

// kernel is the table as a script for `nft -f`. `create` fails where the table is there
// already: one writer.
func kernel(c flow.Change) []string {
	h := HookOf(c.Kind)
	do := []string{
		"create table inet " + Table,
		"add set inet " + Table + " " + Lease + " { type inet_proto; flags timeout; }",
		"add set inet " + Table + " " + About + " { type mark; }",
		"# one more comment in " + About + " holds since when and until when",
	}
	for i, note := range Notes(c) {
		do = append(do, fmt.Sprintf("add element inet %s %s { %d comment \"%s\" }", Table, About, i+1, note))
	}
	do = append(do, fmt.Sprintf("add chain inet %s %s { type %s hook output priority %d; policy accept; }", Table, h.Chain, h.Type, h.Priority))
	for _, r := range Rules(c) {
		do = append(do, "add rule inet "+Table+" "+h.Chain+" "+r.String())
	}
	for _, p := range Leased(c) {
		element := p.String()
		if !c.Permanent {
			element += " timeout " + duration(c.TTL)
		}
		do = append(do, "add element inet "+Table+" "+Lease+" { "+element+" }")
	}
	return do
}

// Leased are the protocols that the lease holds: the rules match no other.
func Leased(c flow.Change) []flow.Proto {
	if c.Kind == flow.BlockAll && c.Strong {
		return []flow.Proto{flow.TCP, flow.UDP}
	}
	return []flow.Proto{flow.TCP}
}

// duration is a time as nft writes it: "1d2h3m4s5ms".
func duration(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.of; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.of
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// RuntimeAbout is the key of Envoy's runtime that says what our other keys are for. Envoy
// itself has no use for it.
const RuntimeAbout = "meshtop.about"

// runtime is what is posted to Envoy's admin interface (/runtime_modify). An empty value
// takes a key away.
func runtime(c flow.Change) (do, undo []string) {
	for _, s := range c.Runtime {
		before := ""
		if s.Had {
			before = s.Before
		}
		do = append(do, "runtime_modify "+plain(s.Key)+"="+plain(s.Value))
		undo = append(undo, "runtime_modify "+plain(s.Key)+"="+plain(before))
	}
	if c.Kind == flow.Restore {
		return append(do, "runtime_modify "+RuntimeAbout+"="), nil
	}
	do = append(do, "runtime_modify "+RuntimeAbout+"=(who, why, since when, until when, and what was before)")
	return do, append(undo, "runtime_modify "+RuntimeAbout+"=")
}

// sockets says which open connections are ended.
func sockets(c flow.Change) []string {
	if !c.CloseOpen {
		return nil
	}
	var out []string
	if len(c.Capture) > 0 && c.Kind != flow.Restore {
		out = append(out, "destroy sockets of the proxy, local port "+numbers(c.Capture))
	}
	switch c.Kind {
	case flow.BlockAll:
		whose := " of any user but the proxy's"
		if c.Strong || len(c.ProxyUIDs) == 0 {
			whose = ""
		}
		out = append(out, "destroy sockets that leave the pod"+whose)
	case flow.Restore:
		out = append(out, "destroy sockets that leave the pod around the proxy")
	}
	return out
}

func numbers[T uint16 | uint32](all []T) string {
	words := make([]string, len(all))
	for i, n := range all {
		words[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(words, ", ")
}

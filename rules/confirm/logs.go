package confirm

import (
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Names of the fields of an access log that say what was asked, as logs have them.
var (
	methodFields = []string{"req_method", "method"}
	pathFields   = []string{"req_path", "path"}
)

// field is the first of some fields of a line that is there.
func field(l *flow.Observation, names ...string) string {
	for _, n := range names {
		if v := l.Fields[n]; v != "" && v != "-" {
			return v
		}
	}
	return ""
}

// linesOf are the lines of a connection: of its client's port, and where several connections
// had that port of its destination and time.
func (c *check) linesOf(x *conn) []*flow.Observation {
	var next time.Time
	several := false
	for _, y := range c.conns {
		if y != x && y.client == x.client {
			several = true
			if y.first.After(x.first) && (next.IsZero() || y.first.Before(next)) {
				next = y.first
			}
		}
	}
	var out []*flow.Observation
	for _, l := range c.logs {
		client := x.client.String()
		if x.mapped.IsValid() {
			client = x.mapped.String() // Envoy knows no other
		}
		if l.Fields["downstream_remote_address"] != client && l.Fields["downstream_direct_remote_address"] != client {
			continue
		}
		to := field(l, "downstream_local_address")
		elsewhere := to != "" && x.dst.IsValid() && to != x.dst.String()
		early := !l.At.IsZero() && l.At.Before(x.first.Add(-logSlack))
		late := !l.At.IsZero() && !next.IsZero() && !l.At.Before(next)
		if !several || !elsewhere && !early && !late {
			out = append(out, l)
		}
	}
	return out
}

// logSlack is how much earlier than its first packet a connection can begin by the log, which
// counts in milliseconds.
const logSlack = 2 * time.Millisecond

// byLog says by the access log whether a connection carries the request. A path in the log
// can be another one than was asked: it was normalised, or written anew.
func (c *check) byLog(x *conn) flow.Answer {
	h := c.trace.Request.HTTP
	if h == nil {
		return flow.Maybe
	}
	others, all := 0, 0
	for _, l := range c.linesOf(x) {
		method := field(l, methodFields...)
		switch {
		case method == "":
			continue
		case c.exactly(l):
			return flow.Yes
		case method != or(h.Method, "GET"):
			others++
		}
		all++
	}
	if all > 0 && others == all {
		return flow.No
	}
	return flow.Maybe
}

// exactly says whether a line is of a request with this method and path.
func (c *check) exactly(l *flow.Observation) bool {
	h := c.trace.Request.HTTP
	return field(l, methodFields...) == or(h.Method, "GET") && field(l, pathFields...) == or(h.Path, "/")
}

// lines are the lines of the request: those of its connection that are not of another request
// on it.
func (c *check) lines() []*flow.Observation {
	if c.legs[0] == nil {
		return nil
	}
	all := c.linesOf(c.legs[0])
	h := c.trace.Request.HTTP
	asks := func(l *flow.Observation) bool { return field(l, methodFields...) != "" }
	requests := 0
	for _, l := range all {
		if asks(l) {
			requests++
		}
	}
	asked := len(c.legs[0].heads().asks)
	switch {
	case requests == 0 && asked > 1:
		return nil // lines that do not say of which
	case h == nil || requests == 0:
		return all
	}
	one := requests == 1 && asked <= 1
	return slices.DeleteFunc(all, func(l *flow.Observation) bool {
		if one {
			return asks(l) && field(l, methodFields...) != or(h.Method, "GET")
		}
		return asks(l) && !c.exactly(l)
	})
}

// logged is a field of the access log for the request, with its line. A line of the listener
// alone leaves the fields of the inner filters empty; where lines of like requests differ,
// none tells.
func (c *check) logged(name string) (string, *flow.Observation) {
	if len(c.legs) == 0 || c.legs[0] == nil {
		return "", nil
	}
	var found *flow.Observation
	for _, l := range c.lines() {
		v := field(l, name)
		switch {
		case v == "" || name == "response_code" && v == "0":
		case found == nil || field(l, methodFields...) != "" && field(found, methodFields...) == "":
			found = l
		case field(found, name) == v || field(l, methodFields...) == "" && field(found, methodFields...) != "":
		default:
			return "", nil
		}
	}
	if found == nil {
		return "", nil
	}
	return strings.TrimSpace(found.Fields[name]), found
}

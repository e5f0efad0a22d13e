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
	several := c.loss.Foreign > 0 // one of them may have been of that port
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

// bare are the lines that name no client and can be the request's: those that begin in its
// time and say nothing else than was asked, where Envoy's own counts say that nothing but it came
// to any listener. A line can be one of a request before the watch, or to a listener that is
// not watched. Whether it was alone is known only once every leg has its connection.
func (c *check) bare() []*flow.Observation {
	var out []*flow.Observation
	for _, l := range c.logs {
		if field(l, "downstream_remote_address", "downstream_direct_remote_address") == "" && c.timely(l) && c.suits(l) {
			out = append(out, l)
		}
	}
	if len(out) == 0 || !c.placed || !c.alone() || !c.countedAlone() {
		return nil
	}
	return out
}

// timely says whether a line says that it begins while the request was under way.
func (c *check) timely(l *flow.Observation) bool {
	return !l.At.Before(c.legs[0].first.Add(-logSlack)) && (c.way.to.IsZero() || !l.At.After(c.way.to))
}

// suits says whether what a line says of the request is what was asked.
func (c *check) suits(l *flow.Observation) bool {
	to := field(l, "downstream_local_address")
	if to != "" && c.legs[0].dst.IsValid() && to != c.legs[0].dst.String() {
		return false
	}
	return field(l, methodFields...) == "" || c.trace.Request.HTTP != nil && c.exactly(l)
}

// logText is what a line says of the way.
func logText(l *flow.Observation) string {
	var out []string
	for _, k := range []string{"listener_name", "req_method", "req_path", "route_name", "upstream_cluster_raw", "upstream_cluster", "upstream_host", "response_code", "response_flags"} {
		if v := field(l, k); v != "" {
			out = append(out, v)
		}
	}
	return strings.Join(out, " ")
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
	all := append(c.linesOf(c.legs[0]), c.bare()...)
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
	one := requests == 1 && asked <= 1 && c.one() // else the line can be of a request that cannot be read
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

// poolLine is the line that names the proxy's connection on which the request went to its leg's
// destination; nil: none does, or the watch may have missed how that began.
func (c *check) poolLine(l int) *flow.Observation {
	if l != 1 || c.legs[0] == nil || c.lossy() {
		return nil
	}
	if local, line := c.logged("upstream_local_address"); local != "" && line.Fields["upstream_host"] == c.trace.Legs[l].From.Dst.String() {
		return line
	}
	return nil
}

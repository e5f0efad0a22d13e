package session

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// flushWithin bounds the wait for Envoy to write an access log's line: by default it writes
// every ten seconds (--file-flush-interval-msec).
const flushWithin = 11 * time.Second

// logs are the access logs that a watch reads.
type logs struct {
	*envoy.Logs
	flush time.Duration // how often Envoy writes them
	other int           // recorded lines of no format that is known
}

// logsOf are the access logs of the listeners that a trace goes through.
func logsOf(r Reading, t flow.Trace) *logs {
	var names []string
	for _, l := range everyLeg(t) {
		for _, s := range l.Steps {
			if (s.Stage == flow.Listener || s.Stage == flow.Handoff) && !slices.Contains(names, s.Subject) {
				names = append(names, s.Subject)
			}
		}
	}
	return &logs{Logs: r.Snapshot.Envoy.Logs(names), flush: flushEach(r.Files)}
}

// flushEach is how often Envoy writes its access logs, as server_info has it.
func flushEach(files inspect.Files) time.Duration {
	var info struct {
		Options struct {
			Flush string `json:"file_flush_interval"`
		} `json:"command_line_options"`
	}
	if json.Unmarshal(files["server_info.json"], &info) == nil {
		if d, err := time.ParseDuration(info.Options.Flush); err == nil && d > 0 {
			return d
		}
	}
	return 10 * time.Second
}

// wait is how long the line of a request may take to be written; 0: no log that is read gets
// one for sure.
func (l *logs) wait(loss flow.Loss) time.Duration {
	read := slices.ContainsFunc(loss.Logs, func(path string) bool {
		return !slices.ContainsFunc(loss.Unread, func(g flow.Gap) bool { return g.Part == path })
	})
	if !read || !l.Always() {
		return 0
	}
	return min(l.flush, flushWithin)
}

// read makes fields of a line that came as it is, with the time that it says itself; false: it is
// of another format, and says nothing. A recorded line of JSON in another format has its own names.
func (l *logs) read(o *flow.Observation) bool {
	if o.Kind != flow.SeenAccessLog || o.Line == "" {
		return true
	}
	var fields map[string]string
	if o.Name == "" {
		fields = l.ReadAny(o.Line)
	} else {
		fields = l.Read(o.Name, o.Line)
	}
	switch {
	case fields != nil:
		o.Fields = fields
	case o.Fields == nil && o.Name == "":
		l.other++
		return false
	case o.Fields == nil:
		return false
	}
	o.At, o.Line = time.Time{}, ""
	if at, err := time.Parse(time.RFC3339Nano, o.Fields["start_time"]); err == nil {
		o.At = at
	}
	return true
}

// writtenFor says whether a line can be the one of what was sent: by the client's address,
// else by the request.
func writtenFor(o *flow.Observation, req flow.Request, local netip.AddrPort) bool {
	told := false
	for _, name := range []string{"downstream_remote_address", "downstream_direct_remote_address"} {
		switch o.Fields[name] {
		case local.String():
			return true
		case "", "-":
		default:
			told = true
		}
	}
	if told || req.HTTP == nil {
		return !told
	}
	return o.Fields["req_method"] == cmp.Or(req.HTTP.Method, "GET") && o.Fields["req_path"] == cmp.Or(req.HTTP.Path, "/")
}

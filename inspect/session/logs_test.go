package session

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// logging is a reading of an Envoy whose listener l writes every connection to /log and some to
// standard output, and a trace through it.
func logging(info string) *logs {
	const logger = `{"name":"a"%s,"typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.%s"%s}}`
	file := fmt.Sprintf(logger, "", "file.v3.FileAccessLog", `,"path":"/log","log_format":{"text_format_source":{"inline_string":"%START_TIME% %DOWNSTREAM_REMOTE_ADDRESS% %REQ(:METHOD)% %REQ(:PATH)%\n"}}`)
	some := fmt.Sprintf(logger, `,"filter":{"not_health_check_filter":{}}`, "stream.v3.StdoutAccessLog", "")
	files := inspect.Files{"server_info.json": []byte(info), "config_dump.json": []byte(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":{"name":"l","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},"access_log":[` + file + `,` + some + `]}}]}]}`)}
	r := Parsed("pod", time.Time{}, files, nil, nil)
	return logsOf(r, flow.Trace{Legs: []flow.Leg{{Steps: []flow.Step{{Stage: flow.Handoff, Subject: "l"}, {Stage: flow.Cluster, Subject: "x"}}}}})
}

// The line of a request is waited for as long as Envoy keeps lines back, where a log gets one
// for each request and can be read.
func TestWaitForTheLog(t *testing.T) {
	unread := func(paths ...string) flow.Loss {
		l := flow.Loss{Logs: []string{"/log"}}
		for _, p := range paths {
			l.Unread = append(l.Unread, flow.Gap{Part: p})
		}
		return l
	}
	for _, c := range []struct {
		info string
		loss flow.Loss
		want time.Duration
	}{
		{`{"command_line_options":{"file_flush_interval":"0.020s"}}`, unread(), 20 * time.Millisecond},
		{``, unread("/dev/stdout"), 10 * time.Second},
		{`{"command_line_options":{"file_flush_interval":"3600s"}}`, unread(), flushWithin},
		{``, unread("/dev/stdout", "/log"), 0}, // it broke off
		{``, flow.Loss{}, 0},                   // a watch that reads no logs
	} {
		if got := logging(c.info).wait(c.loss); got != c.want {
			t.Errorf("%s %+v: %v, want %v", c.info, c.loss, got, c.want)
		}
	}
}

func TestReadLine(t *testing.T) {
	l := logging("")
	o := flow.Observation{Kind: flow.SeenAccessLog, At: time.Now(), Name: "/log", Line: "2026-11-30T04:36:00.123Z 10.0.0.1:4000 GET /a"}
	if !l.read(&o) || o.Line != "" || !o.At.Equal(time.Date(2026, 11, 30, 4, 36, 0, 123e6, time.UTC)) || o.Fields["req_path"] != "/a" {
		t.Errorf("%+v", o)
	}
	if o := (flow.Observation{Kind: flow.SeenAccessLog, Name: "/log", Line: "starting"}); l.read(&o) {
		t.Errorf("%+v", o)
	}
	req := flow.Request{HTTP: &flow.HTTP{Path: "/a"}}
	for line, want := range map[string]bool{
		"2026-11-30T04:36:00.123Z 10.0.0.1:4000 GET /a": true,
		"2026-11-30T04:36:00.123Z 10.0.0.1:4000 GET /b": true, // the path can be written anew
		"2026-11-30T04:36:00.123Z 10.0.0.1:4001 GET /a": false,
		"2026-11-30T04:36:00.123Z - GET /a":             true,
		"2026-11-30T04:36:00.123Z - GET /b":             false,
	} {
		o := flow.Observation{Kind: flow.SeenAccessLog, Name: "/log", Line: line}
		if l.read(&o); writtenFor(&o, req, netip.MustParseAddrPort("10.0.0.1:4000")) != want {
			t.Errorf("%s: %v", line, !want)
		}
	}
}

// A recorded line is read by the formats that are configured, as one that is read live; JSON of
// another format has the names that it has, and text of another says nothing.
func TestRecordedLines(t *testing.T) {
	l := logging("")
	var got []flow.Observation
	for _, o := range capture.ReadAccessLog([]byte("2026-11-30T04:36:00.123Z 10.0.0.1:4000 GET /a\n\n{\"req_path\":\"/b\",\"code\":7,\"start_time\":\"2026-11-30T04:36:01Z\"}\n" +
		"[2026-11-30 04:36:00.000][1][info] starting\n")) {
		if l.read(&o) {
			got = append(got, o)
		}
	}
	if len(got) != 2 || l.other != 1 || got[0].Fields["req_path"] != "/a" || got[0].Fields["downstream_remote_address"] != "10.0.0.1:4000" ||
		!got[0].At.Equal(time.Date(2026, 11, 30, 4, 36, 0, 123e6, time.UTC)) || got[0].Ref != "access.log line 1" {
		t.Fatalf("%d: %+v", l.other, got)
	}
	if o := got[1]; o.Fields["req_path"] != "/b" || o.Fields["code"] != "7" || o.Ref != "access.log line 3" || o.At.Second() != 1 || o.Line != "" {
		t.Errorf("%+v", o)
	}
}

// What a recording holds of other lines is said, and takes nothing away.
func TestRecordedLinesOfNoFormat(t *testing.T) {
	x := &watching{w: nothing{}, kept: newKeeper(nil), logs: logging("")}
	x.logs.other = 3
	l := x.loss()
	if len(l.Blind) != 0 || len(l.Unread) == 0 || !strings.HasPrefix(l.Unread[len(l.Unread)-1].Reason, "3 lines are") {
		t.Errorf("%+v", l)
	}
}

// nothing is a watch that sees nothing.
type nothing struct{ inspect.Watch }

func (nothing) Loss() flow.Loss { return flow.Loss{} }

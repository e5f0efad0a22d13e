package envoy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"
)

// AccessLog is the access_log entry of listeners, tcp_proxy and connection managers.
// kind: listener, tcp, http. listener: the name that %LISTENER_NAME% would give.
func AccessLog(kind, listener string) M {
	cel := ext("envoy.formatter.cel", "envoy.extensions.formatter.cel.v3.Cel", nil)
	return ext("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", M{
		"path": "@DIR@/access.log",
		"log_format": M{"formatters": A{cel}, "json_format": M{"k": kind, "l": listener,
			"fc": "%FILTER_CHAIN_NAME%", "vh": "%CEL(xds.virtual_host_name)%", "rn": "%ROUTE_NAME%",
			"vc": "%VIRTUAL_CLUSTER_NAME%", "uc": "%UPSTREAM_CLUSTER_RAW%", "uh": "%UPSTREAM_HOST%",
			"code": "%RESPONSE_CODE%", "rcd": "%RESPONSE_CODE_DETAILS%", "rf": "%RESPONSE_FLAGS%",
			"ctd": "%CONNECTION_TERMINATION_DETAILS%", "la": "%DOWNSTREAM_LOCAL_ADDRESS%",
			"ra": "%DOWNSTREAM_REMOTE_ADDRESS%", "dra": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
			"sni": "%REQUESTED_SERVER_NAME%"}}})
}

// logLine is one line of it.
type logLine struct {
	Kind     string `json:"k"`
	Listener string `json:"l"`
	Chain    string `json:"fc"`
	VHost    string `json:"vh"`
	Route    string `json:"rn"`
	VCluster string `json:"vc"`
	Cluster  string `json:"uc"`
	Host     string `json:"uh"`
	Code     int    `json:"code"`
	Details  string `json:"rcd"`
	Flags    string `json:"rf"`
	Term     string `json:"ctd"`
	Local    string `json:"la"`
	Remote   string `json:"ra"`
	Direct   string `json:"dra"`
	SNI      string `json:"sni"`
}

// accessLog reads the log through a FIFO: each flush wakes the reader, and Envoy's end is
// the end of the file.
type accessLog struct {
	f     *os.File
	r     *bufio.Reader
	rest  string
	lines map[string][]logLine // by the client's address
	bad   error
}

func openAccessLog(path string) (*accessLog, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("mkfifo %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &accessLog{f: f, r: bufio.NewReaderSize(f, 1<<20), lines: map[string][]logLine{}}, nil
}

// Close may be called twice.
func (l *accessLog) Close() error { return l.f.Close() }

// wait reads until each of the connections has its listener's line, which Envoy writes
// last when a connection ends, or until the time is over; and then whatever follows within
// one more flush. Lines of a kind that come after the listener's are so seen, too.
func (l *accessLog) wait(keys []string, most time.Duration) {
	open := map[string]bool{}
	for _, k := range keys {
		open[k] = true
	}
	for k, lines := range l.lines {
		for _, x := range lines {
			if x.Kind == "listener" {
				delete(open, k)
			}
		}
	}
	end := time.Now().Add(most)
	for len(open) > 0 {
		x, ok := l.next(end)
		if !ok {
			return
		}
		if x.Kind == "listener" {
			delete(open, x.Direct)
		}
	}
	for ok := true; ok; {
		_, ok = l.next(time.Now().Add(2 * flushTime))
	}
}

// flushTime is --file-flush-interval-msec.
const flushTime = 15 * time.Millisecond

// next reads a line; false at the deadline or the end.
func (l *accessLog) next(end time.Time) (logLine, bool) {
	l.f.SetReadDeadline(end)
	s, err := l.r.ReadString('\n')
	l.rest += s
	if err != nil {
		return logLine{}, false
	}
	var x logLine
	if err := json.Unmarshal([]byte(l.rest), &x); err != nil && l.bad == nil {
		l.bad = fmt.Errorf("access log: %w: %s", err, l.rest)
	}
	l.rest = ""
	l.lines[x.Direct] = append(l.lines[x.Direct], x)
	return x, true
}

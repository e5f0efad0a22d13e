package envoy

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// Places of an access log that are no file of their own (envoy.extensions.access_loggers.stream.v3).
const (
	stdout = "/dev/stdout"
	stderr = "/dev/stderr"
)

// Logs are the access logs that some listeners write to files, each with the formats of its
// lines: several loggers can write one file.
type Logs struct {
	// Unread are those whose lines cannot be understood, with the reason.
	Unread []flow.Gap

	paths   []string
	formats map[string][]lineFormat // by path
	always  bool
}

// Paths are the files, in the order in which the listeners name them. What goes to standard
// output or standard error is /dev/stdout or /dev/stderr.
func (l *Logs) Paths() []string { return l.paths }

// Always says whether one of them gets a line for every request: its logger has no filter.
func (l *Logs) Always() bool { return l.always }

// Logs are the access logs of the listeners with these names, and of the filters of all their
// chains (listener.v3.Listener.access_log; those of tcp_proxy and of the HTTP connection
// manager). Logs that go elsewhere than to a file are none.
func (c *Config) Logs(listeners []string) *Logs {
	l := &Logs{formats: map[string][]lineFormat{}}
	if c == nil {
		return l
	}
	for _, name := range listeners {
		at := c.listeners.byName[name]
		if at == nil {
			continue
		}
		n := at.node()
		l.loggers(n.Field("access_log"))
		for _, chain := range c.chainsOf(n).nodes {
			for _, f := range chain.Field("filters").All() {
				l.loggers(c.extension(f).config.Field("access_log"))
			}
		}
	}
	return l
}

// loggers adds the loggers of one list.
func (l *Logs) loggers(list tree.Node) {
	for _, n := range list.All() {
		kind, config := kindOf(n)
		path := ""
		switch kind {
		case "FileAccessLog":
			path = config.Field("path").Str()
		case "StdoutAccessLog":
			path = stdout
		case "StderrAccessLog":
			path = stderr
		}
		if path == "" {
			continue
		}
		f, why := logFormat(config)
		if why != "" {
			l.unread(path, why)
			continue
		}
		l.always = l.always || !n.Field("filter").Exists()
		if !slices.Contains(l.paths, path) {
			l.paths = append(l.paths, path)
		}
		if !slices.ContainsFunc(l.formats[path], func(g lineFormat) bool { return g.source == f.source }) {
			l.formats[path] = append(l.formats[path], f)
		}
	}
}

func (l *Logs) unread(path, why string) {
	if g := (flow.Gap{Part: path, Reason: why}); !slices.Contains(l.Unread, g) {
		l.Unread = append(l.Unread, g)
	}
}

// defaultLine is Envoy's format where none is configured (access_log_manager docs, "Default
// format string").
const defaultLine = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// logFormat is the format of a logger's lines; why says why it cannot be read.
func logFormat(config tree.Node) (f lineFormat, why string) {
	old := config // FileAccessLog's own fields, before log_format
	if n := config.Field("log_format"); n.Exists() {
		config = n
	}
	if n := config.Field("json_format"); n.Exists() {
		return jsonLine(n), ""
	}
	if n := old.Field("typed_json_format"); n.Exists() {
		return jsonLine(n), ""
	}
	text, ok := defaultLine, true
	switch source := config.Field("text_format_source"); {
	case source.Exists():
		text, ok = inlineText(source)
	case config.Field("text_format").Exists():
		text = config.Field("text_format").Str()
	case old.Field("format").Exists():
		text = old.Field("format").Str()
	}
	if !ok {
		return lineFormat{}, "its format is not in the configuration, but in a file or a variable of Envoy's"
	}
	line, ended := strings.CutSuffix(text, "\n")
	if !ended || strings.Contains(line, "\n") {
		return lineFormat{}, "its format does not make one line of each entry"
	}
	return textLine(line), ""
}

// inlineText is the text of a config.core.v3.DataSource that holds it itself.
func inlineText(n tree.Node) (string, bool) {
	if s := n.Field("inline_string"); s.Exists() {
		return s.Str(), true
	}
	if b := n.Field("inline_bytes"); b.Exists() {
		raw, err := base64.StdEncoding.DecodeString(b.Str())
		return string(raw), err == nil
	}
	return "", false
}

// StatName is what %UPSTREAM_CLUSTER% calls a cluster: its alt_stat_name where it has one,
// which others may have, too. ok is false where the cluster is not known.
func (c *Config) StatName(cluster string) (name string, shared, ok bool) {
	if c == nil {
		return "", false, false
	}
	e := c.clusters[cluster]
	if e == nil {
		return "", false, false
	}
	alt := e.node().Field("alt_stat_name").Str()
	return orDefault(alt, cluster), alt != "", true
}

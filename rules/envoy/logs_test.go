package envoy

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
)

// fileLog is an access logger that writes /log, with a format as JSON, written with ' for ".
func fileLog(format string) string {
	return `{'name': 'own', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog', 'path': '/log'` + format + `}}`
}

// logged is a configuration whose listener l has a TCP proxy with these access loggers.
func logged(t testing.TB, loggers ...string) *Logs {
	t.Helper()
	filter := netFilter("tcp_proxy", "TcpProxy", `'stat_prefix': 't', 'cluster': 'c', 'access_log': [`+strings.Join(loggers, ",")+`]`)
	return mesh{listeners: lis("l", "0.0.0.0", 81, chainList(chainOf("f", "", filter))), clusters: static("c", "1.0.0.1:1")}.load(t).Logs([]string{"l", "nosuch"})
}

// lineFields are what was read of a line, in order of their names.
func lineFields(m map[string]string) string {
	if m == nil {
		return "no line of it"
	}
	var out []string
	for k, v := range m {
		if v != "" {
			out = append(out, k+"="+v)
		}
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

// text is a log_format of text.
func text(format string) string {
	return `, 'log_format': {'text_format_source': {'inline_string': '` + format + `'}}`
}

func TestLogLines(t *testing.T) {
	const ours = `[2026-11-30T04:36:00.123Z] 'GET /a?b=c HTTP/1.1' 200 UF,URX 0 5 3 2 '-' 'curl/8' '8d-1' 'web:80' '10.0.0.2:80'`
	for _, c := range []struct{ what, format, line, want string }{
		{"Envoy's own", ``, ours,
			"req_authority=web:80 req_method=GET req_path=/a?b=c response_code=200 response_flags=UF,URX start_time=2026-11-30T04:36:00.123Z upstream_host=10.0.0.2:80"},
		{"Envoy's own, of another format", ``, "GET / 200", "no line of it"},
		{"Envoy's own, of no request", ``, `[2026-11-30T04:36:00.123Z] '- - -' 0 UH 0 0 3 - '-' '-' '-' '-' '-'`,
			"req_authority=- req_method=- req_path=- response_code=0 response_flags=UH start_time=2026-11-30T04:36:00.123Z upstream_host=-"},
		// A client that writes what ends its field and begins the next: the fields that can be either
		// are left out, the others stay.
		{"a client's own line in a header", ``, strings.Replace(ours, "curl/8", `x' '8d-1' 'evil' '9.9.9.9:9`, 1),
			"req_method=GET req_path=/a?b=c response_code=200 response_flags=UF,URX start_time=2026-11-30T04:36:00.123Z upstream_host=10.0.0.2:80"},
		{"a client's own line in a path", text(`%REQ(:PATH)% %RESPONSE_CODE% %UPSTREAM_HOST%\n`), "/a 503 1.1.1.1:1 200 2.2.2.2:2",
			"req_path=/a 503 1.1.1.1:1 response_code=200 upstream_host=2.2.2.2:2"},
		{"two of anything", text(`%ROUTE_NAME% %UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE%\n`), "r outbound|80||web 200", "response_code=200 route_name=r upstream_cluster_raw=outbound|80||web"},
		{"two of anything, in more than one way", text(`%ROUTE_NAME% %UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE%\n`), "my r c 200", "response_code=200"},
		{"a percent sign", text(`100%% %RESPONSE_CODE%\n`), "100% 200", "response_code=200"},
		{"a value that is cut short", text(`%REQ(:PATH):3% %UPSTREAM_CLUSTER_RAW:4% %RESPONSE_CODE%\n`), "/ab outb 200", "response_code=200"},
		{"new names of headers", text(`%REQUEST_HEADER(:METHOD)% %REQUEST_HEADER(X-ENVOY-ORIGINAL-PATH?:PATH)%\n`), "GET /a", "req_method=GET req_path=/a"},
		{"one field twice, with one value", text(`%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%|\n`), "/a /a|", "req_path=/a"},
		{"one field twice, with two values", text(`%REQ(:PATH)%|%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%|%RESPONSE_CODE%\n`), "/a|/b|200", "response_code=200"},
		{"JSON", `, 'log_format': {'json_format': {'a': '%REQ(:METHOD)% %REQ(:PATH)%', 'b': {'c': ['%RESPONSE_CODE%', '%UPSTREAM_HOST%']}, 'd': 'x', 'e': 5}}`,
			`{'a':'GET /x','b':{'c':[200,'1.1.1.1:1']},'d':'x','e':5}`, "req_method=GET req_path=/x response_code=200 upstream_host=1.1.1.1:1"},
		{"JSON without a value", `, 'log_format': {'json_format': {'a': '%UPSTREAM_HOST%', 'b': '%RESPONSE_CODE%'}}`, `{'a':null,'b':0}`, "response_code=0"},
		{"JSON of another format", `, 'log_format': {'json_format': {'a': '%UPSTREAM_HOST%'}}`, `{'a':'1.1.1.1:1','z':1}`, "no line of it"},
		{"JSON with another text", `, 'log_format': {'json_format': {'a': '%UPSTREAM_HOST%', 'by': 'x'}}`, `{'a':'1.1.1.1:1','by':'y'}`, "no line of it"},
		{"no JSON", `, 'log_format': {'json_format': {'a': '%UPSTREAM_HOST%'}}`, `a`, "no line of it"},
		{"the old fields", `, 'format': '%RESPONSE_CODE%\n'`, "200", "response_code=200"},
		{"the old fields for JSON", `, 'json_format': {'a': '%UPSTREAM_HOST%'}`, `{'a':'1.1.1.1:1'}`, "upstream_host=1.1.1.1:1"},
		{"bytes", `, 'log_format': {'text_format_source': {'inline_bytes': 'JVJFU1BPTlNFX0NPREUlCg=='}}`, "200", "response_code=200"},
	} {
		l := logged(t, fileLog(c.format))
		if !slices.Equal(l.Paths(), []string{"/log"}) || len(l.Unread) > 0 || !l.Always() {
			t.Errorf("%s: paths %v, unread %v, always %v", c.what, l.Paths(), l.Unread, l.Always())
		}
		if got := lineFields(l.Read("/log", strings.ReplaceAll(c.line, "'", `"`))); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, got, c.want)
		}
	}
}

// Where two loggers write one file, what both can mean is told only if they agree.
func TestLogFileOfTwoFormats(t *testing.T) {
	l := logged(t, fileLog(text(`%RESPONSE_CODE% %UPSTREAM_HOST%\n`)), fileLog(text(`%RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS%\n`)), fileLog(text(`tcp %UPSTREAM_HOST%\n`)))
	if len(l.Paths()) != 1 {
		t.Errorf("paths %v", l.Paths())
	}
	for line, want := range map[string]string{"200 1.1.1.1:1": "response_code=200", "tcp 1.1.1.1:1": "upstream_host=1.1.1.1:1"} {
		if got := lineFields(l.Read("/log", line)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
	if got := l.Read("/log", "tcp "+strings.Repeat("1", maxLine)); got != nil {
		t.Errorf("a line of %d bytes was taken apart", maxLine+4)
	}
}

func TestLogsThatAreNoneToRead(t *testing.T) {
	grpc := `{'name': 'g', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig'}}`
	stream := `{'name': 's', 'filter': {'not_health_check_filter': {}}, 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.%sAccessLog'}}`
	l := logged(t, grpc, fmt.Sprintf(stream, "Stdout"), fmt.Sprintf(stream, "Stderr"), fileLog(text(`no end`)), fileLog(text(`a\nb\n`)), fileLog(`, 'log_format': {'text_format_source': {'filename': '/f'}}`))
	if !slices.Equal(l.Paths(), []string{"/dev/stdout", "/dev/stderr"}) || l.Always() {
		t.Errorf("paths %v, always %v", l.Paths(), l.Always())
	}
	if len(l.Unread) != 2 || l.Unread[0].Reason != "its format does not make one line of each entry" || !strings.HasPrefix(l.Unread[1].Reason, "its format is not in the configuration") {
		t.Errorf("unread %+v", l.Unread)
	}
	var none *Config
	if l := none.Logs([]string{"l"}); len(l.Paths()) != 0 || l.Read("/log", "x") != nil {
		t.Error("a configuration that was not read has logs")
	}
}

func TestStatName(t *testing.T) {
	c := mesh{listeners: lis("l", "0.0.0.0", 81, toC("l")), clusters: static("c", "1.0.0.1:1") + strings.Replace(static("d", "1.0.0.1:1"), `'name'`, `'alt_stat_name': 'stat', 'name'`, 1)}.load(t)
	for cluster, want := range map[string]string{"c": "c false true", "d": "stat true true", "e": " false false"} {
		name, shared, ok := c.StatName(cluster)
		if got := fmt.Sprint(name, " ", shared, ok); got != want {
			t.Errorf("%s: %s, want %s", cluster, got, want)
		}
	}
}

// A line is hostile: whatever stands in it takes a bounded time.
func FuzzLogLine(f *testing.F) {
	f.Add(defaultLine, `[x] "GET / HTTP/1.1" 200 - 0 0 0 - "-" "-" "-" "-" "1.1.1.1:1"`)
	f.Add("%A% %B% %UPSTREAM_HOST%", "a b c d")
	f.Add("%REQ(", "%REQ(")
	f.Fuzz(func(t *testing.T, format, line string) {
		if len(format) > 200 || len(line) > 2000 {
			return
		}
		out := map[string]string{}
		if !readText(pieces(format), line, out) {
			return
		}
		for k, v := range out {
			if !strings.Contains(line, v) {
				t.Errorf("%s is %q, which is not in %q", k, v, line)
			}
		}
	})
}

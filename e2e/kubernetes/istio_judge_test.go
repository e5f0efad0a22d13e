//go:build long

package kubernetes

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// meshed is a scene of Istio under judgement.
type meshed struct {
	client
	*testing.T
	setting
	count   *tally
	scene   string
	address map[string]string // of pods, Services, and the name of the namespace
}

func (m *meshed) space() string { return "scene-" + m.scene }

// addresses asks for those of all pods and Services.
func (m *meshed) addresses() {
	m.Helper()
	m.address = map[string]string{"space": m.space()}
	for kind, path := range map[string]string{"pods": "{.status.podIP}", "services": "{.spec.clusterIP}"} {
		out := m.kubectl(m.T, m.scene, "get", kind, "-o", "jsonpath={range .items[*]}{.metadata.name} "+path+"{\"\\n\"}{end}")
		for l := range strings.Lines(out) {
			name, ip, _ := strings.Cut(strings.TrimSpace(l), " ")
			m.address[name] = ip
		}
	}
}

var named = regexp.MustCompile(`\{([a-z0-9-]+)\}`)

func (m *meshed) words(s string) string {
	return named.ReplaceAllStringFunc(s, func(n string) string { return m.address[n[1:len(n)-1]] })
}

func (c call) pod() string {
	if c.from == "" {
		return "client"
	}
	return c.from
}

// args are a verb's for a call by its pod's application.
func (m *meshed) args(verb string, c call, more ...string) []string {
	uid := "0"
	if c.pod() == "client" {
		uid = "1000"
	}
	out := append([]string{verb, "pod", c.pod(), "-n", m.space(), "--uid", uid}, more...)
	if c.curl {
		return append(out, "--curl", m.words("curl "+strings.Join(c.args, " ")+" "+c.to))
	}
	out = append(out, "--to", m.words(c.to))
	for _, a := range c.args {
		out = append(out, m.words(a))
	}
	return out
}

// curl is what the real client gets, with its status, curl's exit status and its port at the end.
func (m *meshed) curl(c call) string {
	argv := []string{"curl", "-sS", "-m", "10", "-i", "-w", `\ncurl:%{http_code}:%{exitcode} port:%{local_port}\n`, m.words(c.to)}
	for _, a := range c.args {
		argv = append(argv, m.words(a))
	}
	return m.exec(m.scene, c.pod(), "app", argv...)
}

// hop is a line of an Envoy's access log.
type hop struct {
	Direct, Listener, Chain, Route, Cluster, Endpoint, Details, Flags, By, To, Sni, San, Method, Authority, Path string
	Code                                                                                                         int
}

// logged waits for the line of a pod's Envoy about the connection from an address to another, both as
// its client dialled; a line comes a second after its connection's end at most.
func (m *meshed) logged(pod, from, to string) (hop, bool) {
	m.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		out := m.kubectl(m.T, m.scene, "logs", pod, "-c", "istio-proxy", "--tail=100")
		lines := strings.Split(out, "\n")
		for _, l := range slices.Backward(lines) {
			var h hop
			if strings.HasPrefix(l, "{") && json.Unmarshal([]byte(l), &h) == nil && h.Direct == from && h.To == to {
				return h, true
			}
		}
	}
	return hop{}, false
}

// dialled is the address and port that a call goes to.
func (m *meshed) dialled(c call) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(m.words(c.to), "http://"), "/")
	if !strings.Contains(host, ":") {
		host += ":80"
	}
	return host
}

// told is a trace, as far as it is compared.
type told struct {
	Verdict string
	Caller  struct {
		Code                int
		TCP, Flags, Details string
	}
	Outcome  struct{ Listener, FilterChain, Route, Cluster, Endpoint string }
	Variants []told
}

// ways are how the trace says that it may go.
func (t told) ways() []told {
	if len(t.Variants) == 0 {
		return []told{t}
	}
	return t.Variants
}

// traced is a trace by the real program.
func (m *meshed) traced(args []string) told {
	m.Helper()
	raw, err := exec.Command(m.bin, slices.Insert(slices.Clone(args), 1, "-o", "json")...).Output()
	var t told
	if jerr := json.Unmarshal(raw, &t); jerr != nil {
		m.Fatalf("%q: %v: %v: %s", args, err, jerr, raw)
	}
	return t
}

// differs names the fields in which a way is not what Envoy logged.
func (t told) differs(h hop) string {
	var out []string
	field := func(name, logged, said string) {
		if logged != said {
			out = append(out, fmt.Sprintf("%s: Envoy %q, meshtop %q", name, logged, said))
		}
	}
	field("listener", h.Listener, t.Outcome.Listener)
	field("chain", h.Chain, t.Outcome.FilterChain)
	field("route", h.Route, t.Outcome.Route)
	field("cluster", h.Cluster, t.Outcome.Cluster)
	field("endpoint", h.Endpoint, t.Outcome.Endpoint)
	if !h.behind() {
		field("code", fmt.Sprint(h.Code), fmt.Sprint(t.Caller.Code))
		field("flags", strings.TrimPrefix(h.Flags, "-"), t.Caller.Flags)
	}
	return strings.Join(out, "; ")
}

// behind: the end came from behind Envoy, or from the client.
func (h hop) behind() bool {
	if h.Details == "via_upstream" || h.Details == "" && h.Code == 0 && h.Flags == "-" {
		return true
	}
	return slices.ContainsFunc(strings.Split(h.Flags, ","), func(f string) bool {
		return slices.Contains([]string{"UF", "URX", "UC", "UR", "UT", "DC"}, f)
	})
}

// agrees: one of the ways is what Envoy logged, and nothing that is not known decides.
func (m *meshed) agrees(what string, t told, h hop) {
	m.Helper()
	if t.Verdict == "unknown" {
		m.count.unknown.Add(1)
		m.Errorf("%s: the trace cannot tell: %+v", what, t)
		return
	}
	best := ""
	for _, w := range t.ways() {
		d := w.differs(h)
		if d == "" {
			return
		}
		if best == "" || len(d) < len(best) {
			best = d
		}
	}
	m.Errorf("%s: %s\nEnvoy: %+v\nmeshtop: %+v", what, best, h, t)
}

// asked lets the real client ask, and holds the trace against what it got, and what each Envoy on
// the way logged.
func (m *meshed) asked(c call) {
	m.Helper()
	what := c.pod() + " to " + m.words(c.to) + " " + strings.Join(c.args, " ")
	got := m.curl(c)
	if !regexp.MustCompile(c.real).MatchString(got) {
		m.Errorf("%s: the real answer, want %s:\n%s", what, c.real, got)
		return
	}
	t := m.traced(m.args("trace", c))
	if !c.behind && !slices.ContainsFunc(t.ways(), func(w told) bool { return w.gives(got) }) {
		m.Errorf("%s: the trace says %+v, and the real client got\n%s", what, t, got)
	}
	if c.quiet {
		m.count.past.Add(1)
		if t.Verdict == "unknown" || t.Outcome.Cluster != "" {
			m.Errorf("%s: no Envoy meets it, and the trace says %+v", what, t)
		}
		return
	}
	port := printed.FindStringSubmatch(got)
	if port == nil {
		m.Errorf("%s: curl did not run: %s", what, got)
		return
	}
	h, ok := m.logged(c.pod(), m.address[c.pod()]+":"+port[3], m.dialled(c))
	if !ok {
		m.Errorf("%s: the client's Envoy logged nothing from port %s; meshtop says %+v", what, port[3], t)
		return
	}
	m.count.out.Add(1)
	m.agrees(what, t, h)
	m.met(c, h)
}

// gives says whether the caller sees on this way what curl saw.
func (t told) gives(curl string) bool {
	w := way{Verdict: t.Verdict}
	w.Caller.Code, w.Caller.TCP = t.Caller.Code, t.Caller.TCP
	return w.gives(curl)
}

// met holds the trace of the other side against the line of the server's Envoy about the connection
// that the client's Envoy made, if it went to a pod that has one.
func (m *meshed) met(c call, h hop) {
	m.Helper()
	ip, _, _ := strings.Cut(h.Endpoint, ":")
	for _, pod := range []string{"server-v1", "server-v2"} {
		if m.address[pod] != ip || pod == c.pod() {
			continue
		}
		in, ok := m.logged(pod, h.By, h.Endpoint)
		if !ok {
			m.Errorf("%s from %s: the server's Envoy logged nothing", pod, h.By)
			return
		}
		m.comes(pod, in)
		return
	}
}

// comes holds a trace of what came to a server against its Envoy's line. Without the filter
// istio.alpn a client offers istio, and istio-peer-exchange before it where it speaks no HTTP.
func (m *meshed) comes(pod string, in hop) told {
	m.Helper()
	args := []string{"trace", "pod", pod, "-n", m.space(), "--inbound", "--src", in.Direct}
	if in.Method == "" {
		args = append(args, "--to", in.To, "--raw")
	} else {
		args = append(args, "--to", "http://"+in.To+in.Path, "--authority", in.Authority, "-X", in.Method)
	}
	if in.San != "" {
		alpn := "istio"
		if in.Method == "" {
			alpn = "istio-peer-exchange,istio"
		}
		args = append(args, "--tls", "--sni", in.Sni, "--alpn", alpn, "--san", in.San)
	}
	t := m.traced(args)
	m.count.in.Add(1)
	m.agrees(pod+" from "+in.Direct+" to "+in.To, t, in)
	return t
}

// plain: what a client without a sidecar gets of a server's ports, and what is said of it there.
func (m *meshed) plain() {
	m.Helper()
	for _, c := range []call{
		{from: "ext", to: "http://{server-v1}:8080/a", real: `app=server-v1 path=/a`},
		{from: "ext", to: "http://{server-v1}:9000/", real: `app=server-v1`},
		{from: "ext", to: "http://{server-v1}:7071/", real: `curl:503:0`},
		{from: "ext", to: "http://{server-v1}:15001/", real: `curl:(503:0|000:5[26])`},
	} {
		got := m.curl(c)
		port := printed.FindStringSubmatch(got)
		if port == nil || !regexp.MustCompile(c.real).MatchString(got) {
			m.Errorf("ext to %s: the real answer, want %s:\n%s", m.words(c.to), c.real, got)
			continue
		}
		in, ok := m.logged("server-v1", m.address["ext"]+":"+port[3], m.dialled(c))
		if !ok {
			m.Errorf("ext to %s: the server's Envoy logged nothing from port %s", m.words(c.to), port[3])
			continue
		}
		t := m.comes("server-v1", in)
		if in.Method != "" && !slices.ContainsFunc(t.ways(), func(w told) bool { return w.gives(got) }) {
			m.Errorf("ext to %s: the trace says %+v, and the real client got\n%s", m.words(c.to), t, got)
		}
	}
}

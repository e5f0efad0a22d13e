package confirm

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
)

// sentReport is what the test looks at of a report.
type sentReport struct {
	Word string
	Sent *struct {
		Code      int
		TCP, Note string
	}
	Steps []struct{ Stage, Word, Why string }
}

// confirmSent runs `meshtop confirm --send`, behind a wrapper if there is one.
func confirmSent(t *testing.T, wrap []string, bin, pod string, flags ...string) (r sentReport, status int, trouble string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := append(append(slices.Clone(wrap), bin, "confirm", "netns", pod, "--send", "-o", "json"), flags...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if len(out) > 0 {
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return r, cmd.ProcessState.ExitCode(), said.String()
}

// The request is made as it is asked for, and what it got stands in the report.
func TestSend(t *testing.T) {
	bin := program(t)
	mesh, block := lab.New(t, lab.Options{Scene: "mesh"}), lab.New(t, lab.Options{Scene: "block-all"})
	for _, c := range []struct {
		what  string
		pod   string
		flags string
		code  int
		tcp   string
	}{
		{"HTTP/1.1", mesh.Pod(), "--to http://10.107.42.16/ --uid 1000 --gid 1000", 200, "ok"},
		{"HTTP/2 with prior knowledge", mesh.Pod(), "--to http://10.107.42.16/ --uid 1000 --alpn h2c", 200, "ok"},
		{"a status of the endpoint", mesh.Pod(), "--to http://10.107.42.16/status/404 --uid 1000", 404, "ok"},
		{"a body", mesh.Pod(), "--to http://10.107.42.16/ --uid 1000 -d a=1", 200, "ok"},
		{"a body of HTTP/2", mesh.Pod(), "--to http://10.107.42.16/ --uid 1000 --alpn h2c --data a=1", 200, "ok"},
		{"TLS with a name and ALPN", mesh.Pod(), "--to https://10.0.0.9/ --sni secure.lab --alpn http/1.1 --uid 1000", 200, "ok"},
		{"raw TCP", mesh.Pod(), "--to 10.107.42.16:7000 --uid 1000", 0, "ok"},
		{"the proxy's own user is exempt", mesh.Pod(), "--to http://10.107.42.16/ --uid 1337 --gid 1337", 200, "ok"},
		{"the proxy's own user is not blocked", block.Pod(), "--to http://10.107.42.16/ --uid 1337 --gid 1337", 200, "ok"},
		{"blocked", block.Pod(), "--to http://10.107.42.16/ --uid 1000", 0, "closed reset"},
		{"nobody listens", mesh.Pod(), "--to http://127.0.0.1:9/ --uid 1000", 0, "refused"},
	} {
		r, status, trouble := confirmSent(t, nil, bin, c.pod, strings.Fields(c.flags)...)
		if status != 0 || r.Word != "confirmed" || r.Sent == nil || r.Sent.Code != c.code || !strings.Contains(c.tcp, r.Sent.TCP) {
			t.Errorf("%s: status %d, %+v, sent %+v, %s", c.what, status, r, r.Sent, trouble)
		}
	}
}

// Nothing is sent to a port that captures.
func TestNotSentToCapturePorts(t *testing.T) {
	bin := program(t)
	loop, in := lab.New(t, lab.Options{Scene: "loop"}), lab.New(t, lab.Options{Scene: "inbound"})
	for _, c := range []struct{ pod, flags string }{
		{loop.Pod(), "--to http://127.0.0.1:15001/ --uid 1000"},
		{loop.Pod(), "--to http://10.244.1.7:15001/ --uid 1000"},
		{in.Pod(), "--to http://10.244.1.7:15006/ --uid 1000"},
		{in.Pod(), "--to http://127.0.0.1:15006/ --uid 1000"},
	} {
		_, status, trouble := confirmSent(t, nil, bin, c.pod, strings.Fields(c.flags)...)
		if status != 3 || !strings.Contains(trouble, "not sent: the request goes straight to") || strings.Count(trouble, "\n") != 1 {
			t.Errorf("%s: status %d, %q", c.flags, status, trouble)
		}
	}
	for _, l := range []*lab.Lab{loop, in} {
		if lines := l.Lines(); len(lines) != 0 {
			t.Errorf("Envoy logged %v", lines)
		}
	}
}

// Without the right to be another user the request is made as root: that is judged where no
// rule tells the two apart, and unverifiable from the rule on that does.
func TestSendWithoutSetUID(t *testing.T) {
	power.Tools(t, "setpriv")
	bin := program(t)
	l := lab.New(t, lab.Options{Scene: "mesh"})
	weak := []string{"setpriv", "--bounding-set=-setuid,-setgid"}
	r, status, trouble := confirmSent(t, weak, bin, l.Pod(), "--to", "http://10.107.42.16/", "--uid", "1000", "--gid", "1000")
	if status != 0 || r.Word != "confirmed" || r.Sent == nil || r.Sent.Code != 200 || !strings.Contains(r.Sent.Note, "uid 0 gid 0") {
		t.Errorf("as the app: status %d, %+v, sent %+v, %s", status, r, r.Sent, trouble)
	}
	r, status, trouble = confirmSent(t, weak, bin, l.Pod(), "--to", "http://10.107.42.16/", "--uid", "1337", "--gid", "1337")
	if status != 3 || r.Word != "unverifiable" || r.Sent == nil || r.Sent.Code != 200 {
		t.Fatalf("as the proxy: status %d, %+v, sent %+v, %s", status, r, r.Sent, trouble)
	}
	for _, s := range r.Steps {
		want := "unverifiable"
		if s.Stage == "socket" {
			want = "confirmed"
		}
		if s.Word != want && s.Word != "not-observable" {
			t.Errorf("%s is %s: %s, want %s", s.Stage, s.Word, s.Why, want)
		}
	}
}

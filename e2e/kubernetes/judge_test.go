package kubernetes

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// judged is a pod of a scene under judgement.
type judged struct {
	client
	*testing.T
	row
	ip, myngx string
}

// scenes judges every scene, a few at a time; the pods of one scene call each other, so one after
// the other.
func (c client) scenes(t *testing.T) {
	myngx := c.field(t, "base", "pod", "myngx", ".status.podIP")
	var all sync.WaitGroup
	atOnce := make(chan struct{}, 5)
	for i, first := range rows {
		if i > 0 && rows[i-1].scene == first.scene {
			continue
		}
		all.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			for _, r := range rows[i:] {
				if r.scene != first.scene {
					break
				}
				t.Run(r.scene+"/"+r.pod, func(t *testing.T) {
					j := judged{client: c, T: t, row: r, myngx: myngx, ip: c.field(t, r.scene, "pod", r.pod, ".status.podIP")}
					j.judge()
				})
			}
		})
	}
	all.Wait()
}

func (j judged) judge() {
	for i, a := range j.asks {
		j.asked(a, a.real, a.via)
		if a.unlike {
			out := j.meshtop(j.T, 0, j.args("confirm", a, true)...)
			j.holds(out, "CONFIRMED", "unlike an endpoint that answers well: status 200")
			continue
		}
		if a.drain > 0 {
			continue // those before leave nothing that could be told apart
		}
		inside := a.from == "app" || j.gateway
		if inside {
			time.Sleep(j.refill)
			j.confirmed(j.meshtop(j.T, 0, j.args("confirm", a, true)...), a.real, a.via, "")
		}
		if i == 0 || !inside {
			j.watched(a, i == 0)
		}
	}
	p := j.sits()
	j.blocks(p)
	if j.allow {
		j.allows()
	}
	p.Types("q")
	if err := p.End(); err != nil {
		j.Error(err)
	}
	p.GivenBack()
}

// words of a text with this pod's and the others' addresses.
func (j judged) words(s string) string {
	return strings.NewReplacer("{IP}", j.ip, "{myngx}", j.myngx).Replace(s)
}

// args are a verb's for a request. inside: it is the one that meshtop itself sends.
func (j judged) args(verb string, a ask, inside bool) []string {
	out := []string{verb, "pod", j.pod, "-n", "scene-" + j.scene}
	switch {
	case a.as != nil:
		out = append(out, "--inbound")
		out = append(out, a.as...)
	case a.from == "app", inside:
		out = append(out, "--uid", "0", "--to", a.to)
	default:
		out = append(out, "--inbound", "--to", a.to)
	}
	for _, h := range a.head {
		out = append(out, "-H", h)
	}
	if verb == "confirm" && inside {
		out = append(out, "--send")
	}
	for i := range out {
		out[i] = j.words(out[i])
	}
	return out
}

// drains makes requests for a path below, and then the one that was meant.
const drains = `i=0; while [ $i -lt "$1" ]; do curl -s -m 10 -o /dev/null "${2%/}/$i"; i=$((i+1)); done; shift 2; exec curl "$@"`

// real is what the real client gets: what curl prints of the answer, and at its end its status,
// curl's exit status and the client's port.
func (j judged) real(a ask) string {
	to := j.words(a.to)
	argv := []string{"curl", "-sS", "-m", "10", "-i", "-w", `\ncurl:%{http_code}:%{exitcode} port:%{local_port}\n`, to}
	for _, h := range a.head {
		argv = append(argv, "-H", h)
	}
	if a.drain > 0 {
		argv = append([]string{"sh", "-c", drains, "sh", strconv.Itoa(a.drain), to}, argv[1:]...)
	}
	switch scene, pod, other := strings.Cut(a.from, "/"); {
	case a.from == "":
		out, _ := j.try(argv[0], argv[1:]...)
		return out
	case other:
		return j.exec(scene, pod, "app", argv...)
	}
	return j.exec(j.scene, j.pod, a.from, argv...)
}

// way is how a request may go, as a trace tells it.
type way struct {
	Verdict string
	Caller  struct {
		Code int
		TCP  string
	}
	Outcome struct{ Cluster string }
}

// asked lets the real client ask and the trace foretell, and compares both.
func (j judged) asked(a ask, real, via string) {
	j.Helper()
	if a.drain == 0 {
		time.Sleep(j.refill)
	}
	got := j.real(a)
	if !regexp.MustCompile(real).MatchString(got) {
		j.Errorf("%s of %q: the real answer, want %s:\n%s", j.words(a.to), a.from, real, got)
		return
	}
	args := slices.Insert(j.args("trace", a, false), 1, "-o", "json")
	raw, err := exec.Command(j.bin, args...).Output()
	var t struct {
		way
		Variants []way
	}
	if jerr := json.Unmarshal(raw, &t); jerr != nil {
		j.Fatalf("%v: %v: %v: %s", args, err, jerr, raw)
	}
	if a.unlike && real == a.real {
		return
	}
	want := expand(real, via, got)
	ways := append([]way{t.way}, t.Variants...)
	if !slices.ContainsFunc(ways, func(w way) bool { return w.Outcome.Cluster == want && w.gives(got) }) {
		j.Errorf("%v: the trace says %+v, want cluster %q, and the real client got\n%s", args, ways, want, got)
	}
}

// expand is via with what the groups of real match in an answer.
func expand(real, via, answer string) string {
	r := regexp.MustCompile(real)
	return string(r.ExpandString(nil, via, answer, r.FindStringSubmatchIndex(answer)))
}

var printed = regexp.MustCompile(`(?m)^curl:(\d+):(\d+) port:(\d+)$`)

// gives says whether the caller sees on this way what curl saw.
func (w way) gives(curl string) bool {
	m := printed.FindStringSubmatch(curl)
	if m == nil {
		return false
	}
	if code, _ := strconv.Atoi(m[1]); code != 0 {
		return code == w.Caller.Code
	}
	end := map[string]string{"7": "refused", "28": "timeout", "52": "closed", "56": "reset"}[m[2]]
	return w.Caller.Code == 0 && (end == w.Caller.TCP || w.Caller.TCP == "reset-or-closed" && (end == "reset" || end == "closed"))
}

// confirmed: the report says that it was seen as predicted, by the cluster that the real answer
// shows. Of a request that meshtop sent the answer's head is not known: then any.
func (j judged) confirmed(report, real, via, got string) {
	j.Helper()
	want := []string{"CONFIRMED"}
	if via != "" && !strings.Contains(via, "$") {
		want = append(want, via)
	} else if got != "" && via != "" {
		want = append(want, expand(real, via, got))
	}
	j.holds(report, want...)
}

func (j judged) holds(text string, words ...string) {
	j.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			j.Errorf("want %q in\n%s", w, text)
		}
	}
}

// watched: the real client asks while confirm watches, and while a capture runs, if that is
// wanted: what comes home of it are the packets of that request. Both are interrupted then.
func (j judged) watched(a ask, captures bool) {
	j.Helper()
	ends := []func() string{j.watching("watching for", append(j.args("confirm", a, false), "--watch", "60s")...)}
	file := filepath.Join(j.TempDir(), "a.pcapng")
	if captures {
		ends = append(ends, j.watching("capturing", append(j.args("capture", a, false), "--watch", "60s", "-w", file)...))
	}
	time.Sleep(j.refill)
	got := j.real(a)
	for i, end := range ends {
		if out := end(); i == 0 {
			j.confirmed(out, a.real, a.via, got)
		}
	}
	if captures {
		j.packets(file, a, got)
	}
}

// watching starts a verb and waits until it says so; the answer is what it prints until its end.
func (j judged) watching(word string, args ...string) func() string {
	j.Helper()
	cmd := exec.Command(j.bin, args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		j.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		j.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	heard := ""
	for !strings.Contains(heard, word) && lines.Scan() {
		heard += lines.Text() + "\n"
	}
	return func() string {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			j.Errorf("%v: %v", args, err)
		}
		rest, _ := io.ReadAll(said)
		if err := cmd.Wait(); err != nil {
			j.Errorf("%v: %v\n%s%s%s", args, err, heard, rest, out.String())
		}
		return out.String()
	}
}

// packets reads a capture with tshark: the SYN of the real client's port, and what its comment
// foretells; where Envoy passes the request on, its own connection, too, by the cluster's name.
func (j judged) packets(file string, a ask, got string) {
	j.Helper()
	out, err := exec.Command("tshark", "-r", file, "-N", "n", "-T", "fields", "-e", "tcp.srcport", "-e", "tcp.flags.syn", "-e", "frame.comment", "-e", "ip.dst_host").Output()
	if err != nil {
		j.Errorf("tshark: %v", err)
	}
	port := printed.FindStringSubmatch(got)[3]
	var began, passed bool
	for l := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		began = began || len(f) == 4 && f[0] == port && f[1] != "0" && f[1] != "False" && strings.HasPrefix(f[2], "connection 1, step ")
		passed = passed || len(f) == 4 && strings.HasPrefix(f[2], "connection 2")
	}
	if !began || passed != strings.Contains(got, "app=") && a.via != "" {
		j.Errorf("%s from port %s, passed on by %q: the capture holds\n%s", a.to, port, a.via, out)
	}
}

// sits sits down at a terminal attached to the pod, and sees the trace of the first request, and
// whether all could be read: of a container beside Envoy the processes are not to be seen.
func (j judged) sits() person.Person {
	j.Helper()
	a := j.asks[0]
	program, err := screen.Start(screen.Options{W: 100, H: 30}, j.bin, j.args("attach", a, false)...)
	p := person.At(j.T, program, err)
	p.Sees("▸ Trace", j.verdict(a.real))
	if j.gateway {
		p.Misses("PARTIAL")
	} else {
		p.Sees("PARTIAL")
	}
	return p
}

// verdict is the screen's word where the real client gets such an answer.
func (j judged) verdict(real string) string {
	switch {
	case real == ended, real == refused, strings.Contains(real, ":503:"):
		return "REFUSED"
	case j.scene == "gateway-ratelimit", j.scene == "gateway-tcplimit": // as their bucket is full or empty
		return "DEPENDS"
	}
	return "DELIVERED"
}

// blocks puts block-all into force on the running pod, and takes it back.
func (j judged) blocks(p person.Person) {
	j.Helper()
	target := []string{"pod/" + j.pod, "-n", "scene-" + j.scene}
	flags := []string{"policy", "block-all", "--yes", "--ttl", "5m"}
	if j.gateway {
		flags = append(flags, "--strong", "--close-open")
	}
	j.holds(j.meshtop(j.T, 0, append(flags, target...)...), "applied and proven")
	for i, a := range j.asks {
		if i > 0 && a.blocked == "" {
			continue
		}
		real, via := a.real, a.via
		if a.blocked != "" && !j.gateway {
			real, via = a.blocked, ""
		} else if a.blocked != "" {
			real = a.blocked
		}
		if strings.Contains(via, "$") {
			continue // which it was, nobody could see
		}
		j.asked(a, real, via)
		if a.blocked != "" && j.verdict(a.blocked) == "REFUSED" && !a.unlike {
			j.holds(j.meshtop(j.T, 0, j.args("confirm", a, true)...), "CONFIRMED")
		}
	}
	p.Types("r")
	if a := j.asks[0]; a.blocked != "" {
		p.Sees(j.verdict(a.blocked))
	}
	j.holds(j.meshtop(j.T, 0, append([]string{"policy", "restore", "--yes"}, target...)...), "policy    none")
	p.Types("r")
	p.Sees(j.verdict(j.asks[0].real))
	j.asked(j.asks[0], j.asks[0].real, j.asks[0].via)
}

// allows lets what the proxy refuses out around it, and takes that back.
func (j judged) allows() {
	j.Helper()
	target := []string{"pod/" + j.pod, "-n", "scene-" + j.scene}
	j.holds(j.meshtop(j.T, 0, append([]string{"policy", "allow-all", "--yes", "--ttl", "5m"}, target...)...), "applied and proven")
	for _, a := range j.asks {
		if a.allowed == "" {
			continue
		}
		j.asked(a, a.allowed, "")
		j.holds(j.meshtop(j.T, 0, j.args("confirm", a, true)...), "CONFIRMED")
	}
	j.meshtop(j.T, 0, append([]string{"policy", "restore", "--yes"}, target...)...)
	j.asked(j.asks[0], j.asks[0].real, j.asks[0].via)
}

package confirm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
)

// What capture wrote is judged again without root, beside a snapshot and the events that
// conntrack(8) printed: everything is confirmed that packets and conntrack can confirm; and
// without the events, what only they show is unverifiable.
func TestReplayOfOurOwnCapture(t *testing.T) {
	power.Tools(t, "conntrack", "setpriv")
	l := lab.New(t, lab.Options{Scene: "both"})
	bin := program(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) { // so that another user may read it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	snap := filepath.Join(dir, "snap")
	if out, err := exec.Command(bin, "snapshot", "netns", l.Pod(), "-w", snap).CombinedOutput(); err != nil {
		t.Fatalf("snapshot: %v\n%s", err, out)
	}
	events := conntrackEvents(t, l)
	const request = "--inbound --to http://10.244.1.7/"
	r := record(t, bin, l.Pod(), request, nil, "-w", filepath.Join(snap, "own.pcapng"))
	if a, err := l.Send(context.Background(), caseOf(t, &rig{lab: l}, "in-80").Request); err != nil || a.Code != 200 {
		t.Fatalf("%+v, %v", a, err)
	}
	if said, code := r.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("capture: status %d, %s", code, said)
	}
	seen := events("dport=80 ")
	judge := func() string {
		words := "--reuid 65534 --regid 65534 --clear-groups " + bin + " confirm file " + snap + " " + request
		cmd := exec.Command("setpriv", strings.Fields(words)...)
		out, _ := cmd.CombinedOutput() // its status is that of the word
		return string(out)
	}
	if out, err := exec.Command("chmod", "-R", "a+rX", snap).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := judge(); !strings.Contains(got, "UNVERIFIABLE") || !strings.Contains(got, "conntrack events: the snapshot holds none") {
		t.Errorf("without events:\n%s", got)
	}
	if err := os.WriteFile(filepath.Join(snap, "conntrack-events"), seen, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := judge(); !strings.Contains(got, "CONFIRMED: ") || !strings.Contains(got, "capture eth0") || !strings.Contains(got, "answers come from 10.244.1.7:15006") {
		t.Errorf("with events:\n%s", got)
	}
}

// conntrackEvents listens as conntrack(8) does; what it gives waits for an event, and ends it.
func conntrackEvents(t *testing.T, l *lab.Lab) func(what string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("ip", "netns", "exec", l.Pod(), "conntrack", "-E", "-o", "timestamp,id", "-b", "8000000")
	cmd.Stdout = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop := func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	read := func(word string) []byte {
		end := time.Now().Add(30 * time.Second)
		for {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if whole := b[:bytes.LastIndexByte(b, '\n')+1]; bytes.Contains(whole, []byte(word)) {
				return whole
			}
			if time.Now().After(end) {
				t.Fatalf("conntrack told nothing of %s: %s", word, b)
			}
			// It listens once it tells of something.
			if _, err := l.InPod("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8082"); err != nil {
				t.Fatal(err)
			}
		}
	}
	read("dport=8082")
	return func(what string) []byte {
		defer stop()
		return read(what)
	}
}

package confirm

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
)

// program builds meshtop.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "meshtop")
	if out, err := exec.Command("go", "build", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// recording is a running `meshtop capture`.
type recording struct {
	cmd  *exec.Cmd
	said *bufio.Reader
}

// service is the request to the service of the scene mesh.
const service = "--to http://10.107.42.16/ --uid 1000"

// record starts a capture for a request, and waits until it says that it listens.
func record(t *testing.T, bin, pod, request string, stdout io.Writer, args ...string) *recording {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, bin, slices.Concat([]string{"capture", "netns", pod}, strings.Fields(request), args)...)
	cmd.Stdout = stdout
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &recording{cmd, bufio.NewReader(said)}
	if line, err := r.said.ReadString('\n'); err != nil || line != "meshtop: capturing\n" {
		rest, _ := io.ReadAll(r.said)
		t.Fatalf("it says %q %s, %v", line, rest, err)
	}
	return r
}

// end sends a signal, unless it is 0, and gives what the capture said last and its status.
func (r *recording) end(t *testing.T, sig syscall.Signal) (string, int) {
	t.Helper()
	if sig != 0 {
		if err := r.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := io.ReadAll(r.said)
	if err != nil {
		t.Fatal(err)
	}
	err = r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(rest), r.cmd.ProcessState.ExitCode()
}

// tshark gives one line for each packet, of the fields that are asked for.
func tshark(t *testing.T, path string, fields ...string) [][]string {
	t.Helper()
	args := []string{"-r", path, "-N", "n", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	var trouble strings.Builder
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	if err != nil || strings.Contains(trouble.String(), "cut short") || strings.Contains(trouble.String(), "damaged") {
		t.Fatalf("tshark %v: %v\n%s", args, err, trouble.String())
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// One packet of each kind, by device and flags: how its comment begins, and what it holds.
var predicted = []struct{ device, flags, src, dst, begins, holds string }{
	{"lo", "0x0002", "10.244.1.7", "127.0.0.1", "connection 1, step ", "kernel rule ip nat OUTPUT 2: "},
	{"lo", "0x0012", "10.107.42.16", "10.244.1.7", "connection 1, step ", "listener "},
	{"lo", "0x0018", "10.244.1.7", "127.0.0.1", "connection 1, step ", "endpoint 10.107.42.16:80"},
	{"lo", "0x0018", "10.107.42.16", "10.244.1.7", "connection 1: ", "the caller is to see 200"},
	{"eth0", "0x0002", "10.244.1.7", "10.107.42.16", "connection 2, step ", "kernel rule ip nat OUTPUT 1: "},
	{"eth0", "0x0012", "10.107.42.16", "10.244.1.7", "connection 2, step ", "wire "},
}

// checkFile checks with tshark and capinfos that a file of the scene mesh is complete: each
// packet's predicted step, the names, and what each device got and lost.
func checkFile(t *testing.T, path string, snaplen int) {
	t.Helper()
	rows := tshark(t, path, "frame.interface_name", "tcp.flags", "ip.src", "ip.dst", "frame.comment", "ip.dst_host", "frame.cap_len", "ip.src_host")
	found := make([]bool, len(predicted))
	names := map[string]bool{}
	for _, r := range rows {
		if len(r) != 8 || r[4] == "" {
			t.Fatalf("a packet without a comment: %q", r)
		}
		if n, err := strconv.Atoi(r[6]); err != nil || n > snaplen {
			t.Errorf("%s bytes are kept, want %d at most", r[6], snaplen)
		}
		names[r[5]], names[r[7]] = true, true
		for i, p := range predicted {
			if r[0] != p.device || r[1] != p.flags || r[2] != p.src || r[3] != p.dst {
				continue
			}
			found[i] = true
			if !strings.HasPrefix(r[4], p.begins) || !strings.Contains(r[4], p.holds) {
				t.Errorf("%s %s>%s %s: comment %q, want %q ... %q", p.device, p.src, p.dst, p.flags, r[4], p.begins, p.holds)
			}
		}
	}
	if i := slices.Index(found, false); i >= 0 {
		t.Errorf("no packet %+v among %d: %q", predicted[i], len(rows), rows)
	}
	if !names["myngxsvc_host"] && !names["outbound|myngxsvc"] {
		t.Errorf("10.107.42.16 has no name of the configuration: %v", names)
	}
	out, err := exec.Command("capinfos", path).CombinedOutput()
	if err != nil {
		t.Fatalf("capinfos: %v\n%s", err, out)
	}
	if n := strings.Count(string(out), "Number of stat entries = 1"); n != 2 {
		t.Errorf("statistics of %d devices, want lo and eth0\n%s", n, out)
	}
}

// Every file that capture writes is read by tshark, with comments, names and drops, whether
// it is a file, a pipe, or ended by a signal.
func TestCaptureIsReadByTshark(t *testing.T) {
	power.Tools(t, "tshark", "capinfos")
	l := lab.New(t, lab.Options{Scene: "mesh"})
	bin, c := program(t), caseOf(t, &rig{lab: l}, "svc")
	send := func() {
		t.Helper()
		if a, err := l.Send(context.Background(), c.Request); err != nil || a.Code != 200 {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	for what, sig := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		path := filepath.Join(t.TempDir(), "x.pcapng")
		r := record(t, bin, l.Pod(), service, nil, "-w", path)
		send()
		said, code := r.end(t, sig)
		if code != 0 || !strings.HasSuffix(said, " packets, 0 dropped\n") || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: status %d, %q", what, code, said)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", what, st.Mode(), err)
		}
		checkFile(t, path, 256)
	}
	t.Run("pipe", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pipe.pcapng")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		pr, pw := io.Pipe() // not a file: exec joins it by a pipe
		copied := make(chan error, 1)
		go func() { _, err := io.Copy(f, pr); copied <- err }()
		r := record(t, bin, l.Pod(), service, pw, "-w", "-", "--snaplen", "64")
		send()
		said, code := r.end(t, syscall.SIGTERM)
		pw.Close()
		if err := <-copied; err != nil || code != 0 {
			t.Errorf("status %d, %q, %v", code, said, err)
		}
		checkFile(t, path, 64)
	})
	t.Run("count", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.pcapng")
		r := record(t, bin, l.Pod(), service, nil, "-w", path, "--count", "3")
		send()
		if said, code := r.end(t, 0); code != 0 {
			t.Errorf("status %d, %q", code, said)
		}
		if rows := tshark(t, path, "frame.number"); len(rows) != 3 {
			t.Errorf("%d packets", len(rows))
		}
	})
	t.Run("nothing came", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.pcapng")
		r := record(t, bin, l.Pod(), service, nil, "-w", path, "--watch", "10ms")
		if said, code := r.end(t, 0); code != 0 || said != "meshtop: 0 packets, 0 dropped\n" {
			t.Errorf("status %d, %q", code, said)
		}
		if rows := tshark(t, path, "frame.number"); len(rows) != 0 {
			t.Errorf("%d packets", len(rows))
		}
	})
	t.Run("disk full", func(t *testing.T) { diskFull(t, bin, l, send) })
}

// A disk that is full is told in one sentence, and what was written stays readable.
func diskFull(t *testing.T, bin string, l *lab.Lab, send func()) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "x.pcapng")
	r := record(t, bin, l.Pod(), service, nil, "-w", path)
	for range 5 { // some 15 packets each, which a comment makes longer
		send()
	}
	said, code := r.end(t, 0)
	if want := "meshtop: netns " + l.Pod() + ": capture: write " + path + ": no space left on device\n"; said != want || code != 3 {
		t.Errorf("status %d, %q, want 3, %q", code, said, want)
	}
	if rows := tshark(t, path, "frame.comment"); len(rows) == 0 {
		t.Error("the file holds no packet")
	}
}

package kube

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/exec"
)

// fakeAgent is a program by its header, for a machine.
func fakeAgent(m elf.Machine, more string) []byte {
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	head[18], head[19] = byte(m), byte(m>>8)
	return append(head, more...)
}

type tarFile struct {
	name string
	data []byte
}

func tarOf(t *testing.T, files ...tarFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// layoutOf is an OCI layout of one image for each layer; wrapped: by an index of their own.
func layoutOf(t *testing.T, wrapped bool, layers ...[]byte) []byte {
	t.Helper()
	var files []tarFile
	add := func(kind string, b []byte) map[string]any {
		files = append(files, tarFile{"blobs/sha256/" + sumOf(b), b})
		return map[string]any{"mediaType": kind, "digest": "sha256:" + sumOf(b), "size": len(b)}
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var images []any
	for _, l := range layers {
		m := map[string]any{"layers": []any{add("application/vnd.oci.image.layer.v1.tar", l)}}
		images = append(images, add("application/vnd.oci.image.manifest.v1+json", text(m)))
	}
	top := map[string]any{"manifests": images}
	if wrapped {
		top = map[string]any{"manifests": []any{add("application/vnd.oci.image.index.v1+json", text(top))}}
	}
	return tarOf(t, append(files, tarFile{"index.json", text(top)})...)
}

func TestPayloads(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	amd, arm := fakeAgent(elf.EM_X86_64, "a"), fakeAgent(elf.EM_AARCH64, "b")
	la, lb := tarOf(t, tarFile{"usr/sbin/nft", []byte("x")}, tarFile{"usr/bin/meshtop-agent", amd}), tarOf(t, tarFile{"usr/bin/meshtop-agent", arm})
	both := layoutOf(t, true, la, lb)
	write("rel/meshtop-agent-linux-amd64", amd)
	write("rel/meshtop-agent-linux-arm64", arm)
	for _, c := range []struct{ what, path, want string }{
		{"a program", write("agent", amd), "amd64 " + sumOf(amd)},
		{"a release's folder", filepath.Join(dir, "rel"), "amd64 " + sumOf(amd) + ", arm64 " + sumOf(arm)},
		{"an image's archive", write("one.tar", layoutOf(t, false, la)), "amd64 " + sumOf(la) + " with tools"},
		{"one for both", write("both.tar", both), "amd64 " + sumOf(la) + " with tools, arm64 " + sumOf(lb) + " with tools"},
		{"a program of another machine", write("risc", fakeAgent(elf.EM_RISCV, "")), "a program for EM_RISCV"},
		{"a folder without one", t.TempDir(), "holds neither"},
		{"nothing", filepath.Join(dir, "none"), "no such file"},
		{"a text", write("text", []byte("hello")), "neither a program nor an image's archive"},
		{"a layer that was changed", write("bad.tar", bytes.Replace(both, []byte("x"), []byte("y"), 1)), "another sum"},
		{"an image without an agent", write("other.tar", layoutOf(t, false, tarOf(t, tarFile{"usr/bin/other", amd}))), "no usr/bin/meshtop-agent"},
	} {
		all, err := payloads(c.path)
		var got []string
		for _, p := range all {
			line := p.arch + " " + p.sum
			if p.layer != nil {
				line += " with tools"
			}
			got = append(got, line)
		}
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", c.what, err, c.want)
			}
		} else if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// A delivered agent is known again by the sum in its container's command, whatever its image.
func TestDeliveredAgain(t *testing.T) {
	o := pod(nil)
	c := &cluster{payloads: []payload{{arch: "amd64", sum: "aa"}, {arch: "arm64", sum: "bb", layer: []byte("x")}}}
	forms := c.forms(o)
	if got := strings.Join(forms[1].hold[3:], " "); got != "/dev/meshtop-agent.bin bb hold --pod-ip 10.0.0.7 --pod-ip fd00::7 --tools /dev/meshtop-tools" {
		t.Errorf("its command: %s", got)
	}
	if got := strings.Join(forms[0].serve, " "); got != "/dev/meshtop-agent.bin serve --pod-ip 10.0.0.7 --pod-ip fd00::7" {
		t.Errorf("serve: %s", got)
	}
	f := forms[1]
	f.image = "busybox:1"
	e := container(o, "meshtop-1", f)
	o.Spec.EphemeralContainers = []v1.EphemeralContainer{e}
	o.Status.EphemeralContainerStatuses = []v1.ContainerStatus{{Name: e.Name, State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}}
	if at := ours(o, c.forms(o)); at == nil || at.container != "meshtop-1" || at.fresh || strings.Join(at.serve, " ") != strings.Join(forms[1].serve, " ") {
		t.Errorf("%+v", at)
	}
	other := &cluster{payloads: []payload{{arch: "arm64", sum: "cc", layer: []byte("x")}}}
	if at := ours(o, other.forms(o)); at != nil {
		t.Errorf("another build: %q", at.container)
	}
	if at := ours(o, (&cluster{image: "busybox:1"}).forms(o)); at != nil {
		t.Errorf("an image of its own: %q", at.container)
	}
	o.Status.EphemeralContainerStatuses = nil // kubelet has not told of it: it is sent its agent once it runs
	if at := ours(o, c.forms(o)); at == nil || !at.fresh || at.sends == nil || at.sends.arch != "arm64" {
		t.Errorf("not told of yet: %+v", at)
	}
}

// A step whose stream broke is done again, and said so; one whose command failed is not.
func TestInsists(t *testing.T) {
	silent, other := errors.New("no word"), errors.New("another word")
	gone, starting := apierrors.NewNotFound(v1.Resource("pods"), "x"), errors.New("unable to upgrade connection: pod does not exist")
	broken, refused := errors.New("connection reset by peer"), fmt.Errorf("x: %w", exec.CodeExitError{Err: errors.New("exit status 1"), Code: 1})
	for _, c := range []struct {
		fails []error // silent: none, and no word either
		tried int
		want  string
	}{
		{nil, 1, ""},
		{[]error{silent}, 2, ""},
		{[]error{silent, silent, silent, silent}, 3, "send it: it ended before it said that all is there: the stream may have broken, or the agent is of an older build"},
		{[]error{other}, 2, ""},
		{[]error{other, other, other}, 3, `send it: what came has the sha256 "ab", want aa`},
		{[]error{gone}, 1, `send it: pods "x" not found`},
		{[]error{starting}, 2, ""},
		{[]error{broken, broken}, 3, ""},
		{[]error{broken, broken, broken, broken}, 3, "send it: connection reset by peer"},
		{[]error{refused}, 1, "send it: x: exit status 1"},
		{[]error{broken, refused}, 2, "send it: x: exit status 1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			said, tried := 0, 0
			err := (&cluster{wait: 2 * mostPause, say: func(string, bool) { said++ }}).insist(t.Context(), step{"send it", "aa", func() (string, error) {
				tried++
				switch {
				case tried > len(c.fails):
					return "aa  -\n", nil
				case c.fails[tried-1] == silent:
					return "", nil
				case c.fails[tried-1] == other:
					return "ab", nil
				}
				return "", c.fails[tried-1]
			}})
			if got := fmt.Sprint(err); tried != c.tried || said != tried-1 || got != cmp.Or(c.want, "<nil>") {
				t.Errorf("%v: tried %d times, said %d, %s", c, tried, said, got)
			}
		})
	}
}

// The progress of what is sent is told as it is read, and ends at all of it.
func TestCounted(t *testing.T) {
	var told []int
	r := counted(make([]byte, 100<<10), func(p int) { told = append(told, p) })
	b := make([]byte, 1<<20)
	for n := 0; n < 100<<10; {
		m, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if len(told) != 4 || told[0] != 32 || told[3] != 100 {
		t.Error(told)
	}
}

package agent

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// What the program and its image may weigh as they are shipped: a debug container is waited for.
const (
	maxSize  = 15 << 20
	maxImage = 50 << 20
)

// The program is built for both architectures, and is small on each.
func TestSize(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		path := filepath.Join(t.TempDir(), "meshtop-agent")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "../../cmd/meshtop-agent")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		atMost(t, path, maxSize)
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if libs, err := f.ImportedLibraries(); f.Machine != machine || err != nil || len(libs) > 0 {
			t.Errorf("%s: it is for %v, and needs %q (%v)", arch, f.Machine, libs, err)
		}
	}
}

// The image of this machine's own packages is small, and its layer can be unpacked anywhere: its
// programs run there with their own libraries, and say what the machine's say.
func TestImage(t *testing.T) {
	power.Tools(t, "xtables-nft-multi", "xtables-legacy-multi", "nft", "ip", "ipset", "conntrack")
	out := filepath.Join(t.TempDir(), "agent.tar")
	if said, err := exec.Command("../../deploy/image/agent", out, "example.org/agent:1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	atMost(t, out, maxImage)
	sum, layer := largest(t, out)
	dir := filepath.Join(t.TempDir(), "it's here") // a name that a shell would take apart
	unpack := func(sum string) error {
		cmd := exec.Command(built(t), "unpack", "--sum", sum, dir)
		cmd.Stdin = bytes.NewReader(layer)
		return cmd.Run()
	}
	if err := unpack(strings.Repeat("0", 64)); err == nil {
		t.Error("a layer with another sum was taken")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a layer with another sum has left something: %v", err)
	}
	if err := unpack(sum); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"iptables-nft-save", "-V"}, {"iptables-legacy-save", "-V"}, {"nft", "--version"}, {"ip", "-j", "address", "show", "lo"}, {"conntrack", "-V"}} {
		want, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := exec.Command(filepath.Join(dir, "bin", argv[0]), argv[1:]...).CombinedOutput(); err != nil || string(got) != string(want) {
			t.Errorf("%v: %q (%v), want %q", argv, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "usr", "bin", "meshtop-agent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the agent, which is there already, takes room twice: %v", err)
	}
}

// largest is the largest file of an archive: an image's layer, whose name is its sum.
func largest(t *testing.T, path string) (sum string, data []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return sum, data
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size < int64(len(data)) {
			continue
		}
		sum = filepath.Base(h.Name)
		if data, err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func atMost(t *testing.T, path string, bytes int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > bytes {
		t.Errorf("%s has %d bytes, more than %d", filepath.Base(path), info.Size(), bytes)
	}
}

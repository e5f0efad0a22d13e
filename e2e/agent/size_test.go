package agent

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
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

// The image of this machine's own packages is small.
func TestImageSize(t *testing.T) {
	power.Tools(t, "xtables-nft-multi", "xtables-legacy-multi", "nft", "ip", "ipset", "conntrack")
	out := filepath.Join(t.TempDir(), "agent.tar")
	if said, err := exec.Command("../../deploy/image/agent", out, "example.org/agent:1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	atMost(t, out, maxImage)
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

// Package power decides whether a test that needs a power of the machine runs, is
// skipped, or fails: the only place that skips.
package power

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Must is the environment variable that makes a missing power a failure instead of a
// skip: the gate sets it to 1, so that a skipped test never reads as a pass.
const Must = "MESHTOP_TEST_MUST"

// Root needs root (network namespaces, rules, capture).
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// Tools needs programs on the PATH, such as iptables-nft-save.
func Tools(t testing.TB, names ...string) {
	t.Helper()
	var lack []string
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			lack = append(lack, n)
		}
	}
	if lack != nil {
		missing(t, "programs "+strings.Join(lack, ", "))
	}
}

// File needs a file; what says what it is and where it comes from.
func File(t testing.TB, path, what string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path+" ("+what+")")
	}
}

// Envoy is the path of the real Envoy: $MESHTOP_ENVOY, else the binary that `make deps`
// puts into the cache folder.
func Envoy(t testing.TB) string {
	t.Helper()
	path := EnvoyPath()
	if _, err := os.Stat(path); err != nil {
		missing(t, "a real Envoy at "+path+" (make deps brings it)")
	}
	return path
}

// EnvoyPath is where Envoy is looked for.
func EnvoyPath() string {
	if p := os.Getenv("MESHTOP_ENVOY"); p != "" {
		return p
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "meshtop", "envoy")
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(Must) == "1" {
		t.Fatalf("this machine lacks %s, and %s=1 says that it must not", what, Must)
	}
	t.Skipf("not run: needs %s", what)
}

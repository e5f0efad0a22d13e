package envoy

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// inside is set in the process that lives in the fresh network namespace.
const inside = "MESHTOP_ENVOY_ISOLATED"

// Isolated runs the calling test in a fresh network namespace in which every IPv4 and
// IPv6 address is local (AnyIP), so that no packet can leave and any original destination
// answers. It starts the test binary again there; true means: this is the inner one, go on.
// False: the inner one ran and was reported, return.
func Isolated(t *testing.T) bool {
	t.Helper()
	power.Root(t)
	power.Tools(t, "ip", "sysctl")
	if os.Getenv(inside) == "1" {
		if err := allLocal(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	args := []string{"-test.run", "^" + t.Name() + "$", "-test.v"}
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.") || strings.HasPrefix(a, "-test.timeout") || strings.HasPrefix(a, "-test.short") {
			args = append(args, a)
		}
	}
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	// At once, too: a test that is cut off must still have named its seed.
	c.Stdout = io.MultiWriter(os.Stdout, &out)
	c.Stderr = c.Stdout
	if err := c.Run(); err != nil {
		t.Errorf("inner test, in a network namespace of its own: %v", err)
	} else if !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Error("the inner test did not run")
	}
	return false
}

// allLocal makes every address local. Source ports chosen by the kernel stay out of the
// range that the cases use.
func allLocal() error {
	for _, c := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "route", "replace", "local", "0.0.0.0/0", "dev", "lo"},
		{"ip", "-6", "route", "replace", "local", "::/0", "dev", "lo"},
		{"sysctl", "-qw", "net.ipv4.ip_local_port_range=42000 60999", "net.ipv4.tcp_tw_reuse=1",
			"net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w %s", strings.Join(c, " "), err, out)
		}
	}
	return nil
}

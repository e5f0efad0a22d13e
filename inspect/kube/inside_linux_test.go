package kube

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// What the scripts print of a real shell and kernel: whole values, where a shell's own read would
// take one byte; and the programs and capabilities that there are.
func TestScripts(t *testing.T) {
	power.Tools(t, "sh", "cat")
	raw, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		settings: "\nnet/ipv4/ip_local_port_range " + string(raw),
		probe:    "has cat\n",
	} {
		out, err := exec.Command("sh", "-c", script).Output()
		if err != nil || !strings.Contains("\n"+string(out), want) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
)

// A target that cannot be opened: exit 3, nothing on stdout, and one sentence with place and
// cause on stderr.
func TestTargetErrors(t *testing.T) {
	power.Root(t)
	power.Tools(t, "setpriv")
	l := lab.New(t, lab.Options{Scene: "mesh"})
	dir, err := os.MkdirTemp("/tmp", "meshtop-errors-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // for the user without power
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "meshtop")
	if out, err := exec.Command("go", "build", "-o", bin, "../..").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := fmt.Sprint(l.EnvoyPID())
	for _, c := range []struct {
		name   string
		nobody bool
		args   []string
		want   string // a regular expression
	}{
		{"gone name", false, []string{"netns", "mt-never-was"}, `netns mt-never-was: no such network namespace: /run/netns/mt-never-was does not exist`},
		{"gone process", false, []string{"pid", "99999999"}, `pid 99999999: no such network namespace: no process 99999999`},
		{"name without power", true, []string{"netns", l.Pod()}, `netns ` + l.Pod() + `: enter the network namespace: not permitted: it needs root \(CAP_SYS_ADMIN\); this process has uid 65534\. .*`},
		{"process without power", true, []string{"pid", pid}, `pid ` + pid + `: open /proc/` + pid + `/ns/net: not permitted: it needs root or CAP_SYS_PTRACE; this process has uid 65534\. .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := append([]string{bin, "trace"}, append(c.args, "--to", "10.107.42.16:80")...)
			if c.nobody {
				argv = append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}, argv...)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = "/"
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 3 || stdout.String() != "" {
				t.Errorf("%v, stdout %q", err, stdout.String())
			}
			if ok, _ := regexp.MatchString("^meshtop: "+c.want+"\n$", stderr.String()); !ok {
				t.Errorf("stderr %q\nwant %s", stderr.String(), c.want)
			}
		})
	}
}

package plain

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
)

// --admin reaches the target of every verb that takes one; what is no place, and a target
// that is not asked at all, are mistakes of the command line.
func TestAdminFlag(t *testing.T) {
	for _, verb := range []string{"attach --plain", "trace --to 1.2.3.4", "doctor", "snapshot -w " + t.TempDir() + "/x.zip", "confirm --to 1.2.3.4", "check -"} {
		for flag, want := range map[string]string{"10.0.0.1:7777": "10.0.0.1:7777", "7777": "127.0.0.1:7777", "[::1]:7777": "[::1]:7777"} {
			var got netip.AddrPort
			app := App{Stdin: strings.NewReader("{}"), Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer),
				Netns: func(_ context.Context, _ string, admin netip.AddrPort) (inspect.Pod, error) {
					got = admin
					return saved.New("netns x", nil), nil
				}}
			f := strings.Fields(verb)
			args := append([]string{f[0], "netns", "x", "--admin", flag}, f[1:]...)
			if f[0] == "check" {
				app.Stdin = strings.NewReader(exampleCase)
			}
			if Run(context.Background(), app, args); got.String() != want {
				t.Errorf("%q: the target was opened with %v, want %s: %s", args, got, want, app.Stderr)
			}
		}
	}
	for _, args := range [][]string{{"netns", "x", "--admin", "nowhere"}, {"netns", "x", "--admin", "10.0.0.1"}, {"netns", "x", "--admin", "0"}, {"netns", "x", "--admin", ""}, {"demo", "mesh", "--admin", "127.0.0.1:9901"}} {
		var errs bytes.Buffer
		app := App{Stdout: new(bytes.Buffer), Stderr: &errs}
		if code := Run(context.Background(), app, append([]string{"doctor"}, args...)); code != ExitUsage || !strings.HasPrefix(errs.String(), "meshtop: --admin: ") {
			t.Errorf("%q: exit %d, %s", args, code, errs.String())
		}
	}
}

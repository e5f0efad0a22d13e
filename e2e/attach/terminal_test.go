package attach

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// Whatever ends the program gives the terminal back: its modes, the screen behind, the cursor.
func TestSignals(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			p := sit(t, "demo", "mesh")
			p.Sees("▸ Trace", "20 steps")
			if err := syscall.Kill(p.PID(), sig); err != nil {
				t.Fatal(err)
			}
			_ = p.End() // with what status is not judged here
			p.GivenBack()
		})
	}
}

// Longer than a terminal's buffers: what is pasted arrives whole, and so does what is typed behind it.
func TestLongPaste(t *testing.T) {
	p := sit(t, "demo", "mesh")
	p.Sees("20 steps")
	p.Types("e" + paste("curl -H 'x-long: "+strings.Repeat("0123456789", 2000)+"' http://10.107.42.16/last") + "\x12" + strings.Repeat("jk", 100) + "jjj")
	p.Sees("GET http://10.107.42.16/last", "✓ DELIVERED", "evidence · step 4 ")
	p.leaves()
}

// ctrl+z gives the terminal to the shell, and fg brings the screens back, with what was typed
// since, in a window of another size. The shell finds its terminal as it was.
func TestSuspend(t *testing.T) {
	shell, err := screen.Start(screen.Options{W: 80, H: 24, Leader: true, Env: []string{"PS1=ready> ", "PROMPT_COMMAND=", "HISTFILE="}}, "bash", "--norc", "--noprofile", "-i")
	p := person.At(t, shell, err)
	p.Sees("ready>")
	modes := func(n string) string {
		p.Types("clear; echo \"[$(stty -g | cksum)]\" " + n + "\r")
		found := regexp.MustCompile(`\[([0-9 ]+)\] ` + n)
		p.Shows("the terminal's modes", found.MatchString)
		return found.FindStringSubmatch(p.Text())[1]
	}
	before := modes("before")
	p.Types(program + " demo mesh\r")
	p.Sees("▸ Trace", "20 steps")
	p.Types("jj")
	p.Sees("evidence · step 3 ")
	p.Types("\x1a")
	p.Sees("Stopped", "ready>")
	if held := modes("suspended"); held != before {
		t.Errorf("the modes of the terminal were %s, and are %s after ctrl+z", before, held)
	}
	p.Resizes(100, 30)
	p.Types("fg\r")
	p.Sees("▸ Trace", "evidence · step 3 ", "? help")
	p.Shows("a frame of 30 rows", func(s string) bool {
		return len(strings.Split(s, "\n")) >= 30 && strings.Contains(strings.Split(s, "\n")[29], "? help")
	})
	p.Types("jj")
	p.Sees("evidence · step 5 ")
	p.Types("q")
	p.Sees("ready>")
	if after := modes("ended"); after != before {
		t.Errorf("the modes of the terminal were %s, and are %s at the end", before, after)
	}
	p.Types("exit\r")
	_ = p.End()
}

// more(1) takes its keys from standard error, which it must find to be the terminal.
func TestMore(t *testing.T) {
	started, err := screen.Start(screen.Options{W: 80, H: 24, Env: []string{"PAGER=more"}}, program, "demo", "mesh")
	p := seat{t, person.At(t, started, err)}
	p.Sees("20 steps")
	p.Types("ssss\r")
	p.Sees("▸ Config", "line 1/128")
	p.Types("o")
	p.Sees("--More--")
	p.Types("q")
	p.Sees("▸ Config")
	p.leaves()
}

// What client-go, its log and a credential plugin write to standard error never reaches the
// screen; the plugin's words are kept for who asks what was done.
func TestNothingElseOnTheScreen(t *testing.T) {
	dir := t.TempDir()
	plugin := filepath.Join(dir, "plugin")
	write(t, plugin, 0o755, "#!/bin/sh\necho 'DIRT: your session expires soon' >&2\n[ -t 0 ] && echo 'DIRT: the terminal is mine' >&2\nexit 1\n")
	config := filepath.Join(dir, "config")
	write(t, config, 0o600, kubeconfig(plugin, "https://127.0.0.1:9", ""))
	for _, args := range [][]string{nil, {"attach", "pod", "some"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) { quiet(t, config, args...) })
	}
}

// A credential plugin may want a code typed in a browser before it succeeds: where pods are
// chosen its words are shown while it waits, and are kept.
func TestPickerTellsWhatAPluginSays(t *testing.T) {
	dir := t.TempDir()
	plugin, typed := filepath.Join(dir, "plugin"), filepath.Join(dir, "typed")
	write(t, plugin, 0o755, `#!/bin/sh
echo "open https://login.corp.example/device and enter K7QX-PLMN" >&2
until [ -e "`+typed+`" ]; do sleep 0.1; done
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}'
`)
	config := filepath.Join(dir, "config")
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
	}))
	defer api.Close()
	write(t, config, 0o600, kubeconfig(plugin, api.URL, "insecure-skip-tls-verify: true"))
	started, err := screen.Start(screen.Options{W: 80, H: 24, Env: []string{"KUBECONFIG=" + config}}, program)
	p := person.At(t, started, err)
	p.Sees("listing the pods", "enter K7QX-PLMN")
	p.Types("@")
	p.Sees("Activity: what was told", "enter K7QX-PLMN")
	p.Types("\x1b")
	p.Misses("Activity: what was told")
	p.Sees("enter K7QX-PLMN")
	write(t, typed, 0o600, "")
	p.Sees("there is no pod here")
	p.Types("@")
	p.Sees("enter K7QX-PLMN")
	shown := p.Raw()
	p.Types("\x03q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
	if !strings.Contains(strings.TrimPrefix(p.Raw(), shown), "and enter K7QX-PLMN") {
		t.Error("what the plugin said is not told when the list is gone")
	}
}

// kubeconfig is one whose user is a credential plugin.
func kubeconfig(plugin, server, more string) string {
	return `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "` + server + `", ` + more + `}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: "` + plugin + `", interactiveMode: IfAvailable}}}]
`
}

// quiet runs the screens with a cluster whose plugin fails, and looks at every byte on the terminal.
func quiet(t *testing.T, config string, args ...string) {
	started, err := screen.Start(screen.Options{W: 100, H: 30, Env: []string{"KUBECONFIG=" + config}}, program, args...)
	p := person.At(t, started, err)
	p.Sees("failed", "exit code 1")
	shown := p.Raw()
	p.Types("q")
	_ = p.End()
	p.GivenBack()
	if regexp.MustCompile(`(^|[\r\n])DIRT`).MatchString(shown) || strings.Contains(shown, "the terminal is mine") {
		t.Errorf("the plugin wrote to the terminal, or had its input: %q", shown)
	}
	if !strings.Contains(strings.TrimPrefix(p.Raw(), shown), "DIRT: your session expires soon") {
		t.Error("what the plugin said is not told when the screens are gone")
	}
}

func write(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

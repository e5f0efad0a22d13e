package lab

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/rules/flow"
)

// A lab answers the seed's own test on both back ends, and nothing is left of it.
func TestUpAndDown(t *testing.T) {
	for _, b := range []Backend{NFT, Legacy} {
		t.Run(string(b), func(t *testing.T) {
			l := New(t, Options{Scene: "mesh", Backend: b})
			a := send(t, l, caseOf(t, l, "svc"))
			if a.Code != 200 || a.Header.Get("myage") != "18" || a.Seen == nil || a.Seen.Server != "svc" {
				t.Errorf("got %+v", a)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			gone(t, l)
		})
	}
}

// Two labs at once know nothing of each other.
func TestTwoAtOnce(t *testing.T) {
	mesh := New(t, Options{Scene: "mesh"})
	block := New(t, Options{Scene: "block-all", Backend: Legacy})
	r := caseOf(t, mesh, "svc")
	if a := send(t, mesh, r); a.Code != 200 {
		t.Errorf("mesh: %+v", a)
	}
	if a := send(t, block, r); a.TCP != flow.TCPClosed && a.TCP != flow.TCPReset {
		t.Errorf("block-all: %+v", a)
	}
}

// The sockets of a request are its user's: the rule for Envoy's uid tells them apart.
func TestSendIsTheUser(t *testing.T) {
	l := New(t, Options{Scene: "block-all"})
	r := caseOf(t, l, "svc-80")
	for uid, blocked := range map[uint32]bool{0: true, 1000: true, 1336: true, EnvoyUID: false, 1338: true} {
		r.UID, r.GID = uid, uid
		a := send(t, l, r)
		if got := a.Code != 200; got != blocked {
			t.Errorf("uid %d: blocked %v, want %v: %+v", uid, got, blocked, a)
		}
	}
}

// Every scene comes up, and each of its requests can be sent.
func TestEveryScene(t *testing.T) {
	for _, name := range scenes.Names() {
		t.Run(name, func(t *testing.T) {
			l := New(t, Options{Scene: name})
			if l.Scene.About == "" || len(l.Scene.Cases) < 3 {
				t.Errorf("scene %q has %d requests, about %q", name, len(l.Scene.Cases), l.Scene.About)
			}
			for _, c := range l.Scene.Cases {
				a := send(t, l, c.Request)
				if a.TCP == flow.TCPUnknown && c.Name != "tls-to-http" {
					t.Errorf("%s: no known end: %+v", c.Name, a)
				}
			}
		})
	}
}

// An Envoy that does not start is an error that says why, and leaves nothing.
func TestBadConfig(t *testing.T) {
	power.Root(t)
	power.Tools(t, tools...)
	l, err := Up(Options{Scene: "mesh", Name: "mt-bad-config", Envoy: power.Envoy(t), Config: []byte("static_resources: {listeners: [{name: x}]}")})
	if err == nil {
		l.Close()
		t.Fatal("it came up")
	}
	if !strings.Contains(err.Error(), "envoy did not come up") {
		t.Errorf("got %v", err)
	}
	gone(t, &Lab{Name: "mt-bad-config", Dir: stateDir + "/mt-bad-config"})
}

// What a killed lab leaves is taken away by the next one.
func TestSweep(t *testing.T) {
	power.Root(t)
	power.Tools(t, tools...)
	const name = "mt-dead-lab"
	dir := stateDir + "/" + name
	if err := claim(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(name) })
	if err := claim(dir); err == nil {
		t.Error("a lab that is up was brought up again")
	}
	for _, ns := range []string{name + "-pod", name + "-out"} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	child := exec.Command("ip", "netns", "exec", name+"-pod", "sh", "-c", "echo inside; exec sleep 600")
	said, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// The keeper's number with another start time: that process is dead.
	if err := os.WriteFile(dir+"/keeper", []byte(keeper(os.Getpid())+"1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what ran in the pod ended with %v, want it killed", err)
	}
	gone(t, &Lab{Name: name, Dir: dir})
}

func TestRefuses(t *testing.T) {
	power.Root(t)
	for _, o := range []Options{{Scene: "no-such"}, {Scene: "../scenes"}, {Scene: ""}, {Scene: "mesh", Backend: "bpf"}, {Scene: "mesh", Name: "default"}} {
		if l, err := Up(o); err == nil {
			l.Close()
			t.Errorf("%+v came up", o)
		}
	}
}

func send(t *testing.T, l *Lab, r flow.Request) Answer {
	t.Helper()
	a, err := l.Send(context.Background(), r)
	if err != nil {
		t.Fatalf("send %+v: %v", r, err)
	}
	return a
}

func caseOf(t *testing.T, l *Lab, name string) flow.Request {
	t.Helper()
	for _, c := range l.Scene.Cases {
		if c.Name == name {
			return c.Request
		}
	}
	t.Fatalf("scene %s has no request %s", l.Scene.Name, name)
	return flow.Request{}
}

// gone checks that nothing of a lab is left.
func gone(t *testing.T, l *Lab) {
	t.Helper()
	for _, path := range []string{"/run/netns/" + l.Pod(), "/run/netns/" + l.Out(), etcNetns + "/" + l.Pod(), l.Dir} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
}

package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/power"
	"github.com/meshtop/meshtop/inspect"
)

// only makes the machine have no other programs than these; NAME=PROGRAM has another name.
func only(t *testing.T, programs ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, p := range programs {
		name, program, renamed := strings.Cut(p, "=")
		if !renamed {
			program = name
		}
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

var ruleText = inspect.Want{Parts: []string{"iptables-save", "iptables-legacy-save", "ip6tables-save", "ip6tables-legacy-save", "nft.json", "addr.json", "conntrack"}}

// A missing program is a gap that names it; that there are no legacy tables is a fact even
// without the program that would list them.
func TestMissingPrograms(t *testing.T) {
	power.Root(t)
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	p := live(t, l)
	only(t)
	s := read(t, p, ruleText)
	for part, program := range map[string]string{"iptables-save": "iptables-nft-save", "ip6tables-save": "ip6tables-nft-save", "nft.json": "nft", "addr.json": "ip"} {
		if got, want := gapOf(s, part), program+": no such program on this machine"; got != want {
			t.Errorf("%s: %q, want %q", part, got, want)
		}
	}
	for _, part := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		if data, ok := s.Files[part]; !ok || len(data) > 0 {
			t.Errorf("%s: %v %q, want it empty", part, ok, data)
		}
	}
	// The kernel's file has the tool's form.
	if data, ok := s.Files["conntrack"]; !ok && gapOf(s, "conntrack") == "" || strings.Contains(string(data), "entries") {
		t.Errorf("conntrack: %v %q", ok, data)
	}
}

// Legacy tables without their program are a gap that says what is hidden.
func TestLegacyWithoutProgram(t *testing.T) {
	power.Root(t)
	l := lab.New(t, lab.Options{Scene: "mesh", Backend: lab.Legacy, NoEnvoy: true})
	p := live(t, l)
	only(t, "iptables-nft-save")
	s := read(t, p, ruleText)
	if got, want := gapOf(s, "iptables-legacy-save"), "iptables-legacy-save: no such program on this machine, and the kernel has the tables nat"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, ok := s.Files["iptables-save"]; !ok {
		t.Error("the nft back end is not read")
	}
}

// A machine with a plain iptables-save only: which back end it is decides which part it brings.
func TestPlainSave(t *testing.T) {
	power.Root(t)
	power.Tools(t, "iptables-nft-save", "iptables-legacy-save")
	for _, c := range []struct {
		b    lab.Backend
		part string
	}{{lab.NFT, "iptables-save"}, {lab.Legacy, "iptables-legacy-save"}} {
		t.Run(string(c.b), func(t *testing.T) {
			l := lab.New(t, lab.Options{Scene: "mesh", Backend: c.b, NoEnvoy: true})
			p := live(t, l)
			only(t, "iptables-save=iptables-"+string(c.b)+"-save")
			s := read(t, p, ruleText)
			if !strings.Contains(string(s.Files[c.part]), "--to-ports 15001") {
				t.Errorf("%s: %q, gap %q", c.part, s.Files[c.part], gapOf(s, c.part))
			}
		})
	}
}

// A tool that fails is a gap with what it was and what it said, in one line.
func TestFailingTool(t *testing.T) {
	power.Root(t)
	l := lab.New(t, lab.Options{Scene: "mesh", NoEnvoy: true})
	p := live(t, l)
	dir := t.TempDir()
	for name, script := range map[string]string{"iptables-nft-save": "echo half; echo 'no luck today' >&2; echo more >&2; exit 3", "nft": "exec /bin/cat /dev/zero"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	s := read(t, p, inspect.Want{Parts: []string{"iptables-save", "nft.json"}, MaxBytes: 1 << 20})
	if got, want := gapOf(s, "iptables-save"), "iptables-nft-save -c: exit status 3: no luck today"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := gapOf(s, "nft.json"), "nft -j list ruleset: its output is larger than 1048576 bytes"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if len(s.Files) > 0 {
		t.Errorf("kept %v", names(s))
	}
}

// A process may call itself anything; the socket table stays one word in quotes.
func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{"envoy\n": "envoy", `a",pid=1) x`: "a?,pid=1) x", "e\x1b[31m": "e?[31m", "\xff\xfe": "??", `b\`: "b?", "naïve": "naïve"} {
		if got := cleanName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

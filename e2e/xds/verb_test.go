package xds

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/lab/lab"
)

// policy runs the verb on the pod as somebody types it, and gives what it says and its exit status.
func (p *plane) policy(action string, flags ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	args := append([]string{"policy", action, "netns", p.lab.Pod(), "--driver", "xds", "--controlplane", p.socket}, flags...)
	cmd := exec.Command(built, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// The incident by the verbs alone: what is planned by a live read of the pod is what the control plane
// carries out.
func TestVerb(t *testing.T) {
	p := in(t, "mesh", lab.NFT)
	for _, step := range []struct {
		flags      []string // the first is the action
		code       int
		says       string
		svc, baidu string
	}{
		{[]string{"show"}, 0, "none of netns", "200 svc mesh", "200 baidu"},
		{[]string{"block-all", "--dry-run"}, 0, "planned: nothing was changed", "200 svc mesh", "200 baidu"},
		{[]string{"block-all", "--yes", "--reason", "INC-1"}, 0, "applied and proven", "cut", "cut"},
		{[]string{"show"}, 0, "applied and proven", "cut", "cut"},
		{[]string{"allow-all", "--all", "--yes"}, 3, "is in force since", "cut", "cut"},
		{[]string{"restore", "--yes"}, 0, "none of netns", "200 svc mesh", "200 baidu"},
		{[]string{"block-all", "--yes", "--keep-handoff"}, 0, "applied and proven", "200 svc mesh", "cut"},
		{[]string{"show"}, 0, "what is handed over to listener 10.107.42.16_80", "200 svc mesh", "cut"},
		{[]string{"restore", "--yes"}, 0, "none of netns", "200 svc mesh", "200 baidu"},
		{[]string{"block-all", "--yes", "--except", baidu}, 0, "applied and proven", "cut", "200 baidu"},
		{[]string{"restore", "--yes"}, 0, "none of netns", "200 svc mesh", "200 baidu"},
		{[]string{"allow-all", "--all", "--yes", "--plaintext-ok"}, 0, "applied and proven", "200 svc", "200 baidu"},
		{[]string{"restore", "--yes"}, 0, "none of netns", "200 svc mesh", "200 baidu"},
		{[]string{"block-all", "--yes", "--close-open"}, 2, "does not reach the pod's sockets", "200 svc mesh", "200 baidu"},
	} {
		out, errs, code := p.policy(step.flags[0], step.flags[1:]...)
		if code != step.code || !strings.Contains(out+errs, step.says) {
			t.Errorf("%v: exit status %d, want %d with %q\n%s%s", step.flags, code, step.code, step.says, out, errs)
		}
		p.ways(strings.Join(step.flags, " "), step.svc, step.baidu)
	}
	first := p
	p = in(t, "block-all", lab.NFT)
	out, errs, code := p.policy("allow-all", "--yes")
	if code != 0 || !strings.Contains(out, "the control plane ends it; if that is killed") {
		t.Errorf("allow-all where all is blocked: exit status %d\n%s%s", code, out, errs)
	}
	p.ways("allow-all", "200 svc", "200 baidu")

	// The pod of one and the control plane of another.
	p.socket = first.socket
	for _, action := range []string{"show", "block-all", "restore"} {
		flags := []string{"--yes"}
		if action == "show" {
			flags = nil
		}
		if out, errs, code := p.policy(action, flags...); code != 3 || !strings.Contains(errs, "that one serves another pod") {
			t.Errorf("%s by another pod's control plane: exit status %d\n%s%s", action, code, out, errs)
		}
	}
	first.ways("another pod's", "200 svc mesh", "200 baidu")
}

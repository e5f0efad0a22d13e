package kubernetes

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/screen"
	"github.com/meshtop/meshtop/e2e/screen/person"
)

// failures: what cannot be opened, and what breaks under who looks, is told in a sentence; nothing
// hangs, and nothing is left that does not end by itself. What is broken here is mended again.
func (c client) failures(t *testing.T) {
	c.kubectl(t, "fail", "create", "namespace", "scene-fail")
	for _, level := range []string{"baseline", "restricted"} {
		c.kubectl(t, level, "create", "namespace", "scene-"+level)
		c.kubectl(t, level, "label", "namespace", "scene-"+level, "pod-security.kubernetes.io/enforce="+level)
	}
	for _, space := range []string{"fail", "baseline", "restricted"} {
		c.kubectl(t, space, "wait", "--for=create", "--timeout=30s", "serviceaccount/default")
		c.kubectl(t, space, "apply", "-f", "testdata/strict.yaml")
	}
	c.kubectl(t, "fail", "apply", "-f", "testdata/fail.yaml")
	c.kubectl(t, "fail", "wait", "--for=condition=Ready", "--timeout=60s", "pod/host", "pod/plain", "pod/strict", "pod/ending")
	c.kubectl(t, "fail", "delete", "pod", "ending", "--wait=false")
	c.kubectl(t, "fail", "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "pod/ended")
	c.kubectl(t, "fail", "wait", "--for=condition=PodScheduled=false", "--timeout=60s", "pod/pending")
	t.Run("refused", c.refused)
	t.Run("half", c.half)
	t.Run("image", c.image)
	t.Run("hung", c.hung)
	t.Run("killed", c.killed)
	t.Run("kubelet", c.kubelet)
	t.Run("servers", c.servers)
	c.kubectl(t, "fail", "delete", "pod", "ending", "--force", "--grace-period=0", "--ignore-not-found")
	c.kubectl(t, "fail", "delete", "namespace", "scene-fail", "scene-baseline", "scene-restricted", "--wait=false")
}

// to is the request that the traces here are of.
func to(args ...string) []string {
	return append([]string{"trace", "--uid", "0", "--to", "http://10.107.42.16/"}, args...)
}

// asks is what a scene's app gets for the same request.
func (c *cluster) asks(scene, pod string) string {
	return c.exec(scene, pod, "app", "curl", "-sS", "-m", "10", "-i", "http://10.107.42.16/")
}

// within runs a verb, and wants its exit status, and an end before a time that is far more than it
// takes and far less than for ever.
func (c client) within(t *testing.T, most time.Duration, status int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin, args...)
	out, _ := cmd.CombinedOutput()
	switch got := cmd.ProcessState.ExitCode(); {
	case ctx.Err() != nil:
		t.Errorf("meshtop %s hangs: %v were not enough:\n%s", strings.Join(args, " "), most, out)
	case got != status:
		t.Errorf("meshtop %s: exit status %d, want %d:\n%s", strings.Join(args, " "), got, status, out)
	}
	return string(out)
}

func holds(t *testing.T, out string, want ...string) {
	t.Helper()
	plain := strings.Join(strings.Fields(out), " ") // without the breaks between lines
	for _, w := range want {
		if !strings.Contains(plain, w) {
			t.Errorf("want %q in\n%s", w, out)
		}
	}
}

// refused: what the API server does not allow, or would never start, is refused at once, and
// nothing is put into the pod.
func (c client) refused(t *testing.T) {
	for _, r := range []struct{ space, pod, want string }{
		{"baseline", "strict", `violates PodSecurity "baseline:latest": non-default capabilities`},
		{"restricted", "strict", `violates PodSecurity "restricted:latest": unrestricted capabilities`},
		{"fail", "ended", "meshtop: pod ended: it does not run any more (Succeeded)"},
		{"fail", "pending", "meshtop: pod pending: it does not run yet (Pending: PodScheduled: Unschedulable: 0/1 nodes are available"},
		{"fail", "ending", "meshtop: pod ending: it is being deleted (and is gone by "},
		{"fail", "nobody", `meshtop: pod nobody: pods "nobody" not found`},
	} {
		holds(t, c.within(t, 10*time.Second, 3, to("pod", r.pod, "-n", "scene-"+r.space, "--via", "agent")...), r.want)
		if r.pod == "nobody" {
			continue
		}
		if put := c.field(t, r.space, "pod", r.pod, ".spec.ephemeralContainers"); put != "" {
			t.Errorf("%s in %s: it was refused, and holds %s", r.pod, r.space, put)
		}
	}
	holds(t, c.within(t, 10*time.Second, 3, to("pod", "plain", "-n", "scene-fail", "--via", "agent", "--as", "someone")...),
		`meshtop: pod plain: pods "plain" is forbidden: User "someone" cannot get resource "pods"`)
}

// half: a pod without Envoy has the kernel's half, whatever users it wants its containers to be;
// one on its node's network can be read, and is not written to.
func (c client) half(t *testing.T) {
	for _, pod := range []string{"plain", "strict"} {
		holds(t, c.within(t, 30*time.Second, 0, to("pod", pod, "-n", "scene-fail")...),
			"verdict DELIVERED: leaves by eth0 to 10.107.42.16:80", "no Envoy admin interface found: nothing listens on 15000, 19000 or 9901")
		if got := c.asks("fail", pod); !strings.Contains(got, "200 OK") {
			t.Errorf("%s: the real answer is\n%s", pod, got)
		}
	}
	before := c.do(t, "./ctl", "enter", "nft", "list", "tables")
	holds(t, c.within(t, 30*time.Second, 0, to("pod", "host", "-n", "scene-fail")...), "ip kube-proxy nat-output", "verdict DELIVERED")
	holds(t, c.within(t, 30*time.Second, 3, "policy", "block-all", "pod", "host", "-n", "scene-fail", "--yes", "--strong"),
		"meshtop: pod host: policy block-all: pod host runs in the machine's own network (hostNetwork)")
	if after := c.do(t, "./ctl", "enter", "nft", "list", "tables"); after != before {
		t.Errorf("the node's tables were\n%s\nand are\n%s", before, after)
	}
}

// image: what goes wrong with an image is said while it is waited for, and --wait ends that.
func (c client) image(t *testing.T) {
	out := c.within(t, 15*time.Second, 3, to("pod", "plain", "-n", "scene-fail", "--image", "localhost/none:1", "--wait", "4s")...)
	why := `Failed: Failed to pull image "localhost/none:1": `
	holds(t, out, "its entry stays until the pod is deleted", why, "did not start within 4s: ", "; its events: ")
	if first, last := strings.Index(out, why), strings.Index(out, "did not start"); first < 0 || first > last {
		t.Errorf("not said while it was waited for:\n%s", out)
	}
	p := c.sit(t, "pod", "plain", "-n", "scene-fail", "--image", "localhost/none:1")
	p.Sees("opening pod plain", `Failed to pull image "localhost/none:1"`, "3  what the images of its containers can read", "esc stop waiting")
	p.Types("3")
	p.Sees("pod plain.scene-fail (by exec)", "PARTIAL")
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
	// Who tries again waits for the same container, of which none can be removed.
	images := c.field(t, "fail", "pod", "plain", ".spec.ephemeralContainers[*].image")
	if n := strings.Count(images, "localhost/none:1"); n != 1 {
		t.Errorf("two tries have put %d containers there: %s", n, images)
	}
}

// hung: an Envoy that answers nothing is a gap, and hinders no policy of the kernel's.
func (c client) hung(t *testing.T) {
	envoy := c.process(t, "mesh", "outpod-mesh", "envoy")
	if err := syscall.Kill(envoy, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pod := []string{"pod", "outpod-mesh", "-n", "scene-mesh"}
	holds(t, c.within(t, 30*time.Second, 3, to(pod...)...), "ip nat OUTPUT 2: REDIRECT to 127.0.0.1:15001",
		"no Envoy admin interface found: GET 127.0.0.1:9901/listeners?format=json: no answer within 5s", "verdict UNKNOWN: the proxy takes it at 127.0.0.1:15001, but its configuration was not read")
	holds(t, c.within(t, 40*time.Second, 0, append([]string{"policy", "block-all", "--yes", "--ttl", "5m"}, pod...)...), "applied and proven")
	if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "(7)") {
		t.Errorf("blocked, and the real answer is\n%s", got)
	}
	if err := syscall.Kill(envoy, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	holds(t, c.within(t, 30*time.Second, 0, append([]string{"policy", "restore", "--yes"}, pod...)...), "policy none of pod outpod-mesh")
	holds(t, c.within(t, 30*time.Second, 0, to(pod...)...), "verdict DELIVERED to 10.107.42.16:80")
}

// process is a process of a scene's pod by its name, or by its name and its first argument.
func (c *cluster) process(t *testing.T, scene, pod string, name ...string) int {
	t.Helper()
	uid := c.field(t, scene, "pod", pod, ".metadata.uid")
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		words := strings.Split(string(line), "\x00")
		if !strings.Contains(string(group), uid) || len(words) < len(name) || filepath.Base(words[0]) != name[0] {
			continue
		}
		if len(name) == 1 || words[1] == name[1] {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// until waits for what must come, far longer than it takes.
func until(t *testing.T, what string, come func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !come(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 30 s", what)
		}
	}
}

// sit starts the screens on a terminal.
func (c client) sit(t *testing.T, args ...string) person.Person {
	t.Helper()
	program, err := screen.Start(screen.Options{W: 120, H: 40}, c.bin, append([]string{"attach"}, args...)...)
	return person.At(t, program, err)
}

// killed: whoever put a policy into force is killed. The policy lasts as long as it was to, and
// then nothing of it is left, nor of who served the one that is dead.
func (c client) killed(t *testing.T) {
	p := c.sit(t, "pod", "outpod-mesh", "-n", "scene-mesh", "--allow-policy", "--uid", "0", "--to", "http://10.107.42.16/")
	p.Sees("✓ DELIVERED to 10.107.42.16:80")
	p.Types("p")
	p.Sees("(•) BLOCK-ALL", "would be refused")
	p.Types("\t\t\t\x1512s\t\t\t") // to the time, ctrl+u, and on to the name
	p.Sees("after 12s")
	p.Types("outpod-mesh\r")
	p.Sees("APPLIED: read back and proven")
	agent := c.process(t, "mesh", "outpod-mesh", "meshtop-agent", "serve")
	if agent == 0 {
		t.Fatal("no agent serves this client")
	}
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "(7)") {
		t.Errorf("its time is not over, and the real answer is\n%s", got)
	}
	until(t, "the agent of the client that was killed ends", func() bool { return c.process(t, "mesh", "outpod-mesh", "meshtop-agent", "serve") == 0 })
	until(t, "the policy ends", func() bool { return strings.Contains(c.asks("mesh", "outpod-mesh"), "200 OK") })
	envoy := c.process(t, "mesh", "outpod-mesh", "envoy")
	until(t, "nothing of it is left", func() bool {
		tables, err := exec.Command("nsenter", "-t", strconv.Itoa(envoy), "-n", "nft", "list", "tables").Output()
		return err == nil && !strings.Contains(string(tables), "meshtop")
	})
	// The record that nobody takes away any more says itself that it is over.
	end := c.field(t, "mesh", "lease", "meshtop-egress-outpod-mesh", `.metadata.annotations.meshtop\.github\.io/expires`)
	if at, err := time.Parse(time.RFC3339, end); err != nil || at.After(time.Now()) {
		t.Errorf("the record says that it ends at %q (%v)", end, err)
	}
}

// kubelet: one that is stopped takes a stream and answers nothing; one that is gone is named. Once
// it is back so is the agent, which did not notice.
func (c client) kubelet(t *testing.T) {
	args := to("pod", "outpod-mesh", "-n", "scene-mesh", "--wait", "2s")
	c.do(t, "./ctl", "stop", "kubelet")
	holds(t, c.within(t, 15*time.Second, 3, args...), " did not answer within 2s: the API server, kubelet or the container hangs")
	c.do(t, "./ctl", "kill", "kubelet")
	holds(t, c.within(t, 15*time.Second, 3, args...), "connect: connection refused: kubelet on node meshtop-node does not answer")
	c.do(t, "./ctl", "start", "kubelet")
	until(t, "kubelet is back", func() bool { return exec.Command(c.bin, args...).Run() == nil })
}

// servers: kubelet and then the API server are killed under screens, which say so, and are back
// when those are; so is a watch, which says what it did not see.
func (c client) servers(t *testing.T) {
	p := c.sit(t, "pod", "outpod-mesh", "-n", "scene-mesh", "--uid", "0", "--to", "http://10.107.42.16/")
	p.Sees("✓ DELIVERED to 10.107.42.16:80")
	holder := c.hold(t)
	for _, server := range []string{"kubelet", "apiserver"} {
		var out strings.Builder
		watch := exec.Command(c.bin, "confirm", "pod", "outpod-mesh", "-n", "scene-mesh", "--uid", "0", "--to", "http://10.107.42.16/", "--watch", "2m")
		watch.Stdout = &out
		said, err := watch.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := watch.Start(); err != nil {
			t.Fatal(err)
		}
		lines := newLines(said)
		lines.sees(t, "watching for")
		c.do(t, "./ctl", "kill", server)
		p.Sees("reconnecting ...")
		p.Types("r") // is asked, and waits
		c.do(t, "./ctl", "start", server)
		p.Sees("back after ")
		p.Sees("✓ DELIVERED to 10.107.42.16:80")
		lines.sees(t, "the stream to the agent has ended")
		lines.sees(t, "back after ")
		holder.back(t, server)
		if got := c.asks("mesh", "outpod-mesh"); !strings.Contains(got, "200 OK") {
			t.Errorf("the real answer is\n%s", got)
		}
		if err := watch.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		lines.ends(t)
		_ = watch.Wait() // 3, where what the watch missed would show a step: Envoy's connection was open before
		holds(t, out.String(), ", 0 against,", "confirmed socket uid 0", "watch: the stream to the agent has ended: ", "until another stream to the agent was open")
	}
	holder.ends(t)
	p.Types("q")
	if err := p.End(); err != nil {
		t.Error(err)
	}
	p.GivenBack()
	if agents := c.field(t, "mesh", "pod", "outpod-mesh", ".spec.ephemeralContainers[*].name"); len(strings.Fields(agents)) != 1 {
		t.Errorf("one agent was enough, and there are %s", agents)
	}
}

// holder is who holds a policy on a pod, with a process of that pod.
type holder struct {
	*exec.Cmd
	lines *lines
	envoy int
}

// hold holds a policy until it is interrupted, for two minutes where nobody renews it.
func (c client) hold(t *testing.T) *holder {
	t.Helper()
	const scene, pod = "inbound", "envoy-traffic-mock"
	h := &holder{exec.Command(c.bin, "policy", "block-all", "pod", pod, "-n", "scene-"+scene, "--yes", "--hold", "--ttl", "2m"), nil, c.process(t, scene, pod, "envoy")}
	said, err := h.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	h.lines = newLines(said)
	h.lines.sees(t, "holding it")
	h.blocks(t, "held")
	return h
}

// blocks wants that a connection out of the pod is refused, while no API server need be there.
func (h *holder) blocks(t *testing.T, when string) {
	t.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(h.envoy), "-n", "curl", "-sS", "-m", "10", "http://10.107.42.16/").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "(7)") {
		t.Errorf("%s: not blocked: %v: %s", when, err, out)
	}
}

// back wants the policy in force when its stream was away and is there again.
func (h *holder) back(t *testing.T, server string) {
	t.Helper()
	h.lines.sees(t, "the stream to the agent has ended")
	h.blocks(t, server+" was killed")
	h.lines.sees(t, "back after ")
	h.blocks(t, server+" is back")
}

// ends interrupts who holds the policy, and wants nothing of it left.
func (h *holder) ends(t *testing.T) {
	t.Helper()
	if err := h.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	h.lines.sees(t, "restored: nothing of it is left")
	h.lines.ends(t)
	if err := h.Wait(); err != nil {
		t.Errorf("hold: %v", err)
	}
	if out, err := exec.Command("nsenter", "-t", strconv.Itoa(h.envoy), "-n", "curl", "-sS", "-m", "10", "http://10.107.42.16/").CombinedOutput(); err != nil {
		t.Errorf("not restored: %v: %s", err, out)
	}
}

// lines are what a program says on its standard error, as it comes.
type lines struct {
	c   chan string
	all []string
}

func newLines(r io.Reader) *lines {
	l := &lines{c: make(chan string, 100)}
	go func() {
		defer close(l.c)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.c <- s.Text()
		}
	}()
	return l
}

// sees waits for a line that holds the words; none may come from anybody but meshtop.
func (l *lines) sees(t *testing.T, words string) {
	t.Helper()
	for end := time.After(time.Minute); ; {
		select {
		case line, ok := <-l.c:
			if !ok {
				t.Fatalf("%q was not said, only %q", words, l.all)
			}
			l.take(t, line)
			if strings.Contains(line, words) {
				return
			}
		case <-end:
			t.Fatalf("%q was not said within a minute, only %q", words, l.all)
		}
	}
}

func (l *lines) take(t *testing.T, line string) {
	if l.all = append(l.all, line); !strings.HasPrefix(line, "meshtop: ") {
		t.Errorf("somebody else says %q", line)
	}
}

// ends waits for the end of what is said.
func (l *lines) ends(t *testing.T) {
	for line := range l.c {
		l.take(t, line)
	}
}

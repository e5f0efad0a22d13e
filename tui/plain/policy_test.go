package plain

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// heldPod is a recording with a live side that holds one policy, as a kernel does: one at a
// time, only what its text says, and gone when its time is over.
type heldPod struct {
	*saved.Pod
	mu      sync.Mutex
	held    flow.Policy
	renewed int
	changed chan struct{} // a value for each change and renewal

	unproven string // why what is applied is not proven
	refuses  error
}

func newHeldPod(t *testing.T, scene string) *heldPod {
	return &heldPod{Pod: saved.New("netns web", demoFiles(t, scene)), changed: make(chan struct{}, 1000)}
}

func (p *heldPod) Policy(context.Context) (flow.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held.State != flow.StateNone && !p.held.Change.Permanent && time.Now().After(p.held.Expires) && p.held.Change.Kind != flow.NoPolicy {
		p.held.State = flow.StateExpired
	}
	if p.held.Change.Kind == flow.NoPolicy {
		return flow.Policy{State: flow.StateNone}, p.refuses
	}
	return p.held, p.refuses
}

func (p *heldPod) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	now, err := p.Policy(ctx)
	do, undo := edits.Of(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.changed <- struct{}{} }()
	switch {
	case err != nil:
		return flow.Policy{}, err
	case !slices.Equal(do, c.Edits) || !slices.Equal(undo, c.Undo):
		return flow.Policy{}, inspect.ErrAltered
	case c.Kind == flow.Restore:
		p.held = flow.Policy{}
		return flow.Policy{State: flow.StateNone, Change: c}, nil
	case now.Change.Kind != flow.NoPolicy && now.State != flow.StateExpired:
		return flow.Policy{}, &inspect.Held{Policy: now}
	}
	p.held = flow.Policy{State: flow.StateApplied, Change: c, Expires: time.Now().Add(c.TTL)}
	if p.unproven != "" {
		p.held.State, p.held.Why = flow.StateUnknown, p.unproven
	}
	return p.held, nil
}

func (p *heldPod) Renew(_ context.Context, ttl time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.changed <- struct{}{} }()
	if p.held.Change.Kind == flow.NoPolicy || time.Now().After(p.held.Expires) {
		return inspect.ErrEnded
	}
	p.renewed++
	p.held.Expires = time.Now().Add(ttl)
	return nil
}

// kind is the policy that the pod holds.
func (p *heldPod) kind() flow.PolicyKind {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held.Change.Kind
}

// ask runs the verb on the pod at a terminal at which somebody types.
func (p *heldPod) ask(typed string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = Run(context.Background(), p.app(&o, &e, typed), append([]string{"policy"}, args...))
	return code, o.String(), e.String()
}

func (p *heldPod) app(o, e *bytes.Buffer, typed string) App {
	return App{Stdin: strings.NewReader(typed), Stdout: o, Stderr: e, InTerminal: true, ErrTerminal: false,
		Netns: func(context.Context, string, netip.AddrPort) (inspect.Pod, error) { return p, nil }}
}

// Whoever is asked types the pod's name; anything else changes nothing. The plan stands above
// the question.
func TestPolicyAsks(t *testing.T) {
	p := newHeldPod(t, "mesh")
	run := func(typed string) (int, string, string) {
		var o, e bytes.Buffer
		app := p.app(&o, &e, typed)
		app.ErrTerminal = true
		code := Run(context.Background(), app, []string{"policy", "block-all", "netns", "web"})
		return code, o.String(), e.String()
	}
	for typed, want := range map[string]string{"yes\n": `nothing was changed: "yes" is not its name`, "\n": `nothing was changed: "" is not its name`, "": "nothing was changed: EOF"} {
		code, out, errs := run(typed)
		if code != ExitUnknown || out != "" || !strings.Contains(errs, want) || p.kind() != flow.NoPolicy {
			t.Errorf("%q: exit %d, %q, %s", typed, code, out, errs)
		}
	}
	code, out, errs := run("web\n")
	if code != ExitOK || !strings.Contains(out, "block-all of netns web, applied and proven") || p.kind() != flow.BlockAll {
		t.Errorf("exit %d, %s", code, out)
	}
	if plan, question, ok := strings.Cut(errs, "Type web to apply it:"); !ok || !strings.Contains(plan, "3 of 3 destinations would be refused") || strings.Contains(question, "meshtop:") {
		t.Errorf("the question: %s", errs)
	}
}

// What the other side says is one sentence with the target before it, and what to do next.
func TestPolicyRefused(t *testing.T) {
	p := newHeldPod(t, "mesh")
	if code, out, errs := p.ask("", "block-all", "netns", "web", "--yes", "--reason", "INC-1"); code != ExitOK || errs != "" {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	code, out, errs := p.ask("", "allow-all", "netns", "web", "--yes", "--all")
	if code != ExitUnknown || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, `block-all by "uid `) || !strings.Contains(errs, `("INC-1")`) || !strings.Contains(errs, "meshtop policy restore netns web") {
		t.Errorf("held: exit %d, %s%s", code, out, errs)
	}
	if code, out, _ := p.ask("", "show", "netns", "web"); code != ExitOK || !strings.Contains(out, "block-all of netns web, applied") || !strings.Contains(out, "connections of uid 1337") {
		t.Errorf("show: exit %d, %s", code, out)
	}
	if code, out, _ := p.ask("", "restore", "netns", "web", "--yes"); code != ExitOK || !strings.Contains(out, "nothing of meshtop's kernel or runtime driver is there") || p.kind() != flow.NoPolicy {
		t.Errorf("restore: exit %d, %s", code, out)
	}
	for _, again := range []string{"restore", "show"} {
		if code, out, errs := p.ask("", again, "netns", "web", "--yes"); code != ExitOK || !strings.Contains(out, "none of netns web") {
			t.Errorf("%s with nothing there: exit %d, %s%s", again, code, out, errs)
		}
	}
	p.refuses = fmt.Errorf("open nftables: %w: it needs root (CAP_NET_ADMIN)", inspect.ErrNoPower)
	for _, verb := range []string{"block-all", "restore", "show"} {
		if code, out, errs := p.ask("", verb, "netns", "web", "--yes"); code != ExitUnknown || out != "" || errs != "meshtop: netns web: open nftables: not permitted: it needs root (CAP_NET_ADMIN)\n" {
			t.Errorf("%s: exit %d, %s%s", verb, code, out, errs)
		}
	}
}

// What is not proven is never called applied, and is exit status 1.
func TestPolicyUnproven(t *testing.T) {
	p := newHeldPod(t, "mesh")
	p.unproven = "not proven: no probe has a route"
	code, out, _ := p.ask("", "block-all", "netns", "web", "--yes")
	if code != ExitNo || !strings.Contains(out, "state unknown") || !strings.Contains(out, p.unproven) || strings.Contains(out, "applied and") {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, out, _ := p.ask("", "show", "netns", "web", "-o", "json"); code != ExitNo || !strings.Contains(out, `"state": "unknown"`) {
		t.Errorf("show: exit %d, %s", code, out)
	}
}

// --hold renews the lease until it is interrupted, and then takes it back.
func TestPolicyHold(t *testing.T) {
	p := newHeldPod(t, "mesh")
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	var o, e bytes.Buffer
	done := make(chan int)
	go func() {
		done <- Run(ctx, p.app(&o, &e, ""), []string{"policy", "block-all", "netns", "web", "--yes", "--hold", "--ttl", "3s"})
	}()
	for range 2 { // applied, and renewed
		<-p.changed
	}
	interrupt()
	if code := <-done; code != ExitOK {
		t.Errorf("exit %d: %s", code, e.String())
	}
	if p.kind() != flow.NoPolicy || p.renewed < 1 || !strings.Contains(e.String(), "restored: nothing of it is left") {
		t.Errorf("renewed %d times, holds %v: %s", p.renewed, p.kind(), e.String())
	}
}

// What was put into force and is not proven is held as well, and taken back in the end.
func TestPolicyHoldUnproven(t *testing.T) {
	p := newHeldPod(t, "mesh")
	p.unproven = "no probe has a route"
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	var o, e bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, p.app(&o, &e, ""), []string{"policy", "block-all", "netns", "web", "--yes", "--hold", "--ttl", "3s"})
	}()
	for range 2 { // applied, and renewed
		select {
		case <-p.changed:
		case code := <-done:
			t.Fatalf("it ends with %d and leaves %v", code, p.kind())
		}
	}
	interrupt()
	if code := <-done; code != ExitNo || p.kind() != flow.NoPolicy || !strings.Contains(e.String(), "restored: nothing of it is left") {
		t.Errorf("exit %d, holds %v: %s", code, p.kind(), e.String())
	}
}

// Whoever restores what another holds is not overruled by the next renewal.
func TestPolicyHoldEnded(t *testing.T) {
	p := newHeldPod(t, "mesh")
	var o, e bytes.Buffer
	done := make(chan int)
	go func() {
		done <- Run(context.Background(), p.app(&o, &e, ""), []string{"policy", "block-all", "netns", "web", "--yes", "--hold", "--ttl", "3s"})
	}()
	<-p.changed
	if code, _, errs := p.ask("", "restore", "netns", "web", "--yes"); code != ExitOK {
		t.Errorf("restore: %s", errs)
	}
	if code := <-done; code != ExitUnknown || !strings.Contains(e.String(), "no policy is in force: somebody restored") || p.kind() != flow.NoPolicy {
		t.Errorf("exit %d: %s", code, e.String())
	}
}

// A driver without a lease is taken back by the command itself, at the end of the time and at
// an interrupt.
func TestPolicyForeground(t *testing.T) {
	files := demoFiles(t, "mesh")
	files["config_dump.json"] = bytes.Replace(files["config_dump.json"], []byte(`"bootstrap": {`), []byte(`"bootstrap": {"layered_runtime": {"layers": [{"name": "a", "admin_layer": {}}]},`), 1)
	files["runtime.json"] = []byte(`{"layers": ["a"], "entries": {}}`)
	for _, interrupted := range []bool{false, true} {
		p := newHeldPod(t, "mesh")
		p.Pod = saved.New("netns web", files)
		ctx, interrupt := context.WithCancel(context.Background())
		ttl := "20ms"
		if interrupted {
			ttl = "1h"
		}
		var o, e bytes.Buffer
		done := make(chan int)
		go func() {
			done <- Run(ctx, p.app(&o, &e, ""), []string{"policy", "block-all", "netns", "web", "--yes", "--driver", "runtime", "--ttl", ttl})
		}()
		<-p.changed
		if interrupted {
			interrupt()
		}
		<-p.changed
		if code := <-done; code != ExitOK || p.kind() != flow.NoPolicy || !strings.Contains(e.String(), "nothing else ends it") {
			t.Errorf("interrupted %v: exit %d, holds %v: %s", interrupted, code, p.kind(), e.String())
		}
		interrupt()
	}
}

// A question that nobody answers ends with an interrupt.
func TestPolicyQuestionInterrupted(t *testing.T) {
	p := newHeldPod(t, "mesh")
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	var o, e bytes.Buffer
	app := p.app(&o, &e, "")
	app.ErrTerminal, app.Stdin = true, blocked{}
	code := Run(ctx, app, []string{"policy", "block-all", "netns", "web"})
	if code != ExitUnknown || !strings.Contains(e.String(), "interrupted") || p.kind() != flow.NoPolicy {
		t.Errorf("exit %d: %s", code, e.String())
	}
}

// blocked is an input that nobody writes into.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }

func TestParseHole(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.96.0.10": "10.96.0.10", "10.96.0.10:53": "10.96.0.10:53", "[2001:db8::1]:443": "[2001:db8::1]:443", "2001:db8::1": "2001:db8::1",
		"2001:db8::/32": "2001:db8::/32", "::ffff:10.0.0.1": "10.0.0.1", "10.0.0.0/8:443": "10.0.0.0/8:443", "[2001:db8::/32]:443": "[2001:db8::/32]:443", "0.0.0.0/0:53": "0.0.0.0/0:53",
		"kubernetes.default:443": "kubernetes.default 443",
	} {
		h, host, err := parseHole(in)
		got := h.String()
		if host != "" {
			got = fmt.Sprint(host, " ", h.Port)
		}
		if err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", in, got, err, want)
		}
		if again, _, err := parseHole(h.String()); host == "" && (err != nil || again != h) {
			t.Errorf("%q is written %s, which reads %v, %v", in, h, again, err)
		}
	}
	for _, in := range []string{"", "dns", ":53", "10.0.0.1/8", "10.0.0.1/8:53", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:x", "fe80::1%eth0", "a b:1", "::ffff:10.0.0.0/104", "http://x:80"} {
		if h, host, err := parseHole(in); err == nil {
			t.Errorf("%q is %v %q", in, h, host)
		}
	}
}

// An object of Kubernetes is printed alone, so that it can be piped on; what there is to say about
// it is told beside it.
func TestPolicyPrintsObject(t *testing.T) {
	files := demoFiles(t, "mesh")
	files["pod.json"] = []byte(`{"metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web"}},"spec":{"containers":[]}}`)
	for driver, kind := range map[string]string{"sidecar": "Sidecar", "networkpolicy": "NetworkPolicy"} {
		p := &heldPod{Pod: saved.New("netns web", files), changed: make(chan struct{}, 10)}
		code, out, errs := p.ask("", "block-all", "netns", "web", "--dry-run", "--driver", driver)
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(out), &o); err != nil || code != ExitOK || o.Kind != kind || o.Metadata.Name != "meshtop-block-all-web-1" {
			t.Errorf("%s: exit %d, %v, %+v\n%s", driver, code, err, o, out)
		}
		if !strings.Contains(errs, "planned: nothing was changed") || !strings.Contains(strings.Join(strings.Fields(errs), " "), "how many is unknown without the cluster") {
			t.Errorf("%s is not explained: %s", driver, errs)
		}
	}
}

// A policy that is held is short unless it is said otherwise: if the holder is killed, it ends soon.
func TestPolicyHoldIsShort(t *testing.T) {
	for args, want := range map[string]time.Duration{"--hold": 30 * time.Second, "--hold --ttl 5m": 5 * time.Minute, "": 10 * time.Minute} {
		p := newHeldPod(t, "mesh")
		ctx, interrupt := context.WithCancel(context.Background())
		var o, e bytes.Buffer
		done := make(chan int)
		go func() {
			done <- Run(ctx, p.app(&o, &e, ""), append([]string{"policy", "block-all", "netns", "web", "--yes"}, strings.Fields(args)...))
		}()
		<-p.changed
		now, _ := p.Policy(context.Background())
		interrupt()
		<-done
		if now.Change.TTL != want {
			t.Errorf("%q: it lasts %v, not %v", args, now.Change.TTL, want)
		}
	}
}

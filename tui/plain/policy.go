package plain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/egress"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
)

var policyForms = []string{"text", "json"}

// policyOptions are the flags of policy.
type policyOptions struct {
	parts        parts
	out          output
	ttl, driver  string
	except       []string
	ask          egress.Ask
	dryRun, yes  bool
	full         bool
	controlplane string
	danger       string // the context that --danger names
}

func newPolicy(app *App) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{Use: "policy", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.policy(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.parts.register(f)
	o.out.register(f, policyForms...)
	f.StringVar(&o.ttl, "ttl", "10m", "how long it holds, or never")
	f.StringVar(&o.driver, "driver", "kernel", "kernel, runtime, xds, sidecar or networkpolicy")
	f.StringArrayVar(&o.except, "except", nil, "leave these destinations as they are: CIDR or HOST:PORT")
	f.StringVar(&o.ask.Reason, "reason", "", "why, for whoever finds it")
	f.BoolVar(&o.ask.Hold, "hold", false, "renew it while this command runs, and end it with it")
	f.BoolVar(&o.ask.Strong, "strong", false, "block the proxy's own connections and UDP too")
	f.BoolVar(&o.ask.CloseOpen, "close-open", false, "end the connections that are open")
	f.BoolVar(&o.ask.All, "all", false, "allow-all: send every connection around the proxy")
	f.BoolVar(&o.ask.PlaintextOK, "plaintext-ok", false, "allow-all: around the proxy's TLS and policies too")
	f.BoolVar(&o.ask.KeepHandoff, "keep-handoff", false, "xds: leave listeners without a socket as they are")
	f.StringVar(&o.controlplane, "controlplane", "", "xds: where meshtop controlplane is asked")
	f.BoolVar(&o.dryRun, "dry-run", false, "plan and change nothing")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.danger, "danger", "", "beside --yes: the context, where it is marked as dangerous")
	f.BoolVar(&o.full, "full", false, "read the whole configuration, however large")
	return cmd
}

// policyActions are what the verb does: show, and the policies.
var policyActions = []string{"show", "block-all", "allow-all", "restore"}

func (a *App) policy(cmd *cobra.Command, args []string, o *policyOptions) error {
	if len(args) == 0 {
		return usage("policy: do what? want %s and a TARGET", strings.Join(policyActions, ", "))
	}
	kind, ok := map[string]flow.PolicyKind{"show": flow.NoPolicy, "block-all": flow.BlockAll, "allow-all": flow.AllowAll, "restore": flow.Restore}[args[0]]
	if !ok {
		if near := nearest(args[0], policyActions); near != "" {
			return usage("unknown policy %q: was %s meant?", args[0], near)
		}
		return usage("unknown policy %q: want %s", args[0], strings.Join(policyActions, ", "))
	}
	o.ask.Kind = kind
	t, err := parseTarget(args[1:])
	if err != nil {
		return err
	}
	if err := firstError(o.out.check(policyForms...), o.parts.check(cmd.Flags()), o.check(a, cmd, t)); err != nil {
		return err
	}
	l, err := a.reach(cmd.Context(), t, &o.parts)
	if err != nil {
		return err
	}
	defer l.close()
	v := policyVerb{app: a, o: o, looked: l}
	if a.Steady != nil {
		defer a.Steady()()
	}
	switch kind {
	case flow.NoPolicy:
		return v.show(cmd.Context())
	case flow.Restore:
		return v.restore(cmd.Context())
	}
	return v.change(cmd.Context())
}

// check reads the flags and says which make no sense together.
func (o *policyOptions) check(a *App, cmd *cobra.Command, t target) error {
	if t.kind == "" && !(o.parts.given() && o.dryRun) {
		return usage("policy %s: of what? want pod NAME, netns NAME or pid N", o.ask.Kind)
	}
	var err error
	if o.ask.Driver, err = driverOf(o.driver); err != nil {
		return err
	}
	if err := o.lasts(cmd); err != nil {
		return err
	}
	for _, e := range o.except {
		if _, _, err := parseHole(e); err != nil {
			return usage("--except %q: %w", e, err)
		}
	}
	switch only := o.onlyFor(cmd); {
	case only != "":
		return usage("%s: of block-all and allow-all only", only)
	case o.controlplane != "" && o.ask.Driver != flow.XDS:
		return usage("--controlplane: of --driver xds only")
	case o.dryRun && o.ask.Kind == flow.NoPolicy:
		return usage("--dry-run: show changes nothing")
	case ofCluster(o.ask.Driver) && !t.ofCluster() && (!o.dryRun || o.ask.Kind == flow.Restore):
		return usage("--driver %s: its object belongs to a cluster: want pod NAME, or --dry-run, which prints it", o.ask.Driver)
	case o.changes() && !o.yes && !(a.InTerminal && a.ErrTerminal):
		return usage("policy %s changes a running pod: say --yes, or run it on a terminal and type the pod's name", o.ask.Kind)
	}
	return o.dares(a, t)
}

// dares says whether a change may be made where the target is. In a context that the user marked
// as dangerous --yes alone does not answer: it is what a script says everywhere.
func (o *policyOptions) dares(a *App, t target) error {
	if !o.changes() {
		return nil
	}
	context, p, marked, err := a.danger(t)
	switch {
	case err != nil:
		return err
	case o.danger != "" && o.danger != context:
		return usage("--danger %s: the context is %q: nothing was changed", o.danger, context)
	case marked && o.yes && o.danger == "":
		return usage("policy %s in the context %s, which is marked as dangerous (%s in line %d of %s): beside --yes say --danger %s, or type the pod's name on a terminal",
			o.ask.Kind, context, p.Text, p.Line, a.configPath(), context)
	}
	return nil
}

// ofCluster says whether a driver makes an object of Kubernetes.
func ofCluster(d flow.Driver) bool { return d == flow.Sidecar || d == flow.NetworkPolicy }

// changes says whether the verb is to change anything.
func (o *policyOptions) changes() bool { return o.ask.Kind != flow.NoPolicy && !o.dryRun }

// onlyFor is a flag that was given and means nothing for show and restore.
func (o *policyOptions) onlyFor(cmd *cobra.Command) string {
	if o.ask.Kind != flow.NoPolicy && o.ask.Kind != flow.Restore {
		return ""
	}
	for _, name := range []string{"ttl", "hold", "except", "strong", "all", "plaintext-ok", "keep-handoff", "close-open", "reason"} {
		restores := o.ask.Kind == flow.Restore && (name == "close-open" || name == "reason")
		if cmd.Flags().Changed(name) && !restores {
			return "--" + name
		}
	}
	return ""
}

// held is how long a policy lasts that is renewed, where nothing else is said: if the command is
// killed, it ends soon.
const held = "30s"

// lasts reads --ttl.
func (o *policyOptions) lasts(cmd *cobra.Command) error {
	if o.ask.Hold && !cmd.Flags().Changed("ttl") {
		o.ttl = held
	}
	if o.ttl == "never" {
		o.ask.Permanent = true
		return nil
	}
	d, err := time.ParseDuration(o.ttl)
	if err != nil {
		return usage("--ttl %q: want a time such as 10m, or never", o.ttl)
	}
	o.ask.TTL = d
	if d <= 0 && cmd.Flags().Changed("ttl") {
		return usage("--ttl %s: want a time above 0, such as 10m, or never", o.ttl)
	}
	return nil
}

func driverOf(word string) (flow.Driver, error) {
	var known []string
	for d := flow.Kernel; d <= flow.NetworkPolicy; d++ {
		if d.String() == word {
			return d, nil
		}
		known = append(known, d.String())
	}
	if near := nearest(word, known); near != "" {
		return 0, usage("--driver %s: was %s meant?", word, near)
	}
	return 0, usage("--driver %s: want %s", word, strings.Join(known, ", "))
}

// policyVerb is one run of the verb on an opened target.
type policyVerb struct {
	app    *App
	o      *policyOptions
	looked *looked
}

// enforcer is who carries policies out: the pod, or the control plane that serves it.
func (v *policyVerb) enforcer(ctx context.Context) (inspect.Enforcer, error) {
	if v.o.ask.Driver == flow.XDS {
		switch {
		case v.o.controlplane == "":
			return nil, usage("--driver xds: which control plane? want --controlplane PATH, where meshtop controlplane is asked (its --socket)")
		case v.app.Policies == nil:
			return nil, cannot(errors.New("--driver xds: this build has no control plane"))
		}
		e, err := v.app.Policies(v.o.controlplane)
		if err != nil {
			return nil, cannot(err)
		}
		return e, v.served(ctx, e)
	}
	e, err := session.Enforcer(v.looked.pod, v.o.ask.Driver)
	if errors.Is(err, inspect.ErrReadOnly) {
		return nil, v.cannot(fmt.Errorf("%w, so that its egress can only be planned (--dry-run)", err))
	}
	if err != nil {
		return nil, v.cannot(err)
	}
	return e, nil
}

// served refuses a control plane that serves another pod's Envoy. Where that cannot be told, nothing
// is put into force; what is in force is still shown and taken back.
func (v *policyVerb) served(ctx context.Context, e inspect.Enforcer) error {
	s, ok := e.(inspect.Server)
	if !ok {
		return nil
	}
	const part = "config_dump.json"
	if v.looked.reading.Files[part] == nil {
		if err := v.looked.read(ctx, inspect.Want{Parts: []string{part}, Full: v.o.full}); err != nil {
			return err
		}
	}
	mine, err := s.Serves(ctx, v.looked.reading.Files)
	switch {
	case err != nil && v.o.ask.Kind != flow.NoPolicy && v.o.ask.Kind != flow.Restore:
		return v.cannot(fmt.Errorf("it cannot be told whether the control plane at %s serves it: %w", v.o.controlplane, err))
	case err != nil:
		v.app.say(prefixed(v.looked.target, fmt.Errorf("it cannot be told whether the control plane at %s serves it: %w", v.o.controlplane, err)))
	case !mine:
		return v.cannot(fmt.Errorf("its Envoy does not have what the control plane at %s serves: that one serves another pod, or is not connected", v.o.controlplane))
	}
	return nil
}

// cannot is an error of the target with the exit status 3.
func (v *policyVerb) cannot(err error) error { return cannot(prefixed(v.looked.target, err)) }

func (v *policyVerb) show(ctx context.Context) error {
	if r, ok := v.looked.pod.(inspect.Recorder); ok && v.o.ask.Driver == flow.Kernel {
		p, err := r.Recorded(ctx)
		if err != nil {
			return v.cannot(err)
		}
		v.print(p)
		return status(ExitUnknown)
	}
	e, err := v.enforcer(ctx)
	if err != nil {
		return err
	}
	p, err := session.ShowPolicy(ctx, e)
	if err != nil {
		return v.cannot(err)
	}
	v.print(p)
	if p.State == flow.StateUnknown {
		return status(ExitNo)
	}
	return nil
}

func (v *policyVerb) restore(ctx context.Context) error {
	e, err := v.enforcer(ctx)
	if err != nil {
		return err
	}
	ask := v.o.ask
	ask.By, ask.Since = v.app.by(), time.Now()
	if v.o.dryRun {
		p, err := session.PlanRestore(ctx, e, ask)
		if err != nil {
			return v.cannot(err)
		}
		v.print(p)
		return nil
	}
	if err := v.confirm(ctx, ""); err != nil {
		return err
	}
	p, err := session.RestorePolicy(ctx, e, ask)
	if err != nil {
		return v.cannot(err)
	}
	v.print(p)
	return status(restored(p))
}

// restored is the exit status of a policy that was taken back.
func restored(p flow.Policy) int {
	if p.State == flow.StateNone {
		return ExitOK
	}
	return ExitNo
}

// change plans, asks, applies and holds.
func (v *policyVerb) change(ctx context.Context) error {
	c, err := v.plan(ctx)
	var around *egress.Around
	if v.o.dryRun && (err == nil || errors.As(err, &around)) {
		v.print(session.Planned(c))
	}
	if err != nil || v.o.dryRun {
		return err
	}
	e, err := v.enforcer(ctx)
	if err != nil {
		return err
	}
	if err := v.confirm(ctx, render.PolicyText(session.Planned(c), render.PolicyOptions{Target: v.looked.target.String()})); err != nil {
		return err
	}
	p, err := session.ApplyPolicy(ctx, e, c)
	if err != nil {
		return v.refused(err)
	}
	v.print(p)
	code := ExitNo
	if p.State == flow.StateApplied {
		code = ExitOK
	}
	return v.hold(ctx, e, p, code)
}

// refused is why a change was not carried out, with what to do next.
func (v *policyVerb) refused(err error) error {
	var held *inspect.Held
	if errors.As(err, &held) {
		return v.cannot(fmt.Errorf("%w (meshtop policy restore %s --driver %s)", err, v.looked.target, held.Policy.Change.Driver))
	}
	return v.cannot(err)
}

// hold stays while the policy needs somebody who ends it, or was asked to be held: one that is not
// proven too, which may be in force all the same.
func (v *policyVerb) hold(ctx context.Context, e inspect.Enforcer, p flow.Policy, code int) error {
	c := p.Change
	if !c.Hold && (c.Permanent || egress.Leased(c.Driver)) {
		return status(code)
	}
	if c.Hold {
		v.app.say(fmt.Errorf("holding it; interrupt to end it (without this command it ends by itself within %v)", c.TTL))
	} else {
		v.app.say(fmt.Errorf("nothing else ends it: staying for %v, then it is taken back; interrupt to take it back now", c.TTL))
	}
	back, err := session.HoldPolicy(ctx, e, p)
	if err != nil {
		return v.cannot(err)
	}
	if back.State != flow.StateNone {
		return v.cannot(fmt.Errorf("the policy was to be taken back, and its state is %s: %s", back.State, back.Why))
	}
	v.app.say(prefixed(v.looked.target, errors.New("restored: nothing of it is left")))
	return status(code)
}

// plan reads the pod and plans.
func (v *policyVerb) plan(ctx context.Context) (flow.Change, error) {
	if err := v.looked.read(ctx, inspect.Want{Full: v.o.full}); err != nil {
		return flow.Change{}, err
	}
	ask := v.o.ask
	ask.By, ask.Since = v.app.by(), time.Now()
	var err error
	if ask.Except, err = holes(ctx, v.looked.pod, v.looked.reading, v.o.except); err != nil {
		return flow.Change{}, err
	}
	progress := newProgress(v.app)
	r, c, err := session.PlanPolicy(ctx, v.looked.pod, v.looked.reading, ask, progress.tell)
	progress.clear()
	v.looked.reading = r
	var bad *egress.Mistake
	switch {
	case errors.As(err, &bad):
		return c, &failure{ExitUsage, err}
	case err != nil:
		return c, v.cannot(fmt.Errorf("policy %s: %w", ask.Kind, err))
	}
	return c, nil
}

// by is who asks, for whoever finds the policy.
func (a *App) by() string {
	who := ""
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if who == "" {
			who = a.env(name)
		}
	}
	if who == "" {
		who = "uid " + strconv.Itoa(os.Getuid())
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return who
}

// confirm asks for the pod's name on the terminal, below what would be done.
func (v *policyVerb) confirm(ctx context.Context, plan string) error {
	if v.o.yes {
		return nil
	}
	name := v.looked.target.name
	alarm := ""
	if context, _, marked, _ := v.app.danger(v.looked.target); marked { // its file was read before
		alarm = "DANGER: this is the context " + render.Clean(context) + "\n"
	}
	fmt.Fprintf(v.app.Stderr, "%s%sType %s to %s: ", plan, alarm, render.Clean(name), verbOf(v.o.ask.Kind))
	line, err := v.app.line(ctx)
	if err != nil {
		fmt.Fprintln(v.app.Stderr)
		return v.cannot(fmt.Errorf("nothing was changed: %w", err))
	}
	if strings.TrimSpace(line) != name {
		return v.cannot(fmt.Errorf("nothing was changed: %q is not its name", strings.TrimSpace(line)))
	}
	return nil
}

func verbOf(k flow.PolicyKind) string {
	if k == flow.Restore {
		return "restore it"
	}
	return "apply it"
}

// line reads one line of standard input; an interrupt does not wait for it.
func (a *App) line(ctx context.Context) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := bufio.NewReader(a.Stdin).ReadString('\n')
		done <- result{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", errInterrupted
	case r := <-done:
		return r.text, r.err
	}
}

// print gives the answer.
func (v *policyVerb) print(p flow.Policy) {
	if v.o.out.form == "json" {
		_, _ = v.app.Stdout.Write(render.PolicyJSON(p))
		return
	}
	if v.o.dryRun && ofCluster(p.Change.Driver) {
		// The object alone goes to standard output, as kubectl apply -f - takes it.
		fmt.Fprintln(v.app.Stdout, strings.Join(p.Change.Edits, "\n"))
		fmt.Fprint(v.app.Stderr, render.PolicyText(p, render.PolicyOptions{Target: v.looked.target.String(), Now: time.Now()}))
		return
	}
	fmt.Fprint(v.app.Stdout, render.PolicyText(p, render.PolicyOptions{Target: v.looked.target.String(), Now: time.Now(), Whole: v.o.dryRun}))
}

// Package plain is meshtop without a screen: verbs, flags, text for people and JSON for
// programs, and the exit status as the answer.
package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit statuses (docs/architecture.md, "Verbs and their answer").
const (
	ExitOK      = 0 // delivered, met, confirmed or done
	ExitNo      = 1 // refused, dropped, looped, not met, findings
	ExitUsage   = 2 // usage or bad input
	ExitUnknown = 3 // cannot tell, or the target cannot be opened
)

// App is what main wires: where to read and write, and what opens a target. A nil
// opener means that this build or system does not have it.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool // stdout is a terminal
	ErrTerminal    bool // stderr is one
	InTerminal     bool // stdin is one
	Version        string
	Name           string // as the user calls the program, such as "kubectl meshtop"; empty: meshtop

	// Netns and PID open a namespace of this machine; admin is where Envoy's admin interface
	// is, invalid: it is looked for.
	Netns func(ctx context.Context, name string, admin netip.AddrPort) (inspect.Pod, error)
	PID   func(ctx context.Context, pid int, admin netip.AddrPort) (inspect.Pod, error)
	// Cluster opens pods of a cluster; nil: this build has none.
	Cluster *Cluster
	// Policies asks the control plane that listens on a socket; nil: there is none.
	Policies func(socket string) (inspect.Enforcer, error)
	// ControlPlane reads what is to be served, and gives what serves it until its context ends. An
	// error of ControlPlane itself is one of the input.
	ControlPlane func(ControlPlane) (serve func(context.Context) error, err error)
	// Screens shows the screens until the user quits; nil: there are none.
	Screens func(ctx context.Context, opt tui.Options) error
	// Pick shows pods to choose one from; nil, or a nil answer: none was.
	Pick func(ctx context.Context, opt tui.Options, pods tui.Pods) (*inspect.Candidate, error)
	// Steady keeps a second interrupt from ending the program before done; nil: it cannot.
	Steady func() (done func())
	// Getenv reads the environment; nil: there is none.
	Getenv func(name string) string

	mapped []*archive.Mapped // files that the parts refer to
	root   *cobra.Command
	read   *config.Settings // of the user's file; nil: not read yet
	news   *news            // of a pod of a cluster; nil: there is none
}

// Cluster is what opens pods of a cluster.
type Cluster struct {
	// Register adds the flags that say which cluster is meant to those of a verb.
	Register func(*pflag.FlagSet)
	// Open opens the pod that kind ("pod", "deploy") and name mean. say is told what is done, also
	// later and from other goroutines; what is lasting is worth keeping, and the rest is replaced by
	// the next.
	Open func(ctx context.Context, kind, name string, say func(line string, lasting bool)) (inspect.Pod, error)
	// Configured says whether a cluster is configured at all; Pods lists its pods.
	Configured func() bool
	Pods       tui.Pods
	// Waiting are the ways on that are offered while an agent starts.
	Waiting []inspect.WayOn
	// CanI asks what the account may do with the pod that kind and name mean.
	CanI func(ctx context.Context, kind, name string) (flow.Rights, error)
}

// failure is an error with the exit status that it means.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit status %d", f.status)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// status is an answer that is no success, and no error either: nothing is printed.
func status(n int) error {
	if n == ExitOK {
		return nil
	}
	return &failure{status: n}
}

// usage is a mistake in the command line or the input.
func usage(format string, args ...any) error {
	return &failure{ExitUsage, fmt.Errorf(format, args...)}
}

// cannot is something that could not be done or told.
func cannot(err error) error { return &failure{ExitUnknown, err} }

// Run runs one command line and gives its exit status. Errors go to stderr, one sentence
// each, with nothing in them that a terminal acts on.
func Run(ctx context.Context, app App, args []string) int {
	out := &answer{w: app.Stdout}
	app.Stdout = out
	root := newRoot(&app)
	root.SetArgs(args)
	root.SetIn(app.Stdin)
	root.SetOut(app.Stdout)
	root.SetErr(app.Stderr)
	err := app.execute(ctx, root)
	if out.err != nil { // whatever the answer was, nobody has it
		err = cannot(brief("standard output", out.err))
	}
	if err == nil {
		return ExitOK
	}
	code := ExitUsage // what cobra itself finds wrong
	var f *failure
	if errors.As(err, &f) {
		code, err = f.status, f.err
	}
	app.say(err)
	return code
}

// answer is standard output, and remembers that what was written did not arrive: on a full
// disk an exit status of 0 beside an empty file would be no answer.
type answer struct {
	w   io.Writer
	err error
}

// Write writes on; the first error is the one that is told.
func (a *answer) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	if a.err == nil {
		a.err = err
	}
	return n, err
}

// say writes an error to stderr: a line for each that was joined, at most ten.
func (a *App) say(err error) {
	if err == nil {
		return
	}
	lines := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
	for i, line := range lines {
		if i == 10 {
			fmt.Fprintf(a.Stderr, "meshtop: and %d more like these\n", len(lines)-i)
			return
		}
		fmt.Fprintf(a.Stderr, "meshtop: %s\n", render.Clean(a.named(line)))
	}
}

func newRoot(app *App) *cobra.Command {
	root := &cobra.Command{
		Use: "meshtop", SilenceUsage: true, SilenceErrors: true,
		Args: cobra.ArbitraryArgs, DisableAutoGenTag: true, SuggestionsMinimumDistance: 2,
	}
	app.root = root
	attach := newAttach(app, root)
	root.AddCommand(attach, newTrace(app), newDiff(app), newCheck(app), newDemo(app), newDoctor(app), newSnapshot(app), newConfirm(app), newCapture(app), newPolicy(app), newControlPlane(app), newCanI(app), newConfig(app), newVersion(app), newCompletion(app, root))
	if app.Cluster != nil {
		for _, cmd := range append(root.Commands(), root) {
			if cmd.Flags().Lookup("admin") != nil || cmd.Name() == "can-i" { // it takes a target that is alive
				app.Cluster.Register(cmd.Flags())
			}
		}
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours says what is wrong with a shell's name
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{Use: "help [VERB]", Hidden: true, Args: cobra.MaximumNArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		return help(app, root, args)
	}})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(app.Stdout, app.usage(cmd)) })
	return root
}

func help(app *App, root *cobra.Command, args []string) error {
	cmd := root
	for _, a := range args {
		cmd = nil
		for _, c := range root.Commands() {
			if c.Name() == a {
				cmd = c
			}
		}
		if cmd == nil {
			return unknownVerb(root, a)
		}
	}
	fmt.Fprint(app.Stdout, app.usage(cmd))
	return nil
}

func newVersion(app *App) *cobra.Command {
	return &cobra.Command{Use: "version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		fmt.Fprintf(app.Stdout, "meshtop %s\n", render.Clean(app.Version))
		return nil
	}}
}

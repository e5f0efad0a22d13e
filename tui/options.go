package tui

import (
	"context"
	"io"
	"net/netip"
	"os/exec"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui/style"
)

// Options say what the screens are about and how they look.
type Options struct {
	Target string // as the user named it, such as "netns blue" or "demo mesh"
	Source Source // valid iff Opener is nil
	// Opener opens the target once the screens are shown. Nil: it is open.
	Opener *Opener
	// News is what the target tells by itself, also while it is being opened. Nil: nothing.
	News <-chan News
	// Request is traced as soon as the first reading is there; nil: the overview is shown.
	Request *flow.Request
	// Requests are further ones that are worth a look, such as a scene's.
	Requests []flow.Request
	// Command is how this target is named on a command line, such as "demo mesh", for the
	// equivalent command that screens show; empty: Target.
	Command string

	ASCII   bool
	NoColor bool
	NoMouse bool
	Theme   style.Theme
	Keys    Keys // zero: those that are built in
	// Context is the cluster's, as the user names it; empty: the target is of none. Danger says
	// whether the user marked a context as dangerous; nil: none is.
	Context string
	Danger  func(context string) bool

	// Copy gives text to the user's clipboard in the ways that the terminal itself is not; it may
	// take long. Nil: the terminal is the only way.
	Copy func(ctx context.Context, text string) Copied

	// Pager makes the command that shows a text, of which name is a file name that says what it is.
	// done is called when the command has ended, or could not be started. Nil: there is none.
	Pager func(name string, text []byte) (cmd *exec.Cmd, done func() error, err error)

	Input       io.Reader // nil: the terminal
	Output      io.Writer // nil: the terminal
	Environment []string  // nil: the process's own
}

// Copied is what became of a text that was to be copied.
type Copied struct {
	OSC52 bool   // the terminal is to be told by OSC 52, which not every terminal takes
	Tmux  bool   // it is in a buffer of tmux, which was asked to hand it to its own terminal
	File  string // it is in this file; empty: in none
	Why   string // why it is in a file, or is nowhere
}

// Source is where readings and traces come from. Its functions may take long; they are
// never called from Update or View.
type Source struct {
	// Read reads the pod. It returns what it could read even beside an error.
	Read func(ctx context.Context, progress func(inspect.Progress)) (Reading, error)
	// Trace traces over a reading, and brings more of it where the trace needs more.
	Trace func(ctx context.Context, in Reading, req flow.Request, progress func(inspect.Progress)) (Reading, flow.Trace, error)
	// Resolve looks up the name of a request's destination as the pod would. Nil: addresses only.
	Resolve func(ctx context.Context, in Reading, d request.Draft) (flow.Request, error)
	// Names asks what of a cluster stands behind addresses. Nil: nobody knows.
	Names func(ctx context.Context, in Reading, addrs []netip.Addr) (flow.Names, []inspect.Call)
	// Confirm watches the request's traffic until the watch's time is over or ctx ended, and
	// judges what was seen. Nil: it cannot be watched.
	Confirm func(ctx context.Context, in Reading, req flow.Request, w Watch) (Reading, confirm.Report, error)
	// Export writes packets that were seen, with their raw bytes, to a new file that only
	// its owner may read, and names it. Nil: nothing can be written.
	Export func(t flow.Trace, seen []flow.Observation, loss flow.Loss) (file string, err error)
	// Egress sees and changes the egress policy. Nil: the target has none.
	Egress *Egress
	// Gone is closed when the pod has ended for good. Nil: nobody tells.
	Gone <-chan struct{}
	// Successor names the pod that stands in its place by then. Nil: nobody can be asked.
	Successor func(ctx context.Context) (string, error)
}

// Watch is what a watch is to do and whom it tells. Its functions do not block.
type Watch struct {
	Send   bool // send the request once; else wait for one like it
	Ready  func()
	Seen   func(flow.Observation)
	Judged func(confirm.Report) // about once a second: how the trace stands so far
}

// Reading is one look at the pod.
type Reading struct {
	session.Reading      // its Taken is zero where it is not known
	Live            bool // of a running pod: reading again may bring something new
}

package plain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
)

// looked is a target that was opened and read.
type looked struct {
	app     *App
	target  target
	files   bool // some parts are files of their own
	pod     inspect.Pod
	reading session.Reading
}

// reach opens the target with the parts that are given as files. Who calls it closes
// what it gives.
func (a *App) reach(ctx context.Context, t target, p *parts) (*looked, error) {
	if p.at.IsValid() && !t.local() {
		return nil, usage("--admin: of netns and pid only: nothing else is asked")
	}
	files, err := p.read(ctx, a)
	if err != nil {
		return nil, err
	}
	l := &looked{app: a, target: t, files: len(files) > 0}
	if t.kind != "" {
		if l.pod, err = a.open(ctx, &l.target, p.at); err != nil {
			return nil, err
		}
	}
	l.pod = p.pod(files, l.pod)
	return l, nil
}

// look is reach, and reads the target.
func (a *App) look(ctx context.Context, t target, p *parts, want inspect.Want) (*looked, error) {
	l, err := a.reach(ctx, t, p)
	if err != nil {
		return nil, err
	}
	if err := l.read(ctx, want); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// read reads the target; what it could read is there even beside an error.
func (l *looked) read(ctx context.Context, want inspect.Want) error {
	progress := newProgress(l.app)
	want.Progress = progress.tell
	var err error
	l.reading, err = session.Read(ctx, l.pod, want)
	progress.clear()
	if err != nil {
		return l.readError(err)
	}
	return l.faults()
}

// faults tells what could not be understood whole. A broken file that somebody names on
// the command line is bad input; of a pod or a snapshot the trace goes on, as it does over
// what is only not modelled, and is Unknown where it matters.
func (l *looked) faults() error {
	var bad []string
	for _, g := range session.Faults(l.reading) {
		line := g.Part + ": " + g.Reason
		if l.files && g.Broken {
			bad = append(bad, line)
		} else {
			l.app.say(prefixed(l.target, errors.New(line)))
		}
	}
	if bad != nil {
		return usage("%s", strings.Join(bad, "\n"))
	}
	return nil
}

// readError gives an error of reading its status: what a file says wrong is bad input,
// what a running pod does not tell is something that cannot be told.
func (l *looked) readError(err error) error {
	var bad *session.BadPart
	if errors.As(err, &bad) && (l.files || l.target.kind == "file" || l.target.kind == "") {
		return &failure{ExitUsage, prefixed(l.target, err)}
	}
	return cannot(prefixed(l.target, err))
}

// prefixed puts the target before each line of an error.
func prefixed(t target, err error) error {
	if t.kind == "" {
		return err
	}
	name := t.String()
	if t.kind == "file" {
		name = t.name
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, name) {
			lines[i] = name + ": " + line
		}
	}
	return &sentence{strings.Join(lines, "\n"), err}
}

// sentence is an error in other words.
type sentence struct {
	text string
	err  error
}

func (s *sentence) Error() string { return s.text }

func (s *sentence) Unwrap() error { return s.err }

func (l *looked) close() {
	if l.pod != nil {
		if err := l.pod.Close(); err != nil {
			l.app.say(err)
		}
	}
}

// request is the draft with its name resolved and its container's uid looked up.
func (l *looked) request(ctx context.Context, r *requestFlags, d request.Draft) (flow.Request, error) {
	if r.container != "" {
		uid, gid, err := session.Container(l.reading, r.container)
		if err != nil {
			return d.Request, cannot(fmt.Errorf("--container: %w", err))
		}
		d.Request.UID, d.Request.GID = uid, gid
		if r.set("gid") {
			d.Request.GID = r.gid
		}
	}
	q, err := session.Resolve(ctx, l.pod, l.reading, d)
	if err != nil {
		return q, cannot(fmt.Errorf("--to: %w", err))
	}
	return q, r.families(&q)
}

// trace traces the request and keeps what was read on the way.
func (l *looked) trace(ctx context.Context, q flow.Request) (flow.Trace, error) {
	progress := newProgress(l.app)
	defer progress.clear()
	next, t, err := session.Trace(ctx, l.pod, l.reading, q, progress.tell)
	l.reading = next
	if err != nil {
		return t, cannot(prefixed(l.target, err))
	}
	return t, nil
}

// label says of the trace's addresses what of the cluster stands behind them.
func (l *looked) label(ctx context.Context, t flow.Trace) flow.Trace {
	l.reading, t = session.Label(ctx, l.pod, l.reading, t)
	return t
}

// text is the trace in words with a line on what it was made from.
func (l *looked) text(t flow.Trace, why bool) string {
	return render.Text(t, render.TextOptions{Snapshot: l.about(), Why: why})
}

// progress tells on a terminal's stderr what is read, on one line that goes away.
type progress struct {
	app   *App
	shown bool
	last  string
}

func newProgress(a *App) *progress { return &progress{app: a} }

func (p *progress) tell(g inspect.Progress) {
	if !p.app.ErrTerminal {
		return
	}
	p.show(fmt.Sprintf("reading %s  %s", render.Clean(g.Part), render.Bytes(g.Bytes)))
}

// say tells a line: one that lasts always, another only on a terminal, until the next.
func (p *progress) say(line string, lasting bool) {
	switch {
	case lasting:
		p.clear()
		p.app.say(errors.New(line))
	case p.app.ErrTerminal:
		p.show(render.Clean(line))
	}
}

func (p *progress) show(line string) {
	if line == p.last && p.shown {
		return
	}
	p.last, p.shown = line, true
	fmt.Fprintf(p.app.Stderr, "\r\x1b[Kmeshtop: %s", line)
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.app.Stderr, "\r\x1b[K")
		p.shown = false
	}
}

// about is one line on what was read.
func (l *looked) about() string {
	name := l.pod.Name()
	return render.Snapshot(name, l.reading.Snapshot.Meta.Taken, l.reading.Files)
}

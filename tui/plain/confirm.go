package plain

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/spf13/cobra"
)

var confirmForms = []string{"text", "json"}

// confirmOptions are the flags of confirm.
type confirmOptions struct {
	request requestFlags
	parts   parts
	out     output
	send    bool
	watch   time.Duration
}

func newConfirm(app *App) *cobra.Command {
	var o confirmOptions
	cmd := &cobra.Command{Use: "confirm", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.confirm(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.request.register(f)
	o.parts.register(f)
	o.out.register(f, confirmForms...)
	f.BoolVar(&o.send, "send", false, "make the request, once, from inside the pod")
	f.DurationVar(&o.watch, "watch", session.DefaultWatch, "how long to wait for traffic")
	return cmd
}

func (a *App) confirm(cmd *cobra.Command, args []string, o *confirmOptions) error {
	if err := firstError(o.out.check(confirmForms...), o.parts.check(cmd.Flags())); err != nil {
		return err
	}
	if o.watch <= 0 {
		return usage("--watch %v: want a time above 0, such as 30s", o.watch)
	}
	l, q, err := a.requested(cmd, args, &o.request, &o.parts, inspect.Want{})
	if err != nil {
		return err
	}
	defer l.close()
	next, r, err := session.Confirm(cmd.Context(), l.pod, l.reading, q, session.ConfirmOptions{Send: o.send, Watch: o.watch, Ready: func() {
		if live := l.target.kind != "file" && l.target.kind != "demo"; !o.send && live {
			a.say(fmt.Errorf("watching for %v; interrupt to judge what was seen so far", o.watch))
		}
	}})
	l.reading = next
	switch {
	case errors.Is(err, inspect.ErrReadOnly):
		return cannot(prefixed(l.target, fmt.Errorf("confirm: %w, and this one holds no capture", err)))
	case err != nil:
		return cannot(prefixed(l.target, err))
	}
	r.Trace = l.label(cmd.Context(), r.Trace)
	if o.out.form == "json" {
		_, _ = a.Stdout.Write(render.ReportJSON(r))
	} else {
		fmt.Fprint(a.Stdout, render.ReportText(r))
	}
	return status(wordStatus(r.Word))
}

// wordStatus is the exit status that a report's word means.
func wordStatus(w confirm.Word) int {
	switch w {
	case confirm.Confirmed:
		return ExitOK
	case confirm.Contradicted:
		return ExitNo
	}
	return ExitUnknown
}

// captureOptions are the flags of capture.
type captureOptions struct {
	request requestFlags
	parts   parts
	write   string
	watch   time.Duration
	packets int
	snaplen int
}

func newCapture(app *App) *cobra.Command {
	var o captureOptions
	cmd := &cobra.Command{Use: "capture", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		return app.capture(cmd, args, &o)
	}}
	f := cmd.Flags()
	o.request.register(f)
	o.parts.register(f)
	f.StringVarP(&o.write, "write", "w", "", "where to: FILE.pcapng, or - for standard output")
	f.DurationVar(&o.watch, "watch", 0, "how long; 0: until interrupted")
	f.IntVar(&o.packets, "count", 0, "end after so many packets; 0: no bound")
	f.IntVar(&o.snaplen, "snaplen", 0, "bytes kept of each packet, its payload too; 0: its headers alone")
	return cmd
}

func (a *App) capture(cmd *cobra.Command, args []string, o *captureOptions) error {
	switch {
	case o.write == "":
		return usage("capture: where to? want -w FILE.pcapng, or -w - for standard output")
	case o.watch < 0 || o.packets < 0 || o.snaplen != 0 && o.snaplen < 64 || o.snaplen > 65535:
		return usage("capture: want --watch and --count of 0 or more, and --snaplen 0 (headers) or from 64 to 65535")
	case o.write == "-" && a.Terminal:
		return usage("capture: -w - would write packets to the terminal; want a file or a pipe")
	}
	if err := o.parts.check(cmd.Flags()); err != nil {
		return err
	}
	l, q, err := a.requested(cmd, args, &o.request, &o.parts, inspect.Want{})
	if err != nil {
		return err
	}
	defer l.close()
	w, done, err := a.create(o.write)
	if err != nil {
		return cannot(err)
	}
	loss, err := session.Capture(cmd.Context(), l.pod, l.reading, q, w, session.CaptureOptions{Watch: o.watch, Packets: o.packets, Snaplen: o.snaplen,
		Program: "meshtop " + a.Version, Ready: func() { a.say(fmt.Errorf("capturing")) }})
	if err = errors.Join(err, done()); err != nil {
		return cannot(prefixed(l.target, fmt.Errorf("capture: %w", err)))
	}
	a.say(fmt.Errorf("%d packets, %d dropped", loss.Seen, loss.Dropped))
	for _, b := range loss.Blind {
		a.say(fmt.Errorf("not everything was seen: %s: %s", b.Part, b.Reason))
	}
	return nil
}

// create opens a new file that only its owner may read: packets can hold secrets. The file
// is taken away again if nothing was written to it.
func (a *App) create(name string) (io.Writer, func() error, error) {
	if name == "-" {
		return struct{ io.Writer }{a.Stdout}, func() error { return nil }, nil // what stood there before is not ours to cut
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return f, func() error {
		if st, err := f.Stat(); err == nil && st.Size() == 0 {
			_ = os.Remove(name)
		}
		return f.Close()
	}, nil
}

package plain

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/tui"
	"github.com/spf13/pflag"
)

// screened runs a command line whose screens are the function.
func screened(app App, line string, screens func(ctx context.Context, opt tui.Options) error) (int, string) {
	var errs bytes.Buffer
	app.Terminal, app.Stdin, app.Stdout, app.Stderr, app.Screens = true, strings.NewReader(""), new(bytes.Buffer), &errs, screens
	code := Run(context.Background(), app, strings.Fields(line))
	return code, errs.String()
}

// The screens open their target themselves, again and by other flags; what another way was
// opened by is not kept for the next, and what the command line said is.
func TestScreensOpenTheTarget(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "x.rules")
	if err := os.WriteFile(rules, []byte("*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var at []string
	app := App{Netns: func(_ context.Context, name string, admin netip.AddrPort) (inspect.Pod, error) {
		at = append(at, name+" "+admin.String())
		return saved.New("netns "+name, nil), nil
	}}
	code, said := screened(app, "netns x --admin 7777 --to 10.0.0.1:80", func(ctx context.Context, opt tui.Options) error {
		if len(at) > 0 {
			t.Error("it was opened before the screens were shown")
		}
		open := func(flags ...inspect.Flag) tui.Opened {
			o, err := opt.Opener.Open(ctx, tui.Opening{Flags: flags})
			if err != nil {
				t.Errorf("%v: %v", flags, err)
			}
			return o
		}
		o := open()
		if o.Target != "netns x" || o.Command != "netns x" || o.Request == nil || o.Request.Dst.String() != "10.0.0.1:80" {
			t.Errorf("opened %+v", o)
		}
		open(inspect.Flag{Name: "admin", Value: "8888"})
		r, err := open(inspect.Flag{Name: "iptables", Value: rules}).Source.Read(ctx, nil)
		if err != nil || !strings.Contains(string(r.Files["iptables-save"]), "ACCEPT") {
			t.Errorf("%v, rules %q", err, r.Files["iptables-save"])
		}
		if r, _ := open().Source.Read(ctx, nil); r.Files["iptables-save"] != nil {
			t.Error("a file of another way was kept")
		}
		for _, wrong := range []inspect.Flag{{Name: "iptables", Value: rules + "x"}, {Name: "admin", Value: "nowhere"}, {Name: "nonsense", Value: "x"}} {
			if _, err := opt.Opener.Open(ctx, tui.Opening{Flags: []inspect.Flag{wrong}}); err == nil {
				t.Errorf("--%s %s is taken", wrong.Name, wrong.Value)
			}
		}
		open()
		return nil
	})
	want := "x 127.0.0.1:7777,x 127.0.0.1:8888,x 127.0.0.1:7777,x 127.0.0.1:7777,x 127.0.0.1:7777"
	if got := strings.Join(at, ","); code != 0 || said != "" || got != want {
		t.Errorf("exit %d, %q, opened at\n%s, want\n%s", code, said, got, want)
	}
}

// A target that could not be opened on screens has the exit status that it has without.
func TestScreensThatOpenNothing(t *testing.T) {
	app := App{Netns: func(context.Context, string, netip.AddrPort) (inspect.Pod, error) {
		return nil, errors.New("no such namespace")
	}}
	code, said := screened(app, "netns x", func(ctx context.Context, opt tui.Options) error {
		_, err := opt.Opener.Open(ctx, tui.Opening{})
		return err
	})
	if code != ExitUnknown || said != "meshtop: no such namespace\n" {
		t.Errorf("exit %d, %q", code, said)
	}
}

// Whoever wants another pod chooses it, and begins anew with the flags of the command line.
func TestChooseAnother(t *testing.T) {
	var opened []string
	via, space := "", ""
	app := App{InTerminal: true, Cluster: &Cluster{
		Register:   func(f *pflag.FlagSet) { f.StringVar(&via, "via", "", "") },
		Configured: func() bool { return true }, Pods: tui.Pods{Use: func(_, namespace string) { space = namespace }},
		CanI: func(context.Context, string, string) (flow.Rights, error) { return flow.Rights{}, nil },
		Open: func(_ context.Context, kind, name string, _ func(string, bool)) (inspect.Pod, error) {
			opened = append(opened, space+" "+kind+" "+name+" "+via)
			return saved.New(kind+" "+name, nil), nil
		}},
		Pick: func(context.Context, tui.Options, tui.Pods) (*inspect.Candidate, error) {
			return &inspect.Candidate{Namespace: "shop", Name: "b"}, nil
		}}
	n := 0
	code, said := screened(app, "pod a", func(ctx context.Context, opt tui.Options) error {
		n++
		if !opt.Opener.Others || opt.Opener.Rights == nil {
			t.Errorf("the opener is %+v", opt.Opener)
		}
		how := tui.Opening{}
		if n == 1 {
			how.Flags = []inspect.Flag{{Name: "via", Value: "exec"}}
		}
		if _, err := opt.Opener.Open(ctx, how); err != nil {
			t.Error(err)
		}
		if n == 1 {
			return tui.ErrChoose
		}
		return nil
	})
	if got := strings.Join(opened, ","); code != 0 || said != "" || got != " pod a exec,shop pod b " {
		t.Errorf("exit %d, %q, opened %q", code, said, got)
	}
}

// Command meshtop shows which way a request takes through a pod.
package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/charmbracelet/x/term"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/kube"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/xds"
	"github.com/meshtop/meshtop/tui"
	"github.com/meshtop/meshtop/tui/plain"
)

// image is the agent's container image where --image names none: -ldflags "-X main.image=..."
// sets it for a build that has one of its own.
var image string

func main() {
	collectLate()
	cluster := kube.NewFlags(image)
	cluster.Bootstrap = xds.Dump
	ctx, stop := context.WithCancel(context.Background())
	var in interrupts
	in.follow(stop)
	stderr := os.Stderr
	said := overhear()
	app := plain.App{
		Name:  plugin(os.Args[0]),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: stderr,
		Terminal: terminal(os.Stdout), ErrTerminal: terminal(stderr), InTerminal: terminal(os.Stdin),
		Version: plain.BuildVersion(), Getenv: os.Getenv, Steady: in.steady,
		Screens: func(ctx context.Context, opt tui.Options) error {
			cluster.LeaveInput()
			news, over := said.hold(opt.News)
			defer over()
			opt.News = news
			return tui.Run(ctx, opt)
		},
		Pick: func(ctx context.Context, opt tui.Options, pods tui.Pods) (*inspect.Candidate, error) {
			cluster.LeaveInput()
			news, over := said.hold(opt.News)
			defer over()
			opt.News = news
			return tui.Pick(ctx, opt, pods)
		},
		Netns: func(_ context.Context, name string, admin netip.AddrPort) (inspect.Pod, error) {
			return local.Named(name, local.Options{Admin: admin})
		},
		PID: func(_ context.Context, pid int, admin netip.AddrPort) (inspect.Pod, error) {
			return local.OfPid(pid, local.Options{Admin: admin})
		},
		Cluster: &plain.Cluster{Register: cluster.Register, Open: cluster.Open, CanI: cluster.CanI, Configured: cluster.Configured, Waiting: kube.Waiting(), Pods: tui.Pods{
			Where: cluster.Where, Contexts: cluster.Contexts, Use: cluster.Use, List: cluster.List, Namespaces: cluster.Namespaces,
		}},
		Policies: func(socket string) (inspect.Enforcer, error) { return xds.Dial(ctx, socket) },
		ControlPlane: func(o plain.ControlPlane) (func(context.Context) error, error) {
			reload := in.reloads()
			return xds.Open(xds.RunOptions(o), reload)
		},
	}
	code := plain.Run(ctx, app, os.Args[1:])
	stop()
	said.close()
	os.Exit(code)
}

// plugin is how the user calls the program where it is one of kubectl's plugins, which are
// files kubectl-NAME in PATH.
func plugin(arg0 string) string {
	if strings.TrimSuffix(filepath.Base(arg0), ".exe") == "kubectl-meshtop" {
		return "kubectl meshtop"
	}
	return ""
}

// collectLate lets the heap grow to 16 MB before the first garbage collection, instead of 4: most
// verbs make less than that, and one collection is a sixth of the time of a trace. From the first
// one on the collector is Go's own.
func collectLate() {
	if os.Getenv("GOGC") != "" {
		return
	}
	usual := debug.SetGCPercent(400)
	runtime.SetFinalizer(&struct{ p *int }{new(int)}, func(*struct{ p *int }) { debug.SetGCPercent(usual) })
}

// terminal says whether f is one. TERM=dumb and an empty TERM have no screen to draw on.
func terminal(f *os.File) bool {
	kind := os.Getenv("TERM")
	return term.IsTerminal(f.Fd()) && kind != "" && kind != "dumb"
}

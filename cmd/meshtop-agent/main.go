//go:build linux

// Command meshtop-agent runs in a pod. hold stays there and keeps what was promised; serve
// answers one client on its standard input and output.
package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/inspect/local"
	"github.com/spf13/cobra"
)

// socket is where hold listens: /dev is a small file system of the container's own, and can
// be written to even where its root cannot.
const socket = "/dev/meshtop-agent"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{
		Use: "meshtop-agent", Short: "The part of meshtop that runs in a pod.",
		Version: version(), SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newHold(), newServe(), newUnpack())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "meshtop-agent:", err)
		os.Exit(2)
	}
}

func newHold() *cobra.Command {
	var path string
	var idle time.Duration
	var told target
	c := &cobra.Command{
		Use: "hold", Short: "Stay until nobody was here for a while, and keep what was promised.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pod, err := told.open()
			if err != nil {
				return err
			}
			defer pod.Close()
			return hold(cmd.Context(), pod, path, idle, told.uid != "")
		},
	}
	c.Flags().StringVar(&path, "socket", socket, "where serve finds it")
	told.register(c)
	c.Flags().DurationVar(&idle, "idle", 10*time.Minute, "end after so long without a client and without a promise; 0: never")
	return c
}

func newServe() *cobra.Command {
	var path string
	var told target
	c := &cobra.Command{
		Use: "serve", Short: "Answer one client on standard input and output.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pod, err := told.open()
			if err != nil {
				return err
			}
			defer pod.Close()
			return serve(cmd.Context(), pod, path)
		},
	}
	c.Flags().StringVar(&path, "socket", socket, "where hold listens")
	told.register(c)
	return c
}

// target is the pod that is meant, as its cluster told it.
type target struct {
	addrs          []string
	uid, container string
	tools          string
}

func (t *target) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&t.addrs, "pod-ip", nil, "an address of the pod, by which its namespace is known; not for a pod on its node's network")
	c.Flags().StringVar(&t.uid, "pod-uid", "", "look from the node, at the pod with this UID; empty: this runs in the pod")
	c.Flags().StringVar(&t.container, "container", "", "with --pod-uid: the ID of the container whose files count")
	c.Flags().StringVar(&t.tools, "tools", "", "where unpack put the tools that are to be used")
}

// open opens the pod's namespace: that which this runs in, or one of the node.
func (t *target) open() (*local.Pod, error) {
	if err := useTools(t.tools); err != nil {
		return nil, err
	}
	var opt local.Options
	for _, s := range t.addrs {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--pod-ip: %w", err)
		}
		opt.PodAddrs = append(opt.PodAddrs, a)
	}
	if t.uid != "" {
		return local.OfPodUID(t.uid, t.container, opt)
	}
	return local.Own(opt)
}

// version is the build's: a module version, or a revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "(devel)" {
			v = s.Value[:12]
		}
	}
	return v
}

//go:build linux

// Command meshtop-agent runs in a pod. hold stays there and keeps what was promised; serve
// answers one client on its standard input and output.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

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
	root.AddCommand(newHold(), newServe())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "meshtop-agent:", err)
		os.Exit(2)
	}
}

func newHold() *cobra.Command {
	var path string
	var idle time.Duration
	c := &cobra.Command{
		Use: "hold", Short: "Stay until nobody was here for a while, and keep what was promised.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return hold(cmd.Context(), path, idle) },
	}
	c.Flags().StringVar(&path, "socket", socket, "where serve finds it")
	c.Flags().DurationVar(&idle, "idle", 10*time.Minute, "end after so long without a client and without a promise; 0: never")
	return c
}

func newServe() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "serve", Short: "Answer one client on standard input and output.", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), path) },
	}
	c.Flags().StringVar(&path, "socket", socket, "where hold listens")
	return c
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

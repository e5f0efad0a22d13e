// Command lab brings a scene up on this machine for a person: a pod in a network namespace,
// the services it calls in another, a real Envoy, and rules in the kernel.
//
//	go run ./e2e/lab up mesh       prints what to type next
//	go run ./e2e/lab down
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
)

const usage = `usage: go run ./e2e/lab up [-backend nft|legacy] [-name mt-NAME] SCENE
       go run ./e2e/lab down [NAME]      NAME: as list prints it; without: all of them
       go run ./e2e/lab list             scenes, and labs that are up
It needs root.

  go run ./e2e/lab up mesh
  go run ./e2e/lab down`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(2)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("no verb given\n%s", usage)
	}
	switch args[0] {
	case "up", "hold":
		opt, err := options(args[1:])
		if err != nil {
			return err
		}
		if args[0] == "hold" {
			return hold(opt, out)
		}
		return up(opt, args[1:], out)
	case "down":
		return down(args[1:], out)
	case "list":
		return list(out)
	}
	return fmt.Errorf("no verb %q\n%s", args[0], usage)
}

func options(args []string) (lab.Options, error) {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	backend := f.String("backend", string(lab.NFT), "")
	name := f.String("name", "", "")
	if err := f.Parse(args); err != nil {
		return lab.Options{}, fmt.Errorf("%w\n%s", err, usage)
	}
	if f.NArg() != 1 {
		return lab.Options{}, fmt.Errorf("up needs one scene of %s", strings.Join(scenes.Names(), ", "))
	}
	opt := lab.Options{Scene: f.Arg(0), Backend: lab.Backend(*backend), Name: *name}
	if opt.Name == "" {
		opt.Name = "mt-" + opt.Scene
	}
	return opt, nil
}

// up starts a process that holds the lab, and waits until it says that all is there.
func up(opt lab.Options, args []string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"hold"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var trouble strings.Builder
	cmd.Stderr = &trouble
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != ready {
		cmd.Wait()
		return errors.New(strings.TrimPrefix(strings.TrimSpace(trouble.String()), "lab: "))
	}
	next(opt, out)
	return nil
}

// ready is what the holder says once the lab is up.
const ready = "up"

// hold brings the lab up, says so, and takes it down when it is asked to end.
func hold(opt lab.Options, out io.Writer) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	l, err := lab.Up(opt)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, ready)
	<-stop
	return l.Close()
}

// next says what can be done with the lab.
func next(opt lab.Options, out io.Writer) {
	s, err := scenes.Named(opt.Scene)
	if err != nil {
		return
	}
	pod := opt.Name + "-pod"
	fmt.Fprintf(out, "%s is up (iptables-%s): %s\n\n", opt.Scene, opt.Backend, s.About)
	fmt.Fprintf(out, "  pod %s (10.244.1.7, Envoy uid 1337), outside %s-out (10.244.1.1)\n  rules\n", pod, opt.Name)
	for _, r := range s.Rules {
		fmt.Fprintf(out, "    %s\n", r)
	}
	fmt.Fprintf(out, "  Envoy's configuration and logs: %s\n\ntype next\n", lab.Folder(opt.Name))
	two := []scenes.Case{s.Cases[0], s.Cases[len(s.Cases)/2]}
	for _, c := range two {
		fmt.Fprintf(out, "  go run . trace netns %s --to %s%s\n", pod, c.Request.Dst, flags(c))
	}
	fmt.Fprintf(out, "  go run . attach netns %s\n", pod)
	for _, c := range two {
		fmt.Fprintf(out, "  %s\n", curl(opt.Name, c))
	}
	fmt.Fprintf(out, "  go run ./e2e/lab down %s\n", opt.Name)
}

func flags(c scenes.Case) string {
	var b strings.Builder
	if c.Request.Dir.String() == "inbound" {
		b.WriteString(" --inbound")
	}
	if c.Request.UID != 0 {
		fmt.Fprintf(&b, " --uid %d", c.Request.UID)
	}
	if h := c.Request.HTTP; h != nil {
		if h.Method != "GET" {
			fmt.Fprintf(&b, " -X %s", h.Method)
		}
		if h.Path != "/" {
			fmt.Fprintf(&b, " --path '%s'", h.Path)
		}
		fmt.Fprintf(&b, " --authority '%s'", h.Authority)
		for _, kv := range h.Headers {
			fmt.Fprintf(&b, " -H '%s: %s'", kv[0], kv[1])
		}
	}
	return b.String()
}

// curl is the same request by hand.
func curl(name string, c scenes.Case) string {
	r := c.Request
	where, who := "-pod", fmt.Sprintf("setpriv --reuid %d --regid %d --clear-groups ", r.UID, r.GID)
	if r.Dir.String() == "inbound" {
		where, who = "-out", ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "ip netns exec %s%s %scurl -sS -i", name, where, who)
	path := "/"
	if h := r.HTTP; h != nil {
		path = h.Path
		switch h.Method {
		case "GET":
		case "HEAD":
			b.WriteString(" -I")
		default:
			fmt.Fprintf(&b, " -X %s", h.Method)
		}
		fmt.Fprintf(&b, " -H 'Host: %s'", h.Authority)
		for _, kv := range h.Headers {
			fmt.Fprintf(&b, " -H '%s: %s'", kv[0], kv[1])
		}
	}
	fmt.Fprintf(&b, " 'http://%s%s'", r.Dst, path)
	return b.String()
}

// down ends the holders, each of which takes its lab down, and what dead ones left.
func down(names []string, out io.Writer) error {
	all, err := lab.List()
	if err != nil {
		return err
	}
	found := 0
	for _, e := range all {
		if len(names) > 0 && names[0] != e.Name || !e.Alive || !holds(e.PID) {
			continue
		}
		found++
		if err := end(e.PID); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		fmt.Fprintf(out, "%s is down\n", e.Name)
	}
	if found == 0 && len(names) > 0 {
		return fmt.Errorf("no lab %q is up", names[0])
	}
	return lab.Sweep()
}

// holds says whether a process is a holder that `up` started: a test's own lab is the test's.
func holds(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(line), "\x00")
	return err == nil && len(args) > 1 && args[1] == "hold"
}

// end asks a process to end, and waits until it has.
func end(pid int) error {
	fd, err := pidfdOpen(pid)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	return awaitEnd(fd)
}

func list(out io.Writer) error {
	for _, n := range scenes.Names() {
		s, err := scenes.Named(n)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-15s %s\n", n, s.About)
	}
	all, err := lab.List()
	if err != nil {
		return err
	}
	for _, e := range all {
		state := "up"
		if !e.Alive {
			state = "dead: down takes it away"
		}
		fmt.Fprintf(out, "\nlab %s, pod %s-pod, process %d: %s\n", e.Name, e.Name, e.PID, state)
	}
	return nil
}

package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect/agent"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/flow"
)

// order is what the client's process is told to do, one a line.
type order struct {
	Do   string // apply, renew, restore
	TTL  time.Duration
	Hold bool
}

const (
	envClient = "MESHTOP_TEST_CLIENT" // the agent's path: this process is a client
	envSpace  = "MESHTOP_TEST_SPACE"  // the pod's namespace
	envSocket = "MESHTOP_TEST_SOCKET" // where hold listens
)

// beClient starts `serve` in the pod, says "ready PID", and does what it is told.
func beClient() error {
	space, err := netns.Named(os.Getenv(envSpace))
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Getenv(envClient), "serve", "--socket", os.Getenv(envSocket))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := space.Do(cmd.Start); err != nil {
		return err
	}
	pod, err := agent.Dial(context.Background(), stream{out, in}, agent.DialOptions{})
	if err != nil {
		return err
	}
	fmt.Println("ready", cmd.Process.Pid)
	orders := json.NewDecoder(os.Stdin)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			return errors.Join(pod.Close(), cmd.Wait())
		}
		if err := carryOut(pod, o); err != nil {
			fmt.Println("failed", err)
			continue
		}
		fmt.Println("done")
	}
}

func carryOut(pod *agent.Pod, o order) error {
	ctx := context.Background()
	if o.Do == "renew" {
		return pod.Renew(ctx, o.TTL)
	}
	c := flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, TTL: o.TTL, Hold: o.Hold, By: "e2e", Since: time.Now(),
		ProxyUIDs: []uint32{lab.EnvoyUID}, ProxyGIDs: []uint32{lab.EnvoyUID}}
	if o.Do == "restore" {
		c = flow.Change{Kind: flow.Restore, Driver: flow.Kernel, By: "e2e", Since: time.Now()}
	}
	c.Edits, c.Undo = edits.Of(c)
	_, err := pod.Apply(ctx, c)
	return err
}

// client is a client's process with its `serve`.
type client struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	serve int // pid
}

func startClient(t *testing.T, l *lab.Lab, socket string) *client {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), envClient+"="+built(t), envSpace+"="+l.Pod(), envSocket+"="+socket)
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		_ = c.cmd.Wait()
	})
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "ready %d", &c.serve); err != nil {
		t.Fatalf("the client said %q", line)
	}
	return c
}

// tell gives an order and does not wait.
func (c *client) tell(t *testing.T, o order) {
	t.Helper()
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		t.Fatal(err)
	}
}

// ask gives an order and waits until it is carried out.
func (c *client) ask(t *testing.T, o order) {
	t.Helper()
	c.tell(t, o)
	if line, err := c.out.ReadString('\n'); err != nil || line != "done\n" {
		t.Fatalf("%s: %q, %v", o.Do, line, err)
	}
}

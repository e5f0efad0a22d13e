package kube

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/exec"
)

// Where a delivered agent lies: /dev is in memory, belongs to the container alone, and is the one
// place that can be written to and executed from where the root can only be read (/dev/shm has
// noexec). It holds 64 MB (containerd's pkg/oci, CRI-O's the same).
const (
	deliveredAgent = "/dev/meshtop-agent.bin"
	deliveredTools = "/dev/meshtop-tools"
)

// The scripts need sh, cat, chmod and sleep of the image, and sha256sum where it is there. Each says
// at its end what it was told or has read: a stream that breaks may look like a good end.
const (
	// waits until all has come, as long as deliverTime allows, and becomes the agent: it looks ten
	// times a second for the first minute, then once. $1 is the sum of what will have come: a
	// container with it in its command is known by that.
	waits = `n=0; s=0.1; while [ ! -e /dev/meshtop-ready ]; do n=$((n+1)); [ $n -lt 600 ] || s=1; [ $n -lt 850 ] || exit 1; sleep $s || exit 1; done; shift; exec "$0" "$@"`
	// Where the agent runs already another client has sent it: it cannot be written to.
	takes = `umask 077; if [ -S /dev/meshtop-agent ]; then cat >/dev/null; else cat >"$0" && chmod 700 "$0"; fi && if command -v sha256sum >/dev/null; then sha256sum <"$0"; fi`
	ready = `: >/dev/meshtop-ready; n=0; while [ ! -S /dev/meshtop-agent ]; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.1 || exit 1; done; echo "$0"`
)

// form is a way in which an agent is there: in its own image, or delivered into another.
type form struct {
	image       string // as it was asked for; empty: any
	hold, serve []string
	sends       *payload // nil: it is in the image
}

// forms are the ways in which an agent for the pod may be there already: one for each
// architecture where it is delivered.
func (c *cluster) forms(o *v1.Pod) []form {
	args := agentArgs
	if c.via == viaNode {
		args = nodeArgs
	}
	if c.payloads == nil {
		return []form{{image: c.image, hold: args("hold", o), serve: args("serve", o)}}
	}
	var out []form
	for i := range c.payloads {
		p := &c.payloads[i]
		f := form{image: c.image, sends: p, hold: args("hold", o), serve: args("serve", o)}
		if p.layer != nil {
			f.hold, f.serve = append(f.hold, "--tools", deliveredTools), append(f.serve, "--tools", deliveredTools)
		}
		f.serve[0] = deliveredAgent
		f.hold = append([]string{"sh", "-c", waits, deliveredAgent, p.sum}, f.hold[1:]...)
		out = append(out, f)
	}
	return out
}

// fits is the form that a container of ours has; nil: none.
func fits(forms []form, image, id string, command []string) *form {
	for i, f := range forms {
		if (f.image == "" || sameImage(f.image, image, id)) && slices.Equal(command, f.hold) {
			return &forms[i]
		}
	}
	return nil
}

// choose is the form that is to be put beside the pod. Where no image is named, one that the pod
// already uses and that has a shell is taken.
func (c *cluster) choose(ctx context.Context, o *v1.Pod) (form, error) {
	all := c.forms(o)
	if c.payloads == nil {
		if c.image == "" {
			return form{}, errNoImage
		}
		return all[0], nil
	}
	if c.image != "" && len(all) == 1 {
		return all[0], nil
	}
	image, arch, err := c.shell(ctx, o)
	if err != nil {
		return form{}, err
	}
	for _, f := range all {
		if f.sends.arch == arch {
			f.image = cmp.Or(f.image, image)
			return f, nil
		}
	}
	return form{}, fmt.Errorf("the node is of %s, and what --deliver names holds no agent for that", arch)
}

// shell is the image of a container of the pod in which a shell runs, and the architecture that
// its programs are for; the application's before the proxy's, which mostly has none.
func (c *cluster) shell(ctx context.Context, o *v1.Pod) (image, arch string, err error) {
	mesh := proxy(o)
	var names []string
	for _, s := range o.Status.ContainerStatuses {
		if s.State.Running != nil && s.Name != mesh {
			names = append(names, s.Name)
		}
	}
	why := errors.New("none runs")
	for _, name := range append(names, mesh) {
		var head []byte
		if head, why = c.head(ctx, o, name); why == nil {
			if arch, why = machine(head); why == nil {
				return imageOf(o, name), arch, nil
			}
		}
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
	}
	return "", "", &told{fmt.Errorf("no container of the pod has sh and cat: %w", why), inspect.ErrNoPower, "; say --image with one that has, and --deliver with an agent for the node's architecture"}
}

func imageOf(o *v1.Pod, name string) string {
	for _, c := range slices.Concat(o.Spec.Containers, o.Spec.InitContainers) {
		if c.Name == name {
			return c.Image
		}
	}
	return ""
}

// head is the beginning of the program cat of a container, as its shell starts it. It is read
// to its end: a client that leaves before lets client-go print an error to the terminal.
func (c *cluster) head(ctx context.Context, o *v1.Pod, container string) ([]byte, error) {
	var h first
	err := c.run(ctx, o, container, []string{"sh", "-c", "cat /proc/self/exe"}, nil, &h)
	return h, err
}

// first keeps the first 20 bytes.
type first []byte

// Write never fails.
func (f *first) Write(b []byte) (int, error) {
	*f = append(*f, b[:min(len(b), 20-len(*f))]...)
	return len(b), nil
}

// deliverTime is how long sending may take, over a slow line.
const deliverTime = 5 * time.Minute

// deliver sends the agent, and its tools, into the container that waits for them. Each step can be
// done again.
func (c *cluster) deliver(ctx context.Context, p *v1.Pod, container string, what *payload) error {
	ctx, cancel := context.WithTimeout(ctx, deliverTime)
	defer cancel()
	say := func(part string) func(int) {
		return func(percent int) { c.say(fmt.Sprintf("pod %s: sending %s: %d %%", p.Name, part, percent), false) }
	}
	said := func(in io.Reader, argv ...string) (string, error) {
		var out bytes.Buffer
		err := c.run(ctx, p, container, argv, in, &out)
		return out.String(), err
	}
	sum := sha256.Sum256(what.agent)
	steps := []step{{"send the agent", hex.EncodeToString(sum[:]), func() (string, error) {
		got, err := said(counted(what.agent, say("the agent")), "sh", "-c", takes, deliveredAgent)
		if err != nil || got != "" {
			return got, err
		}
		return c.back(ctx, p, container) // the image has no sha256sum, or the stream broke
	}}}
	if what.layer != nil {
		steps = append(steps, step{"send the tools", what.sum, func() (string, error) {
			return said(counted(what.layer, say("the tools")), deliveredAgent, "unpack", "--sum", what.sum, deliveredTools)
		}})
	}
	steps = append(steps, step{"start the agent that was sent", what.sum, func() (string, error) {
		return said(nil, "sh", "-c", ready, what.sum)
	}})
	for _, s := range steps {
		if err := c.insist(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// step is a part of a delivery, which has come to its end when it says its word: a sha256.
type step struct {
	what, word string
	do         func() (said string, err error)
}

// once does it.
func (s step) once() error {
	said, err := s.do()
	got, _, _ := strings.Cut(strings.TrimSpace(said), " ")
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s.what, err)
	case got == "":
		return fmt.Errorf("%s: it ended before it said that all is there: the stream may have broken, or the agent is of an older build", s.what)
	case got != s.word:
		return fmt.Errorf("%s: what came has the sha256 %.64q, want %s", s.what, got, s.word)
	}
	return nil
}

// insist does a step, and again where not its command but the way there failed: for as long as
// another stream is tried for.
func (c *cluster) insist(ctx context.Context, s step) error {
	var began time.Time // when it failed first
	for {
		err := s.once()
		if err == nil {
			return nil
		}
		if began.IsZero() {
			began = time.Now()
		}
		var ended exec.CodeExitError // not found: the pod, says the API server; a kubelet that was restarted says so in no such words
		if time.Since(began) >= c.wait || ctx.Err() != nil || errors.As(err, &ended) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return err
		}
		c.say(err.Error()+"; trying it again", true)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(mostPause):
		}
	}
}

// back is the sha256 of the agent as it lies in the container, read back.
func (c *cluster) back(ctx context.Context, p *v1.Pod, container string) (string, error) {
	sum := sha256.New()
	if err := c.run(ctx, p, container, []string{"cat", deliveredAgent}, nil, sum); err != nil {
		return "", fmt.Errorf("read it back: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// run runs a command in a container to its end, which must be good.
func (c *cluster) run(ctx context.Context, p *v1.Pod, container string, argv []string, in io.Reader, out io.Writer) error {
	s, err := c.exec(p, container, argv)
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.stop)()
	go func() { // it ends with the stream, whose end is told below
		if in != nil {
			_, _ = io.Copy(s.in, in)
		}
		_ = s.in.Close()
	}()
	if _, err := io.Copy(out, s); err != nil {
		return err
	}
	<-s.done
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.err != nil:
		return s.ended()
	}
	return nil
}

// counted is the bytes, and tells how much of them was read, in percent.
func counted(b []byte, tell func(percent int)) io.Reader {
	return &counter{r: bytes.NewReader(b), tell: tell}
}

// counter has no WriteTo, by which all would be read at once.
type counter struct {
	r    *bytes.Reader
	tell func(int)
	last int
}

// Read reads 32 KiB at most, so that it can tell often.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b[:min(len(b), 32<<10)])
	if now := 100 - int(int64(c.r.Len())*100/max(c.r.Size(), 1)); now != c.last {
		c.last = now
		c.tell(now)
	}
	return n, err
}

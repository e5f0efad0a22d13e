package session

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/meshtop/meshtop/capture/pcapng"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// CaptureOptions bound a capture.
type CaptureOptions struct {
	Watch   time.Duration // 0: until the context ends
	Packets int           // 0: no bound
	Snaplen int           // bytes kept of each packet; 0: 256
	Program string        // name and version, for the file
	Ready   func()        // called when the watch listens; may be nil
}

// Capture writes the traffic of a trace's legs to w as pcapng: each packet with the step
// that the trace predicts for it as its comment, addresses with the names that the
// configuration gives them, and at the end what was lost. It returns what it saw.
func Capture(ctx context.Context, pod inspect.Pod, r Reading, req flow.Request, w io.Writer, opt CaptureOptions) (flow.Loss, error) {
	_, t, err := Trace(ctx, pod, r, req, nil)
	if err != nil {
		return flow.Loss{}, err
	}
	if opt.Snaplen == 0 {
		opt.Snaplen = Snaplen
	}
	seen, err := pod.Observe(ctx, everyLeg(t), inspect.ObserveOptions{Duration: opt.Watch, Packets: opt.Packets, Snaplen: opt.Snaplen, Raw: true})
	if err != nil {
		return flow.Loss{}, err
	}
	defer seen.Close()
	f, err := newFile(w, t, opt)
	if err != nil {
		return flow.Loss{}, err
	}
	if opt.Ready != nil {
		opt.Ready()
	}
	for o := range seen.C() {
		if err := f.add(o); err != nil {
			return seen.Loss(), err
		}
	}
	loss := seen.Loss()
	return loss, f.end(loss)
}

// Export writes what a watch saw of a trace to w as Capture does: of the packets that
// still are what they were, those that Raw asked for.
func Export(w io.Writer, t flow.Trace, seen []flow.Observation, loss flow.Loss, program string) error {
	f, err := newFile(w, t, CaptureOptions{Snaplen: Snaplen, Program: program})
	if err != nil {
		return err
	}
	for _, o := range seen {
		if len(o.Raw) == 0 {
			continue
		}
		if err := f.add(o); err != nil {
			return err
		}
	}
	return f.end(loss)
}

// newFile begins a capture file of a trace.
func newFile(w io.Writer, t flow.Trace, opt CaptureOptions) (*file, error) {
	out, err := pcapng.NewWriter(w, opt.Program, render.Short(t))
	if err != nil {
		return nil, err
	}
	if err := out.Names(names(t)); err != nil {
		return nil, err
	}
	return &file{out: out, devices: map[string]int{}, trace: t, snaplen: opt.Snaplen}, nil
}

// end writes what was lost.
func (f *file) end(loss flow.Loss) error {
	for i := range len(f.devices) {
		n := pcapngLoss(loss, i)
		if err := f.out.Statistics(i, f.last, n.Seen, n.Dropped); err != nil {
			return err
		}
	}
	return nil
}

// pcapngLoss gives the whole loss to the first device: the watch counts it for all.
func pcapngLoss(l flow.Loss, device int) flow.Loss {
	if device == 0 {
		return l
	}
	return flow.Loss{}
}

// file is a capture file that is being written.
type file struct {
	out     *pcapng.Writer
	devices map[string]int
	trace   flow.Trace
	snaplen int
	last    time.Time
}

func (f *file) add(o flow.Observation) error {
	if o.Kind != flow.SeenPacket {
		return nil
	}
	n, ok := f.devices[o.Device]
	if !ok {
		var err error
		if n, err = f.out.AddInterface(pcapng.Interface{Name: o.Device, Link: pcapng.Raw, Snaplen: uint32(f.snaplen)}); err != nil {
			return err
		}
		f.devices[o.Device] = n
	}
	f.last = o.At
	return f.out.Packet(n, o.At, o.Raw, o.Whole, comment(f.trace, o))
}

// comment is the step that a packet belongs to: the last decision of the kernel on its leg
// for the packet that opens it, else the leg.
func comment(t flow.Trace, o flow.Observation) string {
	for i, l := range t.Legs {
		out := o.Tuple.Dst == l.To.Dst || o.Tuple.Dst == l.From.Dst
		back := o.Tuple.Src == l.To.Dst || o.Tuple.Src == l.From.Dst
		if !out && !back {
			continue
		}
		head := "connection " + strconv.Itoa(i+1)
		if !out || o.Flags&flow.SYN == 0 {
			return head
		}
		for n := len(l.Steps) - 1; n >= 0; n-- {
			if st := l.Steps[n]; st.Stage == flow.Netfilter {
				return fmt.Sprintf("%s, step %d: %s: %s", head, n+1, render.Clean(st.Subject), render.Reason(st.Reason))
			}
		}
		return head
	}
	return ""
}

// names are what the configuration calls the trace's addresses.
func names(t flow.Trace) []pcapng.Name {
	var out []pcapng.Name
	add := func(l flow.Leg, name string) {
		if a := l.From.Dst.Addr(); a.IsValid() && !a.IsUnspecified() && name != "" {
			for _, have := range out {
				if have.Addr == a {
					return
				}
			}
			out = append(out, pcapng.Name{Addr: a, Name: render.Clean(name)})
		}
	}
	first := func(s ...string) string {
		for _, x := range s {
			if x != "" {
				return x
			}
		}
		return ""
	}
	ways := append([]flow.Variant{{Legs: t.Legs, Outcome: t.Outcome}}, t.Variants...)
	for _, v := range ways {
		for i, l := range v.Legs {
			if i == 0 {
				add(l, first(v.Outcome.VirtualHost, v.Outcome.Listener))
			} else {
				add(l, v.Outcome.Cluster)
			}
		}
	}
	return out
}

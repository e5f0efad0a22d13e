package session

import (
	"context"
	"io"
	"net/netip"
	"slices"
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
	Snaplen int           // bytes kept of each packet; 0: its headers, and nothing of its payload
	Program string        // name and version, for the file
	Ready   func()        // called when the watch listens; may be nil
}

// Capture writes the traffic of a trace's legs to w as pcapng: each packet with the step
// that the trace predicts for it as its comment, addresses with the names that the
// configuration gives them, and at the end, for each device, what was lost. It returns what
// it saw.
func Capture(ctx context.Context, pod inspect.Pod, r Reading, req flow.Request, w io.Writer, opt CaptureOptions) (flow.Loss, error) {
	r, t, err := Trace(ctx, pod, r, req, nil)
	if err != nil {
		return flow.Loss{}, err
	}
	_, t = Label(ctx, pod, r, t)
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
	if err := f.all(seen.C()); err != nil {
		return seen.Loss(), err
	}
	loss := seen.Loss()
	return loss, f.end(loss)
}

// Export writes what a watch saw of a trace to w as Capture does when nothing more is asked
// for: the headers of the packets that still are what they were, those that Raw asked for. What
// the watch kept of payloads to judge by is no file's.
func Export(w io.Writer, t flow.Trace, seen []flow.Observation, loss flow.Loss, program string) error {
	f, err := newFile(w, t, CaptureOptions{Program: program})
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
	b := &blocks{w: w}
	f := &file{blocks: b, devices: map[string]int{}, hints: newHints(t), opt: opt}
	var err error
	if f.out, err = pcapng.NewWriter(b, opt.Program, render.Short(t)); err != nil {
		return nil, err
	}
	if err := f.out.Names(names(t)); err != nil {
		return nil, err
	}
	return f, b.flush()
}

// file is a capture file that is being written.
type file struct {
	blocks  *blocks
	out     *pcapng.Writer
	devices map[string]int
	hints   *hints
	opt     CaptureOptions
	packets int
}

// all writes what is seen. What stands in the buffer is written when nothing more waits, so
// that who reads the other end of a pipe sees packets as they come.
func (f *file) all(seen <-chan []flow.Observation) error {
	for batch := range seen {
		for i := range batch {
			if err := f.add(batch[i]); err != nil {
				return err
			}
		}
		if len(seen) == 0 {
			if err := f.blocks.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *file) add(o flow.Observation) error {
	if o.Kind != flow.SeenPacket || f.opt.Packets > 0 && f.packets >= f.opt.Packets {
		return nil
	}
	n, err := f.device(o.Device)
	if err != nil {
		return err
	}
	f.packets++
	keep := o.Headers
	if f.opt.Snaplen > 0 {
		keep = f.opt.Snaplen // that of a saved capture may be longer
	}
	raw := o.Raw[:min(len(o.Raw), keep)]
	return f.out.Packet(n, o.At, raw, o.Whole, f.hints.comment(o))
}

// device is the number of a device in the file, which is declared before its first packet.
func (f *file) device(name string) (int, error) {
	if n, ok := f.devices[name]; ok {
		return n, nil
	}
	n, err := f.out.AddInterface(pcapng.Interface{Name: name, Link: pcapng.Raw, Snaplen: uint32(f.opt.Snaplen)})
	if err == nil {
		f.devices[name] = n
	}
	return n, err
}

// end writes what each device got and lost, also of one that nothing came from. What was
// lost behind the devices counts for the first.
func (f *file) end(loss flow.Loss) error {
	devices, behind := loss.Devices, loss.Dropped
	if len(devices) == 0 { // a replay, which knows the sum only
		devices = make([]flow.DeviceLoss, len(f.devices))
		for name, n := range f.devices {
			devices[n].Name = name
			if n == 0 {
				devices[n].Seen = loss.Seen
			}
		}
	}
	for _, d := range devices {
		behind -= min(behind, d.Dropped)
	}
	for i, d := range devices {
		n, err := f.device(d.Name)
		if err != nil {
			return err
		}
		if i == 0 {
			d.Dropped += behind
		}
		// ifrecv counts what was dropped, too (pcapng, section 4.6).
		if err := f.out.Statistics(n, time.Now(), d.Seen+d.Dropped, d.Dropped); err != nil {
			return err
		}
	}
	return f.blocks.flush()
}

// names are what the trace's addresses are called: by the cluster, as far as the trace knows it,
// which goes first; and by the configuration: the first leg's destination the virtual host, or
// the listener, and a later one's the cluster. An address may have several.
func names(t flow.Trace) []pcapng.Name {
	out := clusterNames(t)
	add := func(l flow.Leg, name string) {
		if a := l.From.Dst.Addr(); a.IsValid() && !a.IsUnspecified() && name != "" {
			n := pcapng.Name{Addr: a, Name: render.Clean(name)}
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
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

// clusterNames are the names that the trace's steps have for addresses.
func clusterNames(t flow.Trace) []pcapng.Name {
	var out []pcapng.Name
	for _, v := range append([]flow.Variant{{Legs: t.Legs}}, t.Variants...) {
		for _, l := range v.Legs {
			for _, s := range l.Steps {
				for _, f := range s.Facts {
					if f.Kind != flow.WhyAddress {
						continue
					}
					a, err := netip.ParseAddr(f.Args[0])
					if ap, bad := netip.ParseAddrPort(f.Args[0]); bad == nil {
						a, err = ap.Addr(), nil
					}
					n := pcapng.Name{Addr: a, Name: render.Clean(f.Args[2])}
					if err == nil && !slices.Contains(out, n) {
						out = append(out, n)
					}
				}
			}
		}
	}
	return out
}

package saved

import (
	"context"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Observe replays what the snapshot holds of the traffic: captures (*.pcap, *.pcapng),
// conntrack-events and access.log, also in a folder observed/. ErrReadOnly if it holds none.
func (p *Pod) Observe(_ context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	r := &replay{out: make(chan []flow.Observation), quit: make(chan struct{})}
	packets, events, any := false, false, false
	files := maps.Clone(p.files)
	if files == nil {
		files = inspect.Files{}
	}
	maps.Copy(files, p.seen)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		base, data := path.Base(name), files[name]
		var seen []flow.Observation
		var gaps []flow.Gap
		switch {
		case strings.HasSuffix(base, ".pcap"), strings.HasSuffix(base, ".pcapng"):
			packets = true
			var loss flow.Loss
			var err error
			seen, loss, err = capture.ReadPackets(data, strings.TrimSuffix(base, ".pcap"), capture.Keep{Heads: opt.Snaplen > 0, Raw: opt.Raw})
			r.loss.Seen += loss.Seen
			r.loss.Dropped += loss.Dropped
			if err != nil {
				gaps = append(gaps, flow.Gap{Part: name, Reason: err.Error()})
			}
		case base == "conntrack-events":
			events = true
			seen, gaps = capture.ParseEvents(data)
		case base == "access.log":
			seen = capture.ReadAccessLog(data)
		default:
			continue
		}
		any = true
		r.seen = append(r.seen, seen...)
		r.loss.Blind = append(r.loss.Blind, gaps...)
	}
	if !any {
		return nil, inspect.ErrReadOnly
	}
	// What was not recorded is not what did not happen.
	if !packets {
		r.loss.Blind = append(r.loss.Blind, flow.Gap{Part: "packets", Reason: "the snapshot holds none"})
	}
	if !events {
		r.loss.Blind = append(r.loss.Blind, flow.Gap{Part: "conntrack events", Reason: "the snapshot holds none"})
	}
	sort.SliceStable(r.seen, func(i, j int) bool { return r.seen[i].At.Before(r.seen[j].At) })
	r.done.Go(r.play)
	return r, nil
}

// Send fails: nothing can be sent from a file.
func (p *Pod) Send(context.Context, flow.Request) (inspect.Sent, error) {
	return inspect.Sent{}, inspect.ErrReadOnly
}

// replay is a watch of the past.
type replay struct {
	seen []flow.Observation
	loss flow.Loss
	out  chan []flow.Observation
	quit chan struct{}
	once sync.Once
	done sync.WaitGroup
}

var _ inspect.Watch = (*replay)(nil)

func (r *replay) play() {
	defer close(r.out)
	for batch := range slices.Chunk(r.seen, 128) {
		select {
		case r.out <- batch:
		case <-r.quit:
			return
		}
	}
}

// C gives what was seen, in the order of time.
func (r *replay) C() <-chan []flow.Observation { return r.out }

// Loss is what the captures say that they lost.
func (r *replay) Loss() flow.Loss { return r.loss }

// Close ends the replay; it may be called twice.
func (r *replay) Close() error {
	r.once.Do(func() { close(r.quit) })
	r.done.Wait()
	return nil
}

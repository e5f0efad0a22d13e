package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sort"
	"syscall"
	"time"

	"github.com/meshtop/meshtop/e2e/bench/mesh"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"golang.org/x/sys/unix"
)

// insideResult is what one process measured of one dump.
type insideResult struct {
	Index float64 // MB of text indexed in a second of CPU, each byte checked
	// Heap that the configuration takes beside the mapped file: after the load and one trace,
	// and after all requests.
	HeapOne, HeapAll float64
	// First touch; warm, asked again at once; and warm with the answer as text.
	First, Warm, Text quantiles
	Asked             int
	Wrong             int
	Unknown           int
	Shown             []string // the first wrong and unknown answers
	Truncated         int      // cuts of the file that were refused, of cutCount
}

// quantiles of a trace with its whole explanation, in microseconds of its thread's CPU.
type quantiles struct{ P50, P90, P99, Max float64 }

const cutCount = 16

func (r *insideResult) print(size int64) {
	fmt.Printf("%-44s %.0f MB/s, every byte checked; %d of %d truncated files refused\n", "index", r.Index, r.Truncated, cutCount)
	fmt.Printf("%-44s %.1f MB (%.2f x file), after all requests %.1f MB (%.2f x)\n", "heap after one trace", r.HeapOne/1e6, r.HeapOne/float64(size), r.HeapAll/1e6, r.HeapAll/float64(size))
	for _, q := range []struct {
		name string
		q    quantiles
	}{{"trace, first touch", r.First}, {"trace, warm", r.Warm}, {"trace and its text, warm", r.Text}} {
		fmt.Printf("%-44s p50 %.0f us, p90 %.0f us, p99 %.0f us, max %.0f us\n", q.name, q.q.P50, q.q.P90, q.q.P99, q.q.Max)
	}
	fmt.Printf("%-44s %d wrong, %d unknown of %d\n", "requests", r.Wrong, r.Unknown, r.Asked)
	for _, s := range r.Shown {
		fmt.Println("  " + s)
	}
}

// inside measures the engine in this process.
func inside(dump, reqs string) (*insideResult, error) {
	rs, err := readRequests(reqs)
	if err != nil {
		return nil, err
	}
	if err := settle(); err != nil {
		return nil, err
	}
	before := heap()
	text, unmap, err := mapped(dump)
	if err != nil {
		return nil, err
	}
	defer unmap()
	r := &insideResult{Asked: len(rs)}
	if r.Index, err = indexRate(text); err != nil {
		return nil, err
	}
	for k := range cutCount {
		if _, _, err := envoy.Load(map[string][]byte{"config_dump.json": text[:len(text)*(k+1)/(cutCount+1)]}); err != nil {
			r.Truncated++
		}
	}
	snap, err := rules.ParseSnapshot(map[string][]byte{"config_dump.json": text}, nil)
	if err != nil {
		return nil, err
	}
	if len(rs) > 0 {
		r.pass(snap, rs[:1], how{})
	}
	r.HeapOne = heap() - before
	r.First = r.pass(snap, rs, how{judge: true})
	r.Warm = r.pass(snap, rs, how{again: true})
	r.Text = r.pass(snap, rs, how{again: true, then: func(t flow.Trace) { render.Text(t, render.TextOptions{}) }})
	r.HeapAll = heap() - before
	runtime.KeepAlive(snap)
	runtime.KeepAlive(rs)
	return r, nil
}

// settle traces in a small configuration, for what the program makes once and no configuration
// adds to its heap: tables of Envoy's API, patterns.
func settle() error {
	small := mesh.Mesh{Seed: 2, Services: 4}
	var text bytes.Buffer
	if err := small.Dump(&text); err != nil {
		return err
	}
	snap, err := rules.ParseSnapshot(map[string][]byte{"config_dump.json": text.Bytes()}, nil)
	if err != nil {
		return err
	}
	(&insideResult{}).pass(snap, small.Requests(100), how{then: func(t flow.Trace) { render.Text(t, render.TextOptions{}) }})
	return nil
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// mapped is a file's text in memory, but not in the heap.
func mapped(path string) ([]byte, func() error, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("map %s: %w", path, err)
	}
	return b, func() error { return syscall.Munmap(b) }, nil
}

// indexRate is the best of three, in MB a second of CPU.
func indexRate(text []byte) (float64, error) {
	best := 0.0
	for range 3 {
		start := cpuTime()
		_, gaps, err := envoy.Load(map[string][]byte{"config_dump.json": text})
		if err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
		if len(gaps) > 0 {
			return 0, fmt.Errorf("load: gaps %v", gaps)
		}
		best = max(best, float64(len(text))/1e6/(cpuTime()-start).Seconds())
	}
	return best, nil
}

// threadTime is the CPU time of the calling thread, which must be locked: what other
// processes take of the machine does not count.
func threadTime() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// how a pass goes over the requests.
type how struct {
	again bool // each is traced before, untimed
	judge bool // the answers are judged
	then  func(flow.Trace)
}

// pass traces every request.
func (r *insideResult) pass(snap *rules.Snapshot, rs []mesh.Request, h how) quantiles {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := make([]float64, 0, len(rs))
	for i := range rs {
		req, err := flowOf(&rs[i])
		if err != nil {
			r.wrong(&rs[i], err.Error())
			continue
		}
		if h.again {
			rules.Trace(snap, req)
		}
		start := threadTime()
		t := rules.Trace(snap, req)
		if h.then != nil {
			h.then(t)
		}
		took = append(took, float64((threadTime()-start).Nanoseconds())/1e3)
		if !h.judge {
			continue
		}
		if t.Verdict == flow.Unknown {
			r.Unknown++
			r.show(&rs[i], "unknown")
		} else if d := differs(&t, &rs[i].Expect); d != "" {
			r.wrong(&rs[i], d)
		}
	}
	return quantile(took)
}

func (r *insideResult) wrong(q *mesh.Request, why string) {
	r.Wrong++
	r.show(q, why)
}

func (r *insideResult) show(q *mesh.Request, why string) {
	if len(r.Shown) < 10 {
		r.Shown = append(r.Shown, fmt.Sprintf("request %d (%s:%d %s%s): %s", q.N, q.Dst, q.Port, q.Authority, q.Path, why))
	}
}

func quantile(xs []float64) quantiles {
	if len(xs) == 0 {
		return quantiles{}
	}
	sort.Float64s(xs)
	at := func(p float64) float64 { return xs[min(len(xs)-1, int(p*float64(len(xs))))] }
	return quantiles{at(0.50), at(0.90), at(0.99), xs[len(xs)-1]}
}

func flowOf(q *mesh.Request) (flow.Request, error) {
	ip, err := netip.ParseAddr(q.Dst)
	if err != nil {
		return flow.Request{}, err
	}
	r := flow.Request{Dir: flow.Outbound, Proto: flow.TCP, Dst: netip.AddrPortFrom(ip, uint16(q.Port)),
		Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 7}), 40000)}
	if q.Authority == "" {
		return r, nil
	}
	r.HTTP = &flow.HTTP{Method: "GET", Authority: q.Authority, Path: q.Path, Version: "1.1"}
	for k, v := range q.Headers {
		r.HTTP.Headers = append(r.HTTP.Headers, [2]string{k, v})
	}
	return r, nil
}

// differs says how a trace is not the answer, in one of its variants: listener, table,
// virtual host, route, code, and a cluster that is among them.
func differs(t *flow.Trace, want *mesh.Answer) string {
	ends := t.Variants
	if len(ends) == 0 {
		ends = []flow.Variant{{Outcome: t.Outcome, Caller: t.Caller}}
	}
	for _, v := range ends {
		switch o := v.Outcome; {
		case o.Listener != want.Listener:
			return fmt.Sprintf("listener %q, want %q", o.Listener, want.Listener)
		case o.RouteConfig != want.Table && want.Table != "":
			return fmt.Sprintf("table %q, want %q", o.RouteConfig, want.Table)
		case o.VirtualHost != want.VHost && want.VHost != "":
			return fmt.Sprintf("virtual host %q, want %q", o.VirtualHost, want.VHost)
		case o.Route != want.Route && want.Route != "":
			return fmt.Sprintf("route %q, want %q", o.Route, want.Route)
		case v.Caller.Code != want.Code && want.Code != 0:
			return fmt.Sprintf("code %d, want %d", v.Caller.Code, want.Code)
		case !slices.Contains(want.Clusters, o.Cluster):
			return fmt.Sprintf("cluster %q, want one of %q", o.Cluster, want.Clusters)
		}
	}
	return ""
}

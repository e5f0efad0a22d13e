package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/meshtop/meshtop/e2e/bench/mesh"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
)

// The bench of a live Envoy: what a trace costs it beside its whole configuration.
const (
	liveAdmin  = 9901
	liveRounds = 3
	liveTraces = 12              // different requests
	liveShare  = 0.10            // of a whole dump's time
	liveWait   = 1.0             // seconds that /ready may take
	liveUp     = 5 * time.Minute // for Envoy to take everything
)

// liveEnvoy is a pod whose Envoy holds a mesh of many services.
type liveEnvoy struct {
	*lab.Lab
	http *http.Client
}

// onLive brings up an Envoy with so many services, traces requests through it, and judges how
// long that takes and how long others wait for Envoy meanwhile.
func onLive(o options) error {
	work, err := os.MkdirTemp("", "meshtop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := o.build(work); err != nil {
		return err
	}
	m := mesh.Mesh{Seed: 1, Services: o.live}
	e, err := startLive(m)
	if err != nil {
		return err
	}
	j, err := e.measure(o, m)
	if err := errors.Join(err, e.Close()); err != nil {
		return err
	}
	return verdict([]judged{j})
}

// startLive starts Envoy beside the server of its configuration, and waits until it has all.
func startLive(m mesh.Mesh) (*liveEnvoy, error) {
	l, err := lab.Up(lab.Options{Scene: "mesh", NoEnvoy: true})
	if err != nil {
		return nil, err
	}
	e := &liveEnvoy{Lab: l, http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = l.PodSpace().Do(func() error {
			var d net.Dialer
			c, err = d.DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}}}
	if err := e.feed(m); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return e, nil
}

func (e *liveEnvoy) feed(m mesh.Mesh) error {
	live, err := mesh.NewLive(m)
	if err != nil {
		return err
	}
	var server net.Listener
	if err := e.PodSpace().Do(func() (err error) {
		server, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		return err
	}
	defer server.Close() // what Envoy has it does not ask for again within a day
	handler := live.Handler()
	go func() { _ = http.Serve(server, handler) }()
	started := time.Now()
	late := time.AfterFunc(liveUp, func() { _ = e.StopEnvoy() })
	defer late.Stop()
	if err := e.StartEnvoy(live.Bootstrap(liveAdmin, server.Addr().(*net.TCPAddr).Port)); err != nil {
		return err
	}
	names, _, err := e.get("/listeners")
	if err != nil {
		return err
	}
	fmt.Printf("%d services, %d listeners: an Envoy with %.0f MB, up after %.0f s\n", m.Services, strings.Count(names, "\n"), residentOf(e.EnvoyPID()), time.Since(started).Seconds())
	return nil
}

// get asks Envoy, and says how long it took.
func (e *liveEnvoy) get(path string) (string, time.Duration, error) {
	var body bytes.Buffer
	took, err := e.drain(path, &body)
	return body.String(), took, err
}

func (e *liveEnvoy) drain(path string, to io.Writer) (time.Duration, error) {
	start := time.Now()
	resp, err := e.http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", liveAdmin, path))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return time.Since(start), err
}

// wholeDump is what meshtop reads of a small Envoy, or where one asks for all.
const wholeDump = "/config_dump?include_eds"

// taken are the seconds of one thing: those that its asker waited, and those of Envoy's CPU.
type taken struct{ wall, envoy []float64 }

// time takes what f does, which says itself how long it took.
func (e *liveEnvoy) time(t *taken, f func() (time.Duration, error)) error {
	before, err := cpuOf(e.EnvoyPID())
	if err != nil {
		return err
	}
	took, err := f()
	if err != nil {
		return err
	}
	after, err := cpuOf(e.EnvoyPID())
	t.wall, t.envoy = append(t.wall, took.Seconds()), append(t.envoy, after-before)
	return err
}

// measure takes a whole dump and each trace in turns, and asks for /ready without a pause
// while it traces. Of the wall time the least counts, since other things run on the machine. The
// slowest trace is judged as all of them are together: who waits for it waits for that one.
func (e *liveEnvoy) measure(o options, m mesh.Mesh) (judged, error) {
	asked, err := liveRequests(m)
	if err != nil {
		return judged{}, err
	}
	var dump, all taken
	var size counter
	var ready polled
	traces := make([]taken, len(asked))
	for range liveRounds {
		size = 0
		if err := e.time(&dump, func() (time.Duration, error) { return e.drain(wholeDump, &size) }); err != nil {
			return judged{}, err
		}
		stop := e.poll()
		err := e.time(&all, func() (time.Duration, error) { return e.traces(o, asked, traces) })
		p := stop()
		if err := errors.Join(err, p.err); err != nil {
			return judged{}, err
		}
		ready.longest, ready.n = max(ready.longest, p.longest), ready.n+p.n
	}
	slowest := 0
	for i := range traces {
		if least(traces[i].wall) > least(traces[slowest].wall) {
			slowest = i
		}
	}
	n, whole, worst := float64(len(asked)), least(dump.wall), least(traces[slowest].wall)
	fmt.Printf("GET %s: %.2f s, %.2f s of Envoy's CPU, %.0f MB\n%d traces: %.2f s on average, %.2f s of Envoy's CPU; the slowest %.2f s, %.3f of the dump's time (to %s:%d as %q)\n",
		wholeDump, whole, least(dump.envoy), float64(size)/1e6, len(asked), least(all.wall)/n, least(all.envoy)/n, worst, worst/whole, asked[slowest].Dst, asked[slowest].Port, asked[slowest].Authority)
	if err := e.calls(asked[slowest]); err != nil {
		return judged{}, err
	}
	return judged{fmt.Sprintf("a live Envoy with %d services", m.Services), []bar{
		{what: "a trace, share of a whole dump's time", got: least(all.wall) / n / whole, aim: liveShare, digits: 3},
		{what: "the slowest trace, share of a dump's time", got: worst / whole, aim: liveShare, digits: 3},
		{what: "a trace, share of a dump's CPU in Envoy", got: least(all.envoy) / n / least(dump.envoy), aim: liveShare, digits: 3},
		{what: "longest wait for /ready while tracing, s", got: ready.longest.Seconds(), aim: liveWait, digits: 2},
		{what: "times that /ready was asked", got: float64(ready.n), aim: 100, least: true}}}, nil
}

// traces traces each request once.
func (e *liveEnvoy) traces(o options, asked []mesh.Request, out []taken) (all time.Duration, err error) {
	for i, q := range asked {
		start := time.Now()
		var c cost
		if err := c.run(liveCommand(o.meshtop, e.Pod(), q)); err != nil {
			return 0, err
		}
		took := time.Since(start)
		out[i].wall, all = append(out[i].wall, took.Seconds()), all+took
	}
	return all, nil
}

// calls prints what a trace of a request asks of the pod, and how long each takes.
func (e *liveEnvoy) calls(q mesh.Request) error {
	pod, err := local.Named(e.Pod(), local.Options{Admin: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), liveAdmin)})
	if err != nil {
		return err
	}
	defer pod.Close()
	ctx, start := context.Background(), time.Now()
	snap, err := session.Read(ctx, pod, inspect.Want{})
	if err != nil {
		return err
	}
	r := flow.Request{Dst: netip.AddrPortFrom(netip.MustParseAddr(q.Dst), uint16(q.Port)), Proto: flow.TCP, UID: 1000}
	if q.Authority != "" {
		r.HTTP = &flow.HTTP{Authority: q.Authority, Path: q.Path}
	}
	snap, _, err = session.Trace(ctx, pod, snap, r, nil)
	if err != nil {
		return err
	}
	took, asking := time.Since(start), time.Duration(0)
	for _, c := range snap.Calls {
		asking += c.Took
	}
	fmt.Printf("its calls: %.3f s of %.3f s\n", asking.Seconds(), took.Seconds())
	for _, c := range snap.Calls {
		fmt.Printf("  %7.3f s %9d bytes  %s\n", c.Took.Seconds(), c.Bytes, c.What)
	}
	return nil
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// liveRequests are requests that can only end at one cluster.
func liveRequests(m mesh.Mesh) (out []mesh.Request, err error) {
	for _, q := range m.Requests(50 * liveTraces) {
		if one, err := first([]mesh.Request{q}); err == nil && len(out) < liveTraces {
			out = append(out, one)
		}
	}
	if len(out) < liveTraces {
		return nil, fmt.Errorf("%d of %d requests end at one cluster: too few", len(out), liveTraces)
	}
	return out, nil
}

// liveCommand traces a request of the app's, whose answer is to name its cluster.
func liveCommand(binary, ns string, q mesh.Request) command {
	argv := append([]string{binary, "trace", "netns", ns, "--uid", "1000", "--admin", fmt.Sprintf("127.0.0.1:%d", liveAdmin)}, requestFlags(q)...)
	return command{"meshtop trace netns", argv, q.Expect.Clusters}
}

// polled is what asking for /ready again and again came to.
type polled struct {
	longest time.Duration
	n       int
	err     error
}

// poll asks for /ready until the function that it returns is called.
func (e *liveEnvoy) poll() (stop func() polled) {
	quit, out := make(chan struct{}), make(chan polled, 1)
	go func() {
		var p polled
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for p.err == nil {
			select {
			case <-quit:
				out <- p
				return
			case <-tick.C:
			}
			var took time.Duration
			_, took, p.err = e.get("/ready")
			p.longest, p.n = max(p.longest, took), p.n+1
		}
		out <- p
	}()
	return func() polled {
		close(quit)
		return <-out
	}
}

// residentOf is a process's resident memory in MB.
func residentOf(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return numberBefore(strings.ReplaceAll(string(b), "\t", " "), " kB\nRssAnon") / 1024
}

package envoy

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Batch is one world and the requests for it.
type Batch struct {
	World    World     `json:"world"`
	Requests []Request `json:"requests"`
}

// Result is what Envoy did with a batch.
type Result struct {
	Files   map[string][]byte // the parts of its snapshot
	Refused []Refused
	Cases   []Case   // of the requests, in order
	Trouble []string // of the requests, in order: what of a case tells of this machine, not of Envoy; usually empty
	Sent    int      // connections
}

const (
	atOnce     = 12 // client connections
	settleTime = 10 * time.Second
	// lateTime is how long a client may take to say its first bytes: longer, and a listener
	// filter's timeout, the shortest of which is 250 ms, can have come before them.
	lateTime = 150 * time.Millisecond
)

// shot is one connection that was made.
type shot struct {
	request int
	client  *ClientSide
	key     string // the client's address, as the access log has it
}

// Run starts an Envoy for the batch, sends the requests, and stops it.
func (o *Oracle) Run(ctx context.Context, b *Batch) (*Result, error) {
	ports := b.World.Upstreams
	if len(ports) == 0 {
		ports = usualPorts
	}
	up, err := startUpstream(ports, o.cert.pair)
	if err != nil {
		return nil, err
	}
	defer up.Close()
	p, err := o.spawn(ctx, &b.World)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	files, err := p.snapshot()
	if err != nil {
		return nil, p.orCrash(err)
	}
	shots := o.fire(b.Requests)
	var keys []string
	for _, s := range shots {
		if s.key != "" {
			keys = append(keys, s.key)
		}
	}
	if p.ended() {
		return nil, &Crash{p.stderr.String()}
	}
	p.log.wait(keys, settleTime)
	if p.ended() || p.log.bad != nil {
		return nil, p.orCrash(p.log.bad)
	}
	r := &Result{Files: files, Refused: refusals(files["config_dump.json"], &b.World, p.stderr.String()), Sent: len(shots), Trouble: make([]string, len(b.Requests))}
	seen := make([][]Outcome, len(b.Requests))
	for _, s := range shots {
		x := outcome(&b.Requests[s.request], s.client, p.log.lines[s.key])
		seen[s.request] = append(seen[s.request], x)
		if why := trouble(&x, r.refused(b.Requests[s.request].Accept)); why != "" {
			r.Trouble[s.request] = why
		}
	}
	for i, q := range b.Requests {
		r.Cases = append(r.Cases, Case{World: b.World.ID, Family: b.World.Family, Request: q, Outcomes: distinct(seen[i])})
	}
	return r, nil
}

// refused says whether Envoy did not take the listener at that address.
func (r *Result) refused(accept string) bool {
	for _, x := range r.Refused {
		if x.Kind == "listener" && strings.Contains(string(x.Conf), `"`+strings.TrimSuffix(accept, ":"+strconv.Itoa(acceptPort))+`"`) {
			return true
		}
	}
	return false
}

// trouble says what of an outcome a loaded machine alone can bring about: a connection that
// was not made, an answer or a log line that did not come in time.
func trouble(o *Outcome, refused bool) string {
	switch c := o.Client; {
	case c.Error == notHTTP:
	case c.Error != "" && !refused:
		return "no connection: " + c.Error
	case c.Error != "":
	case o.Log == "none":
		return "no log line came"
	case c.Timeout && (o.Log == "http" || c.TLSError):
		return "no answer came"
	case c.late:
		return "the client was late"
	}
	return ""
}

// orCrash is err, or the crash that is behind it.
func (p *process) orCrash(err error) error {
	if p.ended() {
		return &Crash{p.stderr.String()}
	}
	return err
}

// fire sends all requests: the ones of a group in order, the others side by side.
func (o *Oracle) fire(requests []Request) []shot {
	var (
		mu    sync.Mutex
		shots []shot
		port  atomic.Int64
		work  sync.WaitGroup
		units = make(chan []int)
	)
	c := client{pairs: o.cert.pairs}
	for range atOnce {
		work.Add(1)
		go func() {
			defer work.Done()
			for unit := range units {
				for _, i := range unit {
					for range max(1, requests[i].Repeat) {
						seen, key := c.sendFrom(&requests[i], &port)
						mu.Lock()
						shots = append(shots, shot{i, seen, key})
						mu.Unlock()
					}
				}
			}
		}()
	}
	for _, u := range grouped(requests) {
		units <- u
	}
	close(units)
	work.Wait()
	return shots
}

// sendFrom takes the next source port that is free. They lie below the kernel's own.
func (c client) sendFrom(q *Request, port *atomic.Int64) (*ClientSide, string) {
	const first, count, tries = 20002, 19000, 6
	for try := 1; ; try++ {
		seen, key := c.send(q, first+int(port.Add(1))%count)
		if (!strings.Contains(seen.Error, "in use") && !strings.Contains(seen.Error, "cannot assign")) || try == tries {
			return seen, key
		}
	}
}

func grouped(requests []Request) (units [][]int) {
	at := map[string]int{}
	for i, q := range requests {
		if k, ok := at[q.Group]; ok && q.Group != "" {
			units[k] = append(units[k], i)
			continue
		}
		at[q.Group] = len(units)
		units = append(units, []int{i})
	}
	return units
}

// distinct are the different outcomes in a stable order.
func distinct(all []Outcome) (out []Outcome) {
	text := map[string]Outcome{}
	var keys []string
	for _, x := range all {
		b, _ := json.Marshal(x)
		if _, ok := text[string(b)]; !ok {
			keys = append(keys, string(b))
		}
		text[string(b)] = x
	}
	sort.Strings(keys)
	for _, k := range keys {
		out = append(out, text[k])
	}
	return out
}

// outcome joins the log lines of one connection with what both ends saw.
func outcome(q *Request, seen *ClientSide, lines []logLine) Outcome {
	o := Outcome{Log: "none", Client: seen}
	var l *logLine
	n := 0
	for i := range lines {
		x := &lines[i]
		if x.Kind != "listener" {
			n++
		}
		if l == nil || x.Kind != "listener" && l.Kind == "listener" {
			l = x
		}
	}
	if n > 1 {
		o.Responses = n
	}
	if u := takeEcho(seen); u != nil {
		o.Upstream = stable(u, q)
	}
	if l == nil {
		return o
	}
	o.Log, o.Listener, o.Chain, o.VHost, o.Route, o.VCluster = l.Kind, l.Listener, dash(l.Chain), dash(l.VHost), dash(l.Route), dash(l.VCluster)
	o.Cluster, o.Host, o.Code, o.Details, o.Flags = dash(l.Cluster), dash(l.Host), l.Code, dash(l.Details), dash(l.Flags)
	o.Term, o.SNI, o.Local, o.Remote = ownPort.ReplaceAllString(dash(l.Term), ""), dash(l.SNI), dash(l.Local), dash(l.Remote)
	if seen.TLSError {
		o.TLSFail = "TLS_error"
	}
	if i := strings.LastIndexByte(o.Remote, ':'); q.Proxy == nil && l.Remote == l.Direct && i > 0 {
		if _, err := strconv.Atoi(o.Remote[i+1:]); err == nil {
			o.Remote = o.Remote[:i]
		}
	}
	return o
}

var ownPort = regexp.MustCompile(`127\.0\.0\.1:\d{5}`)

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// madeUp is the form of ids that Envoy makes.
var madeUp = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// stable leaves what changes from run to run out of the request that the upstream got: an
// id that the client did not give.
func stable(u *UpstreamSide, q *Request) *UpstreamSide {
	out := *u
	out.Headers = nil
	for _, h := range u.Headers {
		switch {
		case h[0] == "content-length":
			continue
		case h[0] == "x-request-id" && madeUp.MatchString(h[1]) && !q.says(h[1]):
			h[1] = "*"
		}
		out.Headers = append(out.Headers, h)
	}
	return &out
}

// says whether a header of the request has the value.
func (q *Request) says(value string) bool {
	return q.HTTP != nil && slices.ContainsFunc(q.HTTP.Headers, func(h [2]string) bool { return strings.Trim(h[1], " \t") == value })
}

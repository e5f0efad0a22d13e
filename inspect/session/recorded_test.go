package session

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// recorded is one request that was really made, with what client, kernel and Envoy saw.
type recorded struct {
	ID, About, From string
	UID             *uint32
	SourcePort      uint16 `json:"source_port"`
	URL             string
	CurlArgs        []string `json:"curl_args"`
	Client          struct {
		CurlExit int    `json:"curl_exit"`
		HTTPCode string `json:"http_code"`
	}
	AccessLog []map[string]any `json:"access_log"`
	TCPEnd    []string         `json:"tcp_end"`
	Conntrack []string
	// What the recorder saw of the client's connection and of the proxy's own, a line a packet:
	// "eth0 SRC>DST FLAGS len=N"; and what Envoy's counters grew by meanwhile.
	ClientLeg   []string                     `json:"packets_client_leg"`
	UpstreamLeg []string                     `json:"packets_upstream_leg"`
	Grew        map[string]uint64            `json:"stats_delta"`
	Time        struct{ Start, End float64 } // in seconds since 1970
}

// scene is a recording: the snapshot and the requests.
type scene struct {
	name string
	pod  inspect.Pod
	meta struct {
		PodIP string `json:"pod_ip"`
	}
	requests []recorded
}

// scenes are all recordings: testdata/recorded.zip holds the requests of all of them, and
// the snapshots of those that are not built in as a demo.
func scenes(t *testing.T) []scene {
	t.Helper()
	zr, err := zip.OpenReader("testdata/recorded.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	files := map[string]map[string][]byte{}
	for _, f := range zr.File {
		dir, name, _ := strings.Cut(f.Name, "/")
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if files[dir] == nil {
			files[dir] = map[string][]byte{}
		}
		files[dir][name] = data
	}
	var out []scene
	for name, parts := range files {
		s := scene{name: name}
		var doc struct{ Requests []recorded }
		if err := json.Unmarshal(parts["requests.json"], &doc); err != nil {
			t.Fatal(err)
		}
		s.requests = doc.Requests
		delete(parts, "requests.json")
		if archive.Known(parts) {
			s.pod = saved.New(name, parts)
		} else if s.pod, _, err = saved.Demo(name); err != nil {
			t.Fatal(err)
		}
		snap, err := s.pod.Read(context.Background(), inspect.Want{Parts: []string{"meta.json"}})
		if err != nil || json.Unmarshal(snap.Files["meta.json"], &s.meta) != nil {
			t.Fatalf("%s: meta.json: %v", name, err)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b scene) int { return strings.Compare(a.name, b.name) })
	return out
}

// request is the request as it was made. curl sent a name to the address that the log or
// conntrack has.
func (s scene) request(r recorded) (flow.Request, error) {
	var words []string
	for _, a := range append([]string{"curl"}, r.CurlArgs...) {
		if !strings.HasPrefix(a, "http://") { // the burst of five URLs is five times the last
			words = append(words, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
		}
	}
	d, err := request.Curl(strings.Join(append(words, "'"+r.URL+"'"), " "))
	if err != nil {
		return d.Request, err
	}
	q := d.Request
	if d.Host != "" {
		a, err := dialled(r)
		if err != nil {
			return q, err
		}
		q = d.At(a)
	}
	if r.From == "outside" || r.From == "other" {
		q.Dir = flow.Inbound
		q.Src = netip.MustParseAddrPort(map[string]string{"outside": "10.244.1.1", "other": "10.244.1.9"}[r.From] + ":" + strconv.Itoa(int(r.SourcePort)))
	} else if r.UID != nil {
		q.UID, q.GID = *r.UID, *r.UID
	}
	return q, nil
}

// dialled is where the client's first packet went.
func dialled(r recorded) (netip.Addr, error) {
	for _, line := range r.Conntrack {
		if _, rest, ok := strings.Cut(line, " dst="); ok {
			a, _, _ := strings.Cut(rest, " ")
			return netip.ParseAddr(a)
		}
	}
	return netip.Addr{}, fmt.Errorf("nothing says where %s went", r.ID)
}

// ending is where one variant ends, as far as a log line tells it.
type ending struct{ listener, chain, cluster, endpoint string }

// logged is what Envoy's log says of the request's last line that is not the listener's
// own, since that one has no cluster of an HTTP request. No line: Envoy never saw it.
func logged(r recorded) (ending, map[string]any) {
	var line map[string]any
	for _, l := range r.AccessLog {
		if line == nil || !strings.HasPrefix(str(l["logged_by"]), "listener ") {
			line = l
		}
	}
	return ending{str(line["listener_name"]), str(line["filter_chain_name"]), str(line["upstream_cluster_raw"]), str(line["upstream_host"])}, line
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

// want is the verdict that the observation proves, and what the caller saw where the
// proxy or the kernel answered. Empty TCP ends and code 0 are not compared.
func want(r recorded) (flow.Verdict, int, []flow.TCPEnd) {
	_, line := logged(r)
	flags, details := str(line["response_flags"]), str(line["response_code_details"])
	code, _ := line["response_code"].(float64)
	switch {
	case line == nil && r.Client.CurlExit == 7:
		return flow.Refused, 0, []flow.TCPEnd{flow.TCPRefused}
	case strings.Contains(flags, "UF"), details == "via_upstream", flags == "-" && code == 0:
		// What the far end does is not claimed: its refusal is a delivery, too.
		return flow.Delivered, 0, nil
	case line == nil:
		return flow.Delivered, 0, []flow.TCPEnd{flow.TCPOK}
	case code != 0:
		return flow.Refused, int(code), nil
	}
	// Closed or reset, as timing decided in this recording.
	return flow.Refused, 0, []flow.TCPEnd{flow.TCPReset, flow.TCPClosed, flow.TCPResetOrClosed}
}

// arrived is where the kernel delivered the client's connection, by the reply direction
// of its conntrack entry; empty where conntrack saw nothing.
func arrived(r recorded) string {
	for _, line := range r.Conntrack {
		f := strings.Fields(line)
		get := func(key string, nth int) string {
			for _, w := range f {
				if v, ok := strings.CutPrefix(w, key+"="); ok {
					if nth--; nth == 0 {
						return v
					}
				}
			}
			return ""
		}
		if get("sport", 1) == strconv.Itoa(int(r.SourcePort)) {
			return get("src", 2) + ":" + get("sport", 2)
		}
	}
	return ""
}

// compare says in what a trace differs from what was observed; empty: in nothing. Where
// chance or a bucket decides, the observation must be one of the variants.
func compare(scene string, t flow.Trace, r recorded) string {
	verdict, code, ends := want(r)
	if scene == "loop" { // recorded for this: Envoy dials itself until the circuit breaks
		verdict, ends = flow.Looped, nil
	}
	where, line := logged(r)
	if len(t.Legs) > 0 {
		if at := arrived(r); at != "" && request.AddrPort(t.Legs[0].To.Dst) != at {
			return fmt.Sprintf("arrives at %v, conntrack says %s", t.Legs[0].To.Dst, at)
		}
	}
	vs := t.Variants
	if len(vs) == 0 {
		vs = []flow.Variant{{Verdict: t.Verdict, Outcome: t.Outcome, Caller: t.Caller}}
	}
	if len(t.Variants) > 0 && !slices.Contains([]string{"auth", "weights", "tcp-ratelimit", "http-ratelimit"}, scene) {
		return fmt.Sprintf("%d variants, where nothing is left to chance", len(t.Variants))
	}
	var got []string
	for _, v := range vs {
		o := v.Outcome
		at := ending{o.Listener, o.FilterChain, o.Cluster, o.Endpoint}
		if at == where && v.Verdict == verdict && (code == 0 || v.Caller.Code == code) && (ends == nil || slices.Contains(ends, v.Caller.TCP)) {
			return ""
		}
		// A script may answer itself: the variant for that says no more than where it ran.
		if scene == "auth" && v.Verdict == flow.Unknown && at.listener == where.listener && (at.cluster == "" || at == where) {
			return ""
		}
		got = append(got, fmt.Sprintf("%v %+v code %d flags %q tcp %v", v.Verdict, at, v.Caller.Code, v.Caller.Flags, v.Caller.TCP))
	}
	return fmt.Sprintf("observed %v %+v code %d (curl %d, flags %v), traced %s", verdict, where, code, r.Client.CurlExit, line["response_flags"], strings.Join(got, " | "))
}

// Every request of every recording is traced from its snapshot to where it really went.
func TestRecorded(t *testing.T) {
	n, differ := 0, 0
	for _, s := range scenes(t) {
		reading, err := Read(context.Background(), s.pod, inspect.Want{})
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, r := range s.requests {
			q, err := s.request(r)
			if err != nil {
				t.Errorf("%s/%s: %v", s.name, r.ID, err)
				continue
			}
			_, tr, err := Trace(context.Background(), s.pod, reading, q, nil)
			if err != nil {
				t.Errorf("%s/%s: %v", s.name, r.ID, err)
			}
			n++
			if d := compare(s.name, tr, r); d != "" {
				differ++
				t.Errorf("%s/%s: %s", s.name, r.ID, d)
			}
		}
	}
	t.Logf("%d recorded requests, %d differ", n, differ)
	if n < 100 {
		t.Errorf("only %d recorded requests", n)
	}
}

// A trace that reads only what it needs, by name, ends as one over the whole dump, and
// asks for nothing twice.
func TestNeedsAreEnough(t *testing.T) {
	for _, s := range scenes(t) {
		whole := read(t, s.pod)
		p := newAsking(t, s.pod)
		part := read(t, p)
		for _, r := range s.requests {
			q, err := s.request(r)
			if err != nil {
				t.Fatal(err)
			}
			p.asked = nil
			_, a, err1 := Trace(context.Background(), s.pod, whole, q, nil)
			_, b, err2 := Trace(context.Background(), p, part, q, nil)
			if err1 != nil || err2 != nil || a.Verdict != b.Verdict || a.Outcome != b.Outcome || a.Caller != b.Caller || len(a.Variants) != len(b.Variants) {
				t.Errorf("%s/%s: whole %v %+v, by name %v %+v (asked %v, needs %v) %v %v", s.name, r.ID, a.Verdict, a.Outcome, b.Verdict, b.Outcome, p.asked, b.Needs, err1, err2)
			}
			for i, n := range p.asked {
				if slices.Contains(p.asked[:i], n) {
					t.Errorf("%s/%s: asked twice for %v", s.name, r.ID, n)
				}
			}
		}
	}
}

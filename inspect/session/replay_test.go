package session

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// observed are the captures, conntrack events and access logs of the recordings, by scene.
func observed(t *testing.T) map[string]map[string][]byte {
	t.Helper()
	zr, err := zip.OpenReader("testdata/observed.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	out := map[string]map[string][]byte{}
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
		if out[dir] == nil {
			out[dir] = map[string][]byte{}
		}
		out[dir][name] = data
	}
	return out
}

// recording is a scene's pod together with what was seen of its traffic.
func recording(t *testing.T, s scene, seen map[string][]byte) (inspect.Pod, Reading) {
	t.Helper()
	snap, err := s.pod.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(snap.Files)
	maps.Copy(files, seen)
	pod := saved.New(s.name, files)
	r, err := Read(context.Background(), pod, inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return pod, r
}

// replay confirms a recorded request from its recording.
func replay(t *testing.T, pod inspect.Pod, r Reading, q flow.Request, port uint16) confirm.Report {
	t.Helper()
	if q.Src.Port() == 0 {
		any := netip.IPv4Unspecified()
		if q.Dst.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		q.Src = netip.AddrPortFrom(any, port)
	}
	_, rep, err := Confirm(context.Background(), pod, r, q, ConfirmOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// logOf is the access log of all requests, as each line stands beside its request.
func logOf(t *testing.T, s scene) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, r := range s.requests {
		for _, line := range r.AccessLog {
			raw, err := json.Marshal(line)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(raw, '\n'))
		}
	}
	return b.Bytes()
}

// meanwhile is a recorded pod that is watched while one request was made, as a live one is:
// what was seen before and after is left out, and Envoy's counters grow by what they grew by.
type meanwhile struct {
	inspect.Pod
	made recorded
	read bool // they were read before
}

// brief is a watch with another channel.
type brief struct {
	inspect.Watch
	c chan []flow.Observation
}

func (w brief) C() <-chan []flow.Observation { return w.c }

func (p *meanwhile) Observe(ctx context.Context, legs []flow.Leg, opt inspect.ObserveOptions) (inspect.Watch, error) {
	w, err := p.Pod.Observe(ctx, legs, opt)
	if err != nil {
		return nil, err
	}
	out := make(chan []flow.Observation)
	go func() { // ends when the recording was read
		defer close(out)
		for batch := range w.C() {
			out <- slices.DeleteFunc(slices.Clone(batch), func(o flow.Observation) bool {
				return o.Kind != flow.SeenAccessLog && !p.made.meanwhile(o.At)
			})
		}
	}()
	return brief{w, out}, nil
}

func (p *meanwhile) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	snap, err := p.Pod.Read(ctx, want)
	if err != nil || !slices.Contains(want.Parts, "stats") {
		return snap, err
	}
	values := maps.Clone(p.made.Grew)
	for name := range values {
		values[name] = 0
	}
	for line := range bytes.Lines(snap.Files["stats"]) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			values[name] = n
		}
	}
	var b bytes.Buffer
	for name, n := range values {
		if p.read {
			n += p.made.Grew[name]
		}
		fmt.Fprintf(&b, "%s: %d\n", name, n)
	}
	// They were read before all that was recorded, and after it.
	call := inspect.Call{Start: time.Unix(0, 0)}
	if p.read {
		call.Start = time.Unix(1<<33, 0)
	}
	snap.Calls = []inspect.Call{call}
	p.read = true
	// The recorder did not read those of rules and endpoints each time.
	snap.Files = map[string][]byte{"stats": b.Bytes()}
	return snap, nil
}

// The recordings replay to the truth that stands beside them: each step has the word that
// follows from what the recorder wrote of its request, with Envoy's log and without, with its
// counters and without. A step that was not observed has a reason.
func TestReplay(t *testing.T) {
	files := observed(t)
	words, why := map[string]map[confirm.Word]int{}, map[string]int{}
	for _, s := range scenes(t) {
		seen := files[s.name]
		if seen == nil || seen["observed/lo.pcap"] == nil {
			continue // the loop was recorded without packets
		}
		packets := packetsOf(t, seen)
		delete(seen, "observed/access.log") // some lines were flushed after it was read
		for _, withLog := range []bool{true, false} {
			delete(seen, "access.log")
			if withLog {
				seen["access.log"] = logOf(t, s)
			}
			pod, reading := recording(t, s, seen)
			for _, counted := range []bool{true, false} {
				mode := fmt.Sprintf("log %v, counters %v", withLog, counted)
				if words[mode] == nil {
					words[mode] = map[confirm.Word]int{}
				}
				for _, r := range s.requests {
					q, err := s.request(r)
					if err != nil {
						t.Fatal(err)
					}
					watched := pod
					if counted {
						watched = &meanwhile{Pod: pod, made: r}
					}
					rep := replay(t, watched, reading, q, r.SourcePort)
					if r.ID == "burst" { // five requests on one connection: two were delivered, and three were not
						if rep.Word == confirm.Contradicted {
							t.Errorf("%s/burst: %v\n%s", s.name, rep.Word, render.ReportText(rep))
						}
						continue
					}
					words[mode][rep.Word]++
					compareWords(t, s.name+"/"+r.ID+" with "+mode, rep, truthOf(t, r, packets, seen["observed/conntrack-events"], withLog, counted), why)
				}
			}
		}
	}
	for mode, n := range words {
		t.Logf("with %s: %v", mode, n)
		if all := n[confirm.Confirmed] + n[confirm.NotObserved]; all != 140 || n[confirm.Confirmed] == 0 {
			t.Errorf("with %s: %d requests, want the 140 of all recordings with packets", mode, all)
		}
	}
	for reason, n := range why {
		t.Logf("%d steps were not observed: %s", n, reason)
	}
}

// compareWords reports each step whose word is not what the truth says, and counts the
// reasons of what was not observed.
func compareWords(t *testing.T, what string, rep confirm.Report, u truth, why map[string]int) {
	t.Helper()
	whole := confirm.Confirmed
	for _, at := range rep.Steps {
		want, reason := u.word(rep.Trace, at)
		if want != at.Word {
			t.Errorf("%s: connection %d, %v %s: %v, want %v %s", what, at.Leg+1, at.Stage, at.Subject, at.Word, want, reason)
		}
		if want == confirm.NotObserved {
			whole = confirm.NotObserved
			if reason == "" {
				t.Errorf("%s: %v was not observed, and nothing says why", what, at.Stage)
			}
			why[reason]++
		}
	}
	if rep.Word != whole {
		t.Errorf("%s: %v, want %v\n%s", what, rep.Word, whole, render.ReportText(rep))
	}
}

package session

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/capture"
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

// notCaptured says whether all that was not observed is of connections to an endpoint to
// which the captures hold no data while the request's own connection was open: some were cut
// before the proxy's own, and what a pooled one carried before shows nothing of this request.
func notCaptured(t *testing.T, rep confirm.Report, port uint16, seen map[string][]byte) bool {
	t.Helper()
	var packets []flow.Observation
	for _, name := range []string{"observed/eth0.pcap", "observed/lo.pcap"} {
		p, _, err := capture.ReadPackets(seen[name], name, capture.Keep{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		packets = append(packets, p...)
	}
	var first, last time.Time
	for _, o := range packets {
		if o.Tuple.Src.Port() != port && o.Tuple.Dst.Port() != port {
			continue
		}
		if first.IsZero() || o.At.Before(first) {
			first = o.At
		}
		if o.At.After(last) {
			last = o.At
		}
	}
	for _, st := range rep.Steps {
		if st.Word != confirm.NotObserved {
			continue
		}
		to := rep.Trace.Outcome.Endpoint
		if st.Leg > 0 {
			to = rep.Trace.Legs[st.Leg].To.Dst.String()
		} else if st.Stage != flow.Endpoint {
			return false
		}
		for _, o := range packets {
			if o.Len > 0 && o.Tuple.Dst.String() == to && !o.At.Before(first) && !o.At.After(last) {
				return false
			}
		}
	}
	return rep.Word == confirm.NotObserved
}

// The recordings replay to the truth that stands beside them: what TestRecorded finds to be
// traced rightly is confirmed by packets, conntrack and Envoy's log together, and by packets
// and conntrack alone it is contradicted by nothing.
func TestReplay(t *testing.T) {
	seen := observed(t)
	with, without := map[confirm.Word]int{}, map[confirm.Word]int{}
	for _, s := range scenes(t) {
		if seen[s.name] == nil || seen[s.name]["observed/lo.pcap"] == nil {
			continue // the loop was recorded without packets
		}
		delete(seen[s.name], "observed/access.log") // some lines were flushed after it was read
		blind, blindReading := recording(t, s, seen[s.name])
		seen[s.name]["access.log"] = logOf(t, s)
		pod, reading := recording(t, s, seen[s.name])
		for _, r := range s.requests {
			q, err := s.request(r)
			if err != nil {
				t.Fatal(err)
			}
			rep := replay(t, pod, reading, q, r.SourcePort)
			with[rep.Word]++
			if rep.Word != confirm.Confirmed && rep.Trace.Verdict != flow.Unknown && !notCaptured(t, rep, r.SourcePort, seen[s.name]) {
				t.Errorf("%s/%s: %v\n%s", s.name, r.ID, rep.Word, render.ReportText(rep))
			}
			rep = replay(t, blind, blindReading, q, r.SourcePort)
			without[rep.Word]++
			if rep.Word == confirm.Contradicted {
				t.Errorf("%s/%s without a log: %v\n%s", s.name, r.ID, rep.Word, render.ReportText(rep))
			}
		}
	}
	t.Logf("replayed with the access log %v, without %v", with, without)
	if with[confirm.Confirmed] < 80 { // of the rest the captures lack the proxy's own connection: notCaptured
		t.Errorf("only %d are confirmed", with[confirm.Confirmed])
	}
}

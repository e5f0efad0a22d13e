package agent

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/meshtop/meshtop/inspect"
)

// read reads, tells the progress meanwhile, and then gives the parts one by one.
func (s *server) read(w http.ResponseWriter, r *http.Request) {
	var q want
	if !asked(w, r, &q) {
		return
	}
	told := make(chan inspect.Progress, 64)
	type result struct {
		snap inspect.Snapshot
		err  error
	}
	done := make(chan result, 1)
	go func() {
		snap, err := s.pod.Read(r.Context(), inspect.Want{
			Parts: q.Parts, Needs: q.Needs, Full: q.Full, MaxBytes: q.MaxBytes,
			Progress: func(p inspect.Progress) {
				select {
				case told <- p:
				default: // whoever reads must not wait for whoever looks
				}
			},
		})
		done <- result{snap, err}
	}()
	out := json.NewEncoder(w)
	flush := func() { _ = http.NewResponseController(w).Flush() }
	tell := func(p inspect.Progress) {
		_ = out.Encode(readEvent{Progress: progressOf(p)})
		flush()
	}
	for {
		select {
		case p := <-told:
			tell(p)
		case got := <-done:
			for len(told) > 0 {
				tell(<-told)
			}
			sendParts(w, out, got.snap.Files)
			_ = out.Encode(readEvent{End: &readEnd{gapsOf(got.snap.Gaps), got.snap.Calls, faultOf(got.err)}})
			return
		}
	}
}

// sendParts writes each part behind its line.
func sendParts(w http.ResponseWriter, out *json.Encoder, files inspect.Files) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if out.Encode(readEvent{Part: name, Bytes: int64(len(files[name]))}) != nil {
			return
		}
		if _, err := w.Write(files[name]); err != nil {
			return
		}
	}
}

func progressOf(p inspect.Progress) *progress {
	out := &progress{Part: p.Part, Bytes: p.Bytes, Total: p.Total, Done: p.Done}
	if p.Err != nil {
		out.Err = p.Err.Error()
	}
	return out
}

package agent

import (
	"encoding/json"
	"io"
	"net/http"
)

// observe watches until the caller says that it is enough (the end of its question's body),
// or goes, or the watch ends, and tells what is seen.
func (s *server) observe(w http.ResponseWriter, r *http.Request) {
	var q observe
	if !asked(w, r, &q) {
		return
	}
	enough := func() { _, _ = io.Copy(io.Discard, r.Body) }
	out := json.NewEncoder(w)
	watch, err := s.pod.Observe(r.Context(), q.Legs, q.Opt)
	if err != nil {
		_ = out.Encode(seen{Error: faultOf(err)})
		return
	}
	defer watch.Close()
	rc := http.NewResponseController(w)
	if out.Encode(seen{Ready: true}) != nil || rc.Flush() != nil {
		return
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		enough()
		select {
		case <-over:
		default:
			_ = watch.Close()
		}
	}()
	for batch := range watch.C() {
		// The batch is lent: it is written before the next is asked for.
		if out.Encode(seen{Observations: batch, Loss: lossOf(watch.Loss())}) != nil || rc.Flush() != nil {
			return
		}
	}
	_ = out.Encode(seen{Final: true, Loss: lossOf(watch.Loss()), Error: faultOf(watch.Close())})
}

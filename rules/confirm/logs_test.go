package confirm

import (
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// bareLine is a line that names no client, as Envoy's default format has it.
func bareLine(ms int, method, path, host string) flow.Observation {
	return flow.Observation{Kind: flow.SeenAccessLog, At: t0.Add(time.Duration(ms) * time.Millisecond),
		Fields: map[string]string{"req_method": method, "req_path": path, "upstream_host": host, "response_code": "200"}}
}

// A line without its client's address is the request's only where nothing else can have
// caused it.
func TestLinesWithoutAClient(t *testing.T) {
	const other = "10.9.9.9:80"
	alone := []flow.Observation{counter("listener.0.0.0.0_15001.downstream_cx_total", "", 5, 6), counter("http.out.downstream_rq_total", "", 5, 6)}
	inbound := append(alone[:2:2], counter("listener.0.0.0.0_15006.downstream_cx_total", "", 1, 2))
	untimed := bareLine(1, "GET", "/", svc.String())
	untimed.At = time.Time{}
	elsewhere := bareLine(1, "GET", "/", svc.String())
	elsewhere.Fields["downstream_local_address"] = other
	for _, c := range []struct {
		what     string
		counters []flow.Observation
		line     flow.Observation
		want     Word
		why      flow.ReasonKind
	}{
		{"the only one there was", alone, bareLine(1, "GET", "/", svc.String()), Confirmed, flow.SeenLog},
		{"the only one, to another endpoint", alone, bareLine(1, "GET", "/", other), Contradicted, flow.SeenOther},
		{"another connection came to another listener", inbound, bareLine(1, "GET", "/", other), NotObserved, flow.SeenBusy},
		{"nothing was counted", nil, bareLine(1, "GET", "/", other), Confirmed, flow.SeenSYN},
		{"of a request before", alone, bareLine(-500, "GET", "/", other), Confirmed, flow.SeenSYN},
		{"without a time", alone, untimed, Confirmed, flow.SeenSYN},
		{"of another path", alone, bareLine(1, "GET", "/x", other), Confirmed, flow.SeenSYN},
		{"of another method", alone, bareLine(1, "POST", "/", other), Confirmed, flow.SeenSYN},
		{"to another address", alone, elsewhere, Confirmed, flow.SeenSYN},
		{"of no request, as a TCP proxy writes it", alone, bareLine(1, "-", "-", svc.String()), Confirmed, flow.SeenLog},
	} {
		tr := mesh()
		tr.Request.HTTP = &flow.HTTP{Path: "/"}
		seen := append(append(asSeen()[:8:8], c.line), c.counters...)
		st := Check(tr, seen, flow.Loss{}, ours).Steps[5]
		if st.Stage != flow.Endpoint || st.Word != c.want || st.Why.Kind != c.why {
			t.Errorf("%s: %v %v %v, want %v %v", c.what, st.Stage, st.Word, st.Why, c.want, c.why)
		}
	}
}

// The name that a cluster has in statistics is another's, too, where it was given one.
func TestStatNames(t *testing.T) {
	for _, c := range []struct {
		logged, name string
		shared       bool
		want         Word
	}{
		{"c", "c", false, Confirmed},
		{"d", "c", false, Contradicted},
		{"alt", "alt", true, NotObservable},
		{"c", "alt", true, Contradicted},
		{"-", "c", false, NotObservable},
	} {
		line := logLine("", svc.String(), "-")
		line.Fields["upstream_cluster"] = c.logged
		k := ours
		k.StatName = func(string) (string, bool, bool) { return c.name, c.shared, true }
		st := Check(mesh(), append(asSeen()[:8:8], line), flow.Loss{}, k).Steps[4]
		if st.Stage != flow.Cluster || st.Word != c.want {
			t.Errorf("%s for %s (shared %v): %v %v", c.logged, c.name, c.shared, st.Word, st.Why)
		}
	}
}

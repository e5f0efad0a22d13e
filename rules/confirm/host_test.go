package confirm

import (
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// The counters of the endpoints tell where a request went that nothing else shows, unless
// there were others.
func TestHostCounters(t *testing.T) {
	read := func(a, b string) map[string]Counter {
		return Counters(map[string][]byte{"clusters.json": []byte(`{"cluster_statuses":[{"name":"c","host_statuses":[
			{"address":{"socket_address":{"address":"10.107.42.16","port_value":80}},"stats":[{"name":"rq_total","value":"` + a + `"},{"name":"cx_active","value":"9"}]},
			{"address":{"socket_address":{"address":"10.107.42.99","port_value":80}},"stats":[{"name":"rq_total","value":"` + b + `"},{"name":"cx_total"},{"name":"rq_error"}]},
			{"address":{"pipe":{"path":"/x"}}}]},{"name":"d"}]}`)})
	}
	if n := read("1", "2"); len(n) != 3 || n["cluster c endpoint 10.107.42.99:80 rq_total"].N != 2 {
		t.Errorf("%v", n)
	}
	if n := Counters(map[string][]byte{"clusters.json": []byte(`{"cluster_statuses":7}`)}); len(n) != 0 {
		t.Errorf("%v", n)
	}
	seen := append(asSeen()[:3:3], asSeen()[7]) // with its answer
	for _, c := range []struct {
		what  string
		after map[string]Counter
		more  []flow.Observation
		want  Word
	}{
		{"the predicted one's", read("2", "2"), nil, Confirmed},
		{"another one's", read("1", "3"), nil, Contradicted},
		{"two more: of others, too", read("1", "4"), nil, NotObserved},
		{"none", read("1", "2"), nil, NotObserved},
		{"another connection came", read("1", "3"), []flow.Observation{pkt(1, "lo", up, trap, flow.SYN, 0)}, NotObserved},
	} {
		all := append(append(seen[:4:4], Deltas(read("1", "2"), c.after, readings(-time.Second, time.Minute))...), c.more...)
		if r := Check(mesh(), all, flow.Loss{}, ours); word(r, 0, 5) != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 5), r.Steps[5].Why, c.want)
		}
	}
}

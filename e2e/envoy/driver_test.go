package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// startOracle is an oracle in the inner process of an isolated test.
func startOracle(t testing.TB) *Oracle {
	t.Helper()
	o, err := NewOracle(power.Envoy(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// runClear runs a batch until no case of it has trouble that a loaded machine alone brings
// about: in an idle one that is the first time.
func runClear(t testing.TB, o *Oracle, b *Batch) *Result {
	t.Helper()
	for try := 1; ; try++ {
		r, err := o.Run(context.Background(), b)
		if err == nil && !slices.ContainsFunc(r.Trouble, func(why string) bool { return why != "" }) {
			return r
		}
		trouble := fmt.Sprint(err)
		if r != nil {
			trouble = fmt.Sprintf("%q", r.Trouble)
		}
		t.Logf("%s: run %d of %d: %s", b.World.ID, try, runs, trouble)
		if try == runs {
			t.FailNow()
		}
	}
}

// overlap: where Envoy draws, two runs need not give the same set, but one of each kind.
func overlap(a, b []Outcome, repeat int) bool {
	kind := func(o Outcome) string {
		o = asRecorded(o)
		if repeat > 1 {
			o.Cluster, o.Host, o.Upstream, o.Client = "", "", nil, nil
		}
		j, _ := json.Marshal(o)
		return string(j)
	}
	seen := map[string]bool{}
	for _, x := range a {
		seen[kind(x)] = true
	}
	for _, x := range b {
		if seen[kind(x)] {
			return true
		}
	}
	return false
}

// asRecorded is an outcome without what the recordings do not hold.
func asRecorded(o Outcome) Outcome {
	if u := o.Upstream; u != nil {
		o.Upstream = &UpstreamSide{Method: u.Method, Target: u.Target, Host: u.Host, Headers: u.Headers}
		if u.Method == "" || u.Method == "HEAD" {
			o.Upstream = nil
		}
	}
	if c := o.Client; c != nil && c.Headers["x-eo-addr"] != "" {
		seen := *c
		seen.Headers = maps.Clone(c.Headers)
		if delete(seen.Headers, "x-eo-addr"); len(seen.Headers) == 0 {
			seen.Headers = nil
		}
		o.Client = &seen
	}
	return o
}

// The driver sees what was recorded: one world of each family, sent again.
func TestDriverReplays(t *testing.T) {
	if !Isolated(t) {
		return
	}
	o := startOracle(t)
	done := map[string]bool{}
	for _, set := range committedVectors(t) {
		for _, id := range set.Worlds() {
			rec, err := set.World(id)
			if err != nil {
				t.Fatal(err)
			}
			if done[rec.World.Family] {
				continue
			}
			done[rec.World.Family] = true
			replay(t, o, set, rec)
		}
	}
	if len(done) != 4 {
		t.Errorf("families %v, want four", done)
	}
}

func replay(t *testing.T, o *Oracle, set Vectors, rec *Recorded) {
	b := &Batch{World: rec.World}
	var want []Case
	for _, c := range set.Cases {
		if c.World == rec.World.ID {
			b.Requests = append(b.Requests, c.Request)
			want = append(want, c)
		}
	}
	r := runClear(t, o, b)
	for i, c := range want {
		if !overlap(c.Outcomes, r.Cases[i].Outcomes, c.Request.Repeat) {
			was, _ := json.Marshal(c.Outcomes)
			now, _ := json.Marshal(r.Cases[i].Outcomes)
			t.Errorf("%s/%s:\nwas %s\nnow %s", c.World, c.Request.ID, was, now)
		}
	}
	if len(r.Refused) != len(rec.Refused) {
		t.Errorf("%s: %d refused resources, want %d", rec.World.ID, len(r.Refused), len(rec.Refused))
	}
	t.Logf("%s: %d cases, %d connections", rec.World.ID, len(want), r.Sent)
}

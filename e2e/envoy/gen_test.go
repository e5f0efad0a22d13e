package envoy

import (
	"bytes"
	"encoding/json"
	"testing"
)

var families = []string{"l4", "handoff", "http", "lb"}

// The same seed gives the same batch, another stream another.
func TestGenerateIsDeterministic(t *testing.T) {
	for _, f := range families {
		text := func(stream uint64) []byte {
			b, err := json.Marshal(Generate(7, stream, f))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if !bytes.Equal(text(3), text(3)) {
			t.Errorf("%s: the same stream differs from itself", f)
		}
		if bytes.Equal(text(3), text(4)) {
			t.Errorf("%s: two streams are alike", f)
		}
	}
}

// Envoy takes nearly all that the generator makes, and answers nearly all of it: one that
// makes refused configurations judges nothing.
func TestGeneratedIsTaken(t *testing.T) {
	if !Isolated(t) {
		return
	}
	o := startOracle(t)
	for _, f := range families {
		made, refused, silent, ends := 0, 0, 0, map[string]bool{}
		for stream := range uint64(3) {
			b := Generate(5, stream, f)
			r := runClear(t, o, b)
			made += len(b.World.Listeners) + len(b.World.Clusters)
			refused += len(r.Refused)
			for _, x := range r.Refused {
				t.Logf("%s %s refused: %s", b.World.ID, x.Name, x.Error)
			}
			for _, c := range r.Cases {
				for _, x := range c.Outcomes {
					ends[x.Log+" "+x.Flags+" "+x.Details+" "+x.Term] = true
					if x.Log == "none" {
						silent++
						if stream == 0 {
							j, _ := json.Marshal(c)
							t.Logf("%s", j)
						}
					}
				}
			}
		}
		t.Logf("%s: %d resources, %d refused, %d outcomes without a log line, %d kinds of end", f, made, refused, silent, len(ends))
		if refused*20 > made {
			t.Errorf("%s: %d of %d resources are refused", f, refused, made)
		}
		if least := map[string]int{"l4": 6, "handoff": 6, "http": 15, "lb": 2}[f]; len(ends) < least {
			t.Errorf("%s: %d kinds of end, want %d at least", f, len(ends), least)
		}
	}
}

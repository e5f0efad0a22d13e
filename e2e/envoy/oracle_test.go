package envoy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/envoy"
)

var (
	oracleCases  = flag.Int("oracle.cases", 0, "judge at least so many random cases; 0: as many as oracle.time allows")
	oracleTime   = flag.Duration("oracle.time", time.Minute, "how long to judge random cases where their number is not given")
	oracleFamily = flag.String("oracle.family", "", "only this family")
	oracleShrink = flag.Int("oracle.shrink", 2, "how many disagreements are shrunk and kept")
	oracleFrom   = flag.Uint64("oracle.from", 0, "the first world, to see one again: a world is named FAMILY-SEED-NUMBER")
	seedFlag     = flag.Uint64("seed", 0, "seed of the random cases; 0: a new one")
)

// shrinkTime bounds the search for a smaller case of one disagreement.
const shrinkTime = 2 * time.Minute

// Random configurations and requests in a real Envoy end as meshtop says:
//
//	go test ./e2e/envoy -run TestRandom -v -oracle.cases 10000 -seed 1
//
// A disagreement is shrunk and kept in rules/testdata/envoy.
func TestRandom(t *testing.T) {
	if !Isolated(t) {
		return
	}
	h := &hunt{t: t, oracle: startOracle(t), tally: newTally(), seed: *seedFlag, start: time.Now()}
	if h.seed == 0 && testing.Short() {
		h.seed = 1
	}
	if h.seed == 0 {
		var b [8]byte
		rand.Read(b[:])
		h.seed = binary.LittleEndian.Uint64(b[:]) >> 32
	}
	t.Logf("seed %d", h.seed)
	for stream := *oracleFrom; h.more(); stream++ {
		h.judge(Generate(h.seed, stream, *oracleFamily))
	}
	h.tally.report(t, fmt.Sprintf("seed %d, %d worlds, %d connections, %d crashes", h.seed, h.worlds, h.sent, h.crashes))
}

// hunt is one run of the oracle.
type hunt struct {
	t                                   *testing.T
	oracle                              *Oracle
	tally                               *tally
	seed                                uint64
	start                               time.Time
	worlds, sent, crashes, cases, shrun int
}

func (h *hunt) more() bool {
	if *oracleCases > 0 {
		return h.cases < *oracleCases
	}
	limit := *oracleTime
	if testing.Short() {
		limit = min(limit, 4*time.Second)
	}
	return time.Since(h.start) < limit
}

func (h *hunt) judge(b *Batch) {
	r, err := h.oracle.Run(context.Background(), b)
	if crash := new(Crash); errors.As(err, &crash) {
		h.t.Logf("%s: %v", b.World.ID, err)
		h.crashes++
		return
	}
	if err != nil {
		h.t.Fatalf("%s: %v", b.World.ID, err)
	}
	cfg, err := loadWhole(r.Files)
	if err != nil {
		h.t.Errorf("%s: %v", b.World.ID, err)
		return
	}
	h.worlds++
	h.sent += r.Sent
	for i := range r.Cases {
		c := &r.Cases[i]
		if refusedThere(c) {
			continue
		}
		h.cases++
		j := judgeCase(h.t, cfg, c)
		h.tally.add(c, j)
		if j.Word == Disagree && h.shrun < *oracleShrink {
			h.shrun++
			h.keep(b, c)
		}
	}
}

// refusedThere: Envoy did not take that listener.
func refusedThere(c *Case) bool {
	return len(c.Outcomes) == 1 && c.Outcomes[0].Client != nil && c.Outcomes[0].Client.Error != ""
}

// fieldNames are those of a differ's text.
var fieldNames = regexp.MustCompile(`[a-z ]+: envoy`)

// keep shrinks a disagreement and writes it down.
func (h *hunt) keep(b *Batch, c *Case) {
	one := &Batch{World: b.World, Requests: []Request{c.Request}}
	one.Requests[0].Group = ""
	var last *Result
	kind := "" // of the first disagreement: shrinking must not end at another one
	disagrees := func(b *Batch) bool {
		r, err := h.oracle.Run(context.Background(), b)
		if err != nil || refusedThere(&r.Cases[0]) || r.Cases[0].Outcomes[0].Log == "none" {
			return false
		}
		cfg, _, err := envoy.Load(r.Files)
		if err != nil {
			return false
		}
		j := judgeCase(h.t, cfg, &r.Cases[0])
		if k := r.Cases[0].Outcomes[0].Log + fmt.Sprint(fieldNames.FindAllString(j.Why, -1)); j.Word != Disagree || kind != "" && k != kind {
			return false
		} else {
			kind = k
		}
		last = r
		return true
	}
	if !disagrees(one) {
		h.t.Logf("%s/%s disagrees only among the other requests: not kept", c.World, c.Request.ID)
		return
	}
	Shrink(one, shrinkTime, disagrees)
	path, err := Keep(KeptDir, c.World+"-"+c.Request.ID, &last.Cases[0], last.Files)
	h.t.Logf("kept as %s %v", path, err)
}

// What once disagreed agrees now, and stays so.
func TestKept(t *testing.T) {
	kept, err := ReadKept(KeptDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		cfg, err := loadWhole(k.Files)
		if err != nil {
			t.Errorf("%s: %v", k.Path, err)
			continue
		}
		if j := judgeCase(t, cfg, &k.Case); j.Word != Agree {
			t.Errorf("%s: %s", k.Path, j.Why)
		}
	}
}

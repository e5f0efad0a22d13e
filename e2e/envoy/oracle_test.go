package envoy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
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
	h.report()
}

// hunt is one run of the oracle.
type hunt struct {
	t                        *testing.T
	oracle                   *Oracle
	tally                    *tally
	seed                     uint64
	start                    time.Time
	worlds, sent             int
	crashes, refused, cases  int
	elsewhere                int // cases that an endpoint answered to which another than the logged host led
	kept                     int
	failed, unjudged, unsure []string // worlds that did not run; cases without a judgement; disagreements that did not come again
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

// runs is how often a world is tried: a disagreement counts when it comes twice, in two
// processes. What a loaded machine does once (a client that is late, a log line that does
// not come) is so told from what Envoy does.
const runs = 4

func (h *hunt) judge(b *Batch) {
	open := map[int]Judgement{}
	for try := range runs {
		if try > 0 && len(open) == 0 {
			return
		}
		r := h.run(b)
		if r == nil {
			return
		}
		cfg, err := loadWhole(r.Files)
		if err != nil {
			h.t.Errorf("%s: %v", b.World.ID, err)
			return
		}
		for i := range r.Cases {
			if _, waits := open[i]; try > 0 && !waits {
				continue
			}
			h.weigh(b, r, cfg, i, open)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(open)) {
		name := b.World.ID + "/" + b.Requests[i].ID
		if why := open[i].Why; open[i].Word == Disagree {
			h.unsure = append(h.unsure, name+": "+why)
		} else {
			h.unjudged = append(h.unjudged, name+": "+why)
		}
	}
}

// weigh judges one case of a run. It stays in open until it is sure.
func (h *hunt) weigh(b *Batch, r *Result, cfg *envoy.Config, i int, open map[int]Judgement) {
	c := &r.Cases[i]
	if r.refused(c.Request.Accept) && c.Outcomes[0].Client.Error != "" {
		h.refused++
		delete(open, i)
		return
	}
	j, trouble := judgeCase(h.t, cfg, c), r.Trouble[i]
	if trouble != "" && j.Word != Disagree && c.Outcomes[0].Log != "none" {
		trouble = "" // it came in time all the same
	}
	if !settle(open, i, j, trouble) {
		return
	}
	h.cases++
	if slices.ContainsFunc(c.Outcomes, func(o Outcome) bool { return o.Upstream != nil && o.Upstream.elsewhere(&o) }) {
		h.elsewhere++
	}
	h.tally.add(c, j)
	if j.Word == Disagree && h.kept < *oracleShrink {
		h.kept++
		h.keep(b, c)
	}
}

// settle says whether a judgement counts: at once, unless it is a disagreement, which must
// come twice, or trouble. A case that disagreed once stays open until it does so again.
func settle(open map[int]Judgement, i int, j Judgement, trouble string) bool {
	before, again := open[i]
	disagreed := again && before.Word == Disagree
	switch {
	case trouble != "":
		if !disagreed {
			open[i] = Judgement{Word: Unsure, Why: trouble}
		}
		return false
	case disagreed != (j.Word == Disagree):
		if !disagreed {
			open[i] = j
		}
		return false
	}
	delete(open, i)
	return true
}

// run runs a world; nil: it did not run, and that is counted. An Envoy that does not start
// or does not answer is tried again.
func (h *hunt) run(b *Batch) *Result {
	var err error
	for range runs {
		var r *Result
		if r, err = h.oracle.Run(context.Background(), b); err == nil {
			h.worlds++
			h.sent += r.Sent
			return r
		}
		h.t.Logf("%s: %v", b.World.ID, err)
		if crash := new(Crash); errors.As(err, &crash) {
			h.crashes++
			return nil
		}
	}
	h.failed = append(h.failed, fmt.Sprintf("%s: %v", b.World.ID, err))
	return nil
}

// report prints what was found, and fails where disagreements came twice or too little was
// judged to say anything.
func (h *hunt) report() {
	t := h.t
	for what, l := range map[string][]string{"did not run": h.failed, "not judged": h.unjudged, "disagreed once, then not": h.unsure} {
		for _, x := range l {
			t.Logf("%s: %s", what, x)
		}
	}
	t.Logf("trouble: %d worlds did not run, %d cases not judged, %d disagreed once and not in %d further runs, %d crashes, %d of refused listeners",
		len(h.failed), len(h.unjudged), len(h.unsure), runs-1, h.crashes, h.refused)
	h.tally.report(t, fmt.Sprintf("seed %d, %d worlds, %d connections", h.seed, h.worlds, h.sent))
	t.Logf("%d cases went on from the logged host to another: what arrived there is judged by TestJoined", h.elsewhere)
	if h.elsewhere > 5 && h.elsewhere*20 > h.cases {
		t.Errorf("of %d of %d cases what arrived is not compared", h.elsewhere, h.cases)
	}
	for _, f := range mix {
		if n := h.tally.of(f); *oracleFamily == "" && h.worlds >= len(mix) && n[Agree] == 0 {
			t.Errorf("of family %s nothing agreed", f)
		}
	}
	if n := len(h.unjudged) + len(h.unsure); n > 5 && n*50 > h.cases {
		t.Errorf("%d of %d cases could not be judged: this machine is too busy, or the driver is wrong", n, h.cases)
	}
	if n := len(h.failed) + h.crashes; n > 3 && n*10 > h.worlds {
		t.Errorf("%d of %d worlds did not run", n, n+h.worlds)
	}
}

// fieldNames are those of a differ's text.
var fieldNames = regexp.MustCompile(`[a-zA-Z][a-zA-Z -]*: envoy`)

// keep shrinks a disagreement and writes it down.
func (h *hunt) keep(b *Batch, c *Case) {
	one := &Batch{World: b.World, Requests: []Request{c.Request}}
	one.Requests[0].Group = ""
	var last *Result
	kind := "" // of the first disagreement: shrinking must not end at another one
	disagrees := func(b *Batch) bool {
		if _, _, err := b.Requests[0].Flow(); err != nil {
			return false
		}
		r, err := h.oracle.Run(context.Background(), b)
		if err != nil || r.Trouble[0] != "" || r.Cases[0].Outcomes[0].Client.Error != "" {
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

// A disagreement counts when it comes twice; trouble never does, and hides none that came.
func TestSettle(t *testing.T) {
	agree, disagree := Judgement{Word: Agree}, Judgement{Word: Disagree, Why: "why"}
	type run struct {
		j       Judgement
		trouble string
	}
	for _, c := range []struct {
		name string
		runs []run
		want string // the judgement that counts; or what stays open
	}{
		{"agrees", []run{{agree, ""}}, "agree"},
		{"unknown", []run{{Judgement{Word: Unsure}, ""}}, "unknown"},
		{"once is not sure", []run{{disagree, ""}}, "open, disagree"},
		{"twice is", []run{{disagree, ""}, {disagree, ""}}, "disagree"},
		{"twice with one that agrees between", []run{{disagree, ""}, {agree, ""}, {disagree, ""}}, "disagree"},
		{"once, and then not", []run{{disagree, ""}, {agree, ""}, {agree, ""}, {agree, ""}}, "open, disagree"},
		{"trouble is no disagreement", []run{{disagree, "late"}, {disagree, "late"}}, "open"},
		{"trouble, then agreement", []run{{agree, "late"}, {agree, ""}}, "agree"},
		{"trouble hides none", []run{{disagree, ""}, {agree, "late"}, {disagree, ""}}, "disagree"},
		{"trouble, then twice", []run{{disagree, "late"}, {disagree, ""}, {disagree, ""}}, "disagree"},
	} {
		open, got := map[int]Judgement{}, ""
		for _, r := range c.runs {
			if settle(open, 3, r.j, r.trouble) {
				got = [...]string{"disagree", "agree", "unknown"}[r.j.Word]
			}
		}
		if o, ok := open[3]; ok {
			got = "open" + map[bool]string{true: ", disagree"}[o.Word == Disagree]
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// keptCases is how many there are at least.
const keptCases = 17

// What once disagreed agrees now, and stays so.
func TestKept(t *testing.T) {
	kept, err := ReadKept(KeptDir)
	if err != nil || len(kept) < keptCases {
		t.Fatalf("%d cases, want at least %d: %v", len(kept), keptCases, err)
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

package envoy

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
)

var (
	vectorsDir = flag.String("vectors", "", "folder of vectors, or folder of such folders; empty: the committed ones")
	shown      = flag.Int("vectors.show", 20, "how many disagreements are printed")
	family     = flag.String("vectors.family", "", "only this family")
	onlyCase   = flag.String("vectors.case", "", "only WORLD/ID")
)

// mostUnknown is the share of the cases that may be unknown.
const mostUnknown = 0.06

// tally counts how cases ended, in all and by family.
type tally struct {
	word   map[string]*[3]int
	reason map[string]int // of the unknown ones
	lines  []string       // the first disagreements
}

func newTally() *tally { return &tally{word: map[string]*[3]int{}, reason: map[string]int{}} }

func (y *tally) add(c *Case, j Judgement) {
	for _, k := range []string{"", c.Family} {
		if y.word[k] == nil {
			y.word[k] = new([3]int)
		}
		y.word[k][j.Word]++
	}
	switch j.Word {
	case Unsure:
		y.reason[c.Family+": "+j.Why]++
	case Disagree:
		if len(y.lines) < *shown {
			y.lines = append(y.lines, fmt.Sprintf("%s/%s: %s\n%s", c.World, c.Request.ID, j.Why, raw(c.Request)))
		}
	}
}

func (y *tally) all() [3]int { return y.of("") }

func (y *tally) of(family string) [3]int {
	if n := y.word[family]; n != nil {
		return *n
	}
	return [3]int{}
}

// report prints the disagreements, the unknowns by reason, the families, and the sum; to
// have judged nothing is a failure.
func (y *tally) report(t *testing.T, what string) {
	for _, l := range y.lines {
		t.Error(l)
	}
	for _, l := range mostOf(y.reason, *shown) {
		t.Log("unknown: " + l)
	}
	for _, f := range []string{"l4", "handoff", "http", "lb"} {
		if n := y.word[f]; n != nil {
			t.Logf("%s: %d agree, %d disagree, %d unknown", f, n[Agree], n[Disagree], n[Unsure])
		}
	}
	n := y.all()
	sum := n[Agree] + n[Disagree] + n[Unsure]
	t.Logf("%s: %d agree, %d disagree, %d unknown of %d", what, n[Agree], n[Disagree], n[Unsure], sum)
	if sum == 0 {
		t.Error("nothing was judged")
	}
	if n[Disagree] > 0 {
		t.Errorf("%d disagreements", n[Disagree])
	}
	if float64(n[Unsure]) > mostUnknown*float64(sum) {
		t.Errorf("%d of %d are unknown, more than %.0f %%", n[Unsure], sum, 100*mostUnknown)
	}
}

// mostOf are the n most frequent texts with their count.
func mostOf(m map[string]int, n int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if m[keys[i]] != m[keys[j]] {
			return m[keys[i]] > m[keys[j]]
		}
		return keys[i] < keys[j]
	})
	for i, k := range keys[:min(n, len(keys))] {
		keys[i] = fmt.Sprintf("%d x %s", m[k], k)
	}
	return keys[:min(n, len(keys))]
}

func wantedVectors(t *testing.T) []Vectors {
	if *vectorsDir == "" {
		return committedVectors(t)
	}
	var fsys fs.FS = os.DirFS(*vectorsDir)
	vs, err := ReadVectors(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

// Every recorded case ends as the real Envoy ended it:
//
//	go test ./e2e/envoy -run TestVectors -v [-vectors DIR]
func TestVectors(t *testing.T) {
	y := newTally()
	for _, set := range wantedVectors(t) {
		for _, id := range set.Worlds() {
			judgeWorld(t, y, set, id)
		}
	}
	y.report(t, "vectors")
	if n := y.all(); *vectorsDir == "" && *family == "" && *onlyCase == "" && n[Agree]+n[Unsure] < committedCases {
		t.Errorf("%v are fewer than the %d cases that are committed", n, committedCases)
	}
}

// committedCases is how many the repository holds.
const committedCases = 3086

func judgeWorld(t *testing.T, y *tally, set Vectors, id string) {
	var cfg *envoy.Config
	for i := range set.Cases {
		c := &set.Cases[i]
		if c.World != id || *family != "" && c.Family != *family || !strings.HasPrefix(c.World+"/"+c.Request.ID, *onlyCase) {
			continue
		}
		if cfg == nil {
			rec, err := set.World(id)
			if err != nil {
				t.Fatal(err)
			}
			if cfg, err = loadWhole(rec.Files()); err != nil {
				t.Fatalf("world %s: %v", id, err)
			}
		}
		y.add(c, judgeCase(t, cfg, c))
	}
}

// loadWhole loads a snapshot that has no gap.
func loadWhole(files map[string][]byte) (*envoy.Config, error) {
	cfg, gaps, err := envoy.Load(files)
	if err == nil && len(gaps) > 0 {
		err = fmt.Errorf("gaps %v", gaps)
	}
	return cfg, err
}

func judgeCase(t *testing.T, cfg *envoy.Config, c *Case) Judgement {
	conn, req, err := c.Request.Flow()
	if err != nil {
		t.Fatal(err)
	}
	vs, cut := Variants(cfg.Accept, conn, &req)
	if cut {
		return Judgement{Word: Disagree, Why: fmt.Sprintf("more than %d variants", maxVariants)}
	}
	if *onlyCase != "" {
		show(t, vs)
	}
	return Judge(c, vs)
}

// show prints what the evaluator said of the one case that was asked for.
func show(t *testing.T, vs []Variant) {
	for i, v := range vs {
		t.Logf("variant %d: %v %+v %+v upstream %+v", i, v.Verdict, v.Outcome, v.Caller, v.Upstream)
		for _, s := range v.Steps {
			t.Logf("  %v %q %v: reason %d %q", s.Stage, s.Subject, s.Verdict, s.Reason.Kind, s.Reason.Args)
		}
	}
}

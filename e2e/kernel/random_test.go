package kernel

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/netfilter"
)

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the random rule sets and packets; 0 draws one")
	packets  = flag.Int("kernel.packets", 0, "packets for each form; 0: as many as fit into the 20 seconds of the gate")
	perSet   = flag.Int("kernel.per", 25, "packets for each rule set")
	formFlag = flag.String("kernel.form", "", "only this form: "+strings.Join(formNames[:], ", "))
	setFlag  = flag.Int("kernel.set", -1, "only this rule set of the seed")
	keep     = flag.String("kernel.keep", "", "folder to write disagreements to; empty: the test's own, gone with it")
)

// judged are the forms that netfilter.Walk answers for.
var judged = Forms()

// gateShare is the time that each form gets when no number of packets is asked for.
const gateShare = 20 * time.Second / time.Duration(len(formNames))

// maxShrunk bounds the disagreements of one form that are shrunk and written.
const maxShrunk = 3

// tally counts one form's packets.
type tally struct {
	sets, unusable, packets, hits int
	by                            [Undecided + 1]int
	load, run                     time.Duration
}

// The kernel and netfilter.Walk agree on random packets through random rule sets, for
// every form of rules: on the rules hit, in order, and on where the packet ends.
func TestRandom(t *testing.T) {
	l := New(t)
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1_000_000_000)
	}
	t.Logf("seed %d (again: -seed %d)", seed, seed)
	for _, f := range judged {
		if *formFlag == "" || *formFlag == f.String() {
			t.Run(f.String(), func(t *testing.T) { random(t, l, f, seed) })
		}
	}
}

func random(t *testing.T, l *Lab, f Form, seed uint64) {
	var n tally
	end := time.Now().Add(gateShare)
	for i := 0; n.packets < *packets || *packets == 0 && time.Now().Before(end); i++ {
		if *setFlag >= 0 {
			if i = *setFlag; n.sets > 0 {
				break
			}
		}
		if n.unusable > 10 && n.unusable > n.sets/4 {
			t.Fatalf("%d of %d rule sets do not load", n.unusable, n.sets)
		}
		randomSet(t, l, f, seed, uint64(i), &n)
	}
	t.Logf("%s: %d packets, %d rules hit, %d sets: %d agree, %d agree with one of several chances, %d undecided, %d disagree; load %v, run %v",
		f, n.packets, n.hits, n.sets, n.by[Agree], n.by[AmongMany], n.by[Undecided], n.by[Disagree], n.load.Round(time.Second), n.run.Round(time.Second))
	if n.by[Disagree] > 0 {
		t.Errorf("%s: the kernel disagrees on %d of %d packets", f, n.by[Disagree], n.packets)
	}
	// An evaluator that says "perhaps" to everything would never disagree. Doubts come by
	// the rule set, 25 packets at once: a short run may meet two such sets.
	if n.by[Undecided]*25 > n.packets+1500 {
		t.Errorf("%s: %d of %d packets are undecided", f, n.by[Undecided], n.packets)
	}
}

// sport gives each packet of a run a port of its own, so that its connection is new.
func sport(n int) uint16 { return uint16(20000 + n%40000) }

func randomSet(t *testing.T, l *Lab, f Form, seed, i uint64, n *tally) {
	start := time.Now()
	g := newGen(seed+uint64(f)<<32, i)
	n.sets++
	set, files, err := l.LoadSet(g.Set(f))
	n.load += time.Since(start)
	if err != nil {
		n.unusable++
		if testing.Verbose() {
			t.Logf("set %d does not load: %v", i, err)
		}
		return
	}
	start = time.Now()
	rs, h, err := files.Parse()
	if err != nil {
		n.by[Disagree]++
		n.packets++
		t.Logf("set %d: %v", i, err)
		if n.by[Disagree] <= maxShrunk {
			write(t, Case{Sentence: fmt.Sprintf("meshtop cannot read these rules (%s, seed %d, set %d).", f, seed, i), Files: files}, f, seed, i)
		}
		return
	}
	for range *perSet {
		p := g.Packet(f, sport(n.packets))
		seen, err := l.Run(p)
		if err != nil {
			t.Fatalf("set %d, packet %+v: %v", i, p, err)
		}
		n.packets++
		n.hits += len(seen.Hits)
		answers := Walks(rs, h, p)
		a := Judge(answers, set.fair(seen.Kernel()))
		n.by[a]++
		if a == Disagree && n.by[Disagree] <= maxShrunk {
			report(t, l, f, seed, i, set, p)
			if _, _, err := l.LoadSet(set); err != nil {
				t.Fatal(err)
			}
		}
		if a == Undecided && n.by[Undecided] <= 3 {
			t.Logf("set %d, packet %+v: undecided by %+v", i, p, answers[0].Choices)
		}
	}
	n.run += time.Since(start)
}

// report shrinks a disagreement, says it, and writes it as a case.
func report(t *testing.T, l *Lab, f Form, seed, i uint64, set Set, p netfilter.Packet) {
	var last Case
	var said []Answer
	port := 0
	set, p = Shrink(set, p, 400, func(s Set, p netfilter.Packet) bool {
		c, answers, err := l.ask(s, p, &port)
		if err == nil && Judge(answers, c.Want) == Disagree {
			last, said = c, answers
			return true
		}
		return false
	})
	if last.Files == nil { // the whole did not disagree again, or nothing was tried
		c, answers, err := l.ask(set, p, &port)
		if err != nil || Judge(answers, c.Want) != Disagree {
			t.Errorf("%s set %d: packet %+v disagreed once, and not again (%v)", f, i, p, err)
			return
		}
		last, said = c, answers
	}
	var b strings.Builder
	for _, a := range said {
		fmt.Fprintf(&b, "\n  meshtop %s", a)
	}
	t.Logf("%s set %d: %+v%s\n  kernel  %s\n%+v", f, i, last.Packet, b.String(), last.Want, set.Text())
	last.Sentence = fmt.Sprintf("The kernel judged otherwise than meshtop (%s, seed %d, set %d).", f, seed, i)
	write(t, last, f, seed, i)
}

// ask loads a set, sends a packet from a port of its own, and asks Walk too.
func (l *Lab) ask(s Set, p netfilter.Packet, port *int) (Case, []Answer, error) {
	if s.count() == 0 && len(s.Tables) > 0 {
		return Case{}, nil, errors.New("no rules left")
	}
	files, err := l.Load(s.Text())
	if err != nil {
		return Case{}, nil, err
	}
	*port++
	p.Src = withPort(p.Src, sport(*port))
	seen, err := l.Run(p)
	if err != nil {
		return Case{}, nil, err
	}
	answers, err := files.Answers(p)
	return Case{Packet: p, Files: files, Want: s.fair(seen.Kernel())}, answers, err
}

func write(t *testing.T, c Case, f Form, seed, i uint64) {
	dir := *keep
	if dir == "" {
		dir = t.TempDir()
	}
	data, err := c.Write()
	if err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%d-%d-%d.txtar", f, seed, i, len(c.Want.Netfilter)))
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Error(err)
	}
	if *keep != "" {
		t.Logf("written: %s", path)
	}
}

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The kernel and netfilter.Walk agree on the rule sets of real meshes, in both back ends
// and in nftables' own form, for packets in each set's own words.
func TestReal(t *testing.T) {
	l := New(t)
	reals, err := Reals()
	if err != nil {
		t.Fatal(err)
	}
	seed := *seedFlag
	if seed == 0 {
		seed = 1
	}
	per := 12
	if *packets > 0 {
		per = max(per, *packets/100)
	}
	var n tally
	var disagree []string
	for i, r := range reals {
		if !slices.Contains(judged, r.Form) {
			continue
		}
		files, err := l.Load(r.Text)
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		rs, h, err := files.Parse()
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		g := newGen(seed, uint64(i))
		for range per {
			p := r.Packet(g, sport(n.packets))
			seen, err := l.Run(p)
			if err != nil {
				t.Fatalf("%s: packet %+v: %v", r.Name, p, err)
			}
			n.packets++
			n.hits += len(seen.Hits)
			answers := Walks(rs, h, p)
			a := Judge(answers, seen.Kernel())
			if n.by[a]++; a == Disagree || a == Undecided {
				disagree = append(disagree, fmt.Sprintf("%s (%d): %+v\n  meshtop %v\n  kernel  %v", r.Name, a, p, answers, seen.Kernel()))
			}
		}
	}
	t.Logf("%d real sets, %d packets, %d rules hit: %d agree, %d agree with one of several chances, %d undecided, %d disagree", len(reals), n.packets, n.hits, n.by[Agree], n.by[AmongMany], n.by[Undecided], n.by[Disagree])
	if len(disagree) > 0 {
		t.Errorf("%d disagree or are undecided:\n%s", len(disagree), strings.Join(disagree[:min(6, len(disagree))], "\n"))
	}
}

package main

import (
	"errors"
	"fmt"
	"strings"
)

// bar is a figure beside what it has to hold.
type bar struct {
	what     string
	got, aim float64
	least    bool   // got must be aim or more, else aim or less
	digits   int    // of both
	note     string // of what the figure is a share, such as "of 5000"
}

func (b bar) holds() bool {
	if b.least {
		return b.got >= b.aim
	}
	return b.got <= b.aim
}

// String is the figure, its bar, and whether it is missed.
func (b bar) String() string {
	sign := "<="
	if b.least {
		sign = ">="
	}
	s := fmt.Sprintf("%.*f%s (%s %.*f)", b.digits, b.got, b.note, sign, b.digits, b.aim)
	if !b.holds() {
		s += " MISSED"
	}
	return s
}

// judged is what was measured of one thing, such as a dump.
type judged struct {
	title string
	bars  []bar
}

// verdict prints all figures beside their bars, and is an error that lists what was missed.
func verdict(all []judged) error {
	fmt.Println("\n## all figures, each beside its bar")
	missed := 0
	var list strings.Builder
	for _, j := range all {
		fmt.Println(j.title)
		for _, b := range j.bars {
			fmt.Printf("  %-44s %s\n", b.what, b)
			if !b.holds() {
				missed++
				fmt.Fprintf(&list, "\n  %s: %s %s", j.title, b.what, b)
			}
		}
	}
	if missed > 0 {
		return errors.New(fmt.Sprintf("%d bars missed:", missed) + list.String())
	}
	return nil
}

// firstTrace are the seconds of CPU from the file to the first trace, by the most
// megabytes that they are for.
var firstTrace = []struct{ mb, seconds float64 }{{2.5, 0.06}, {25, 0.10}, {110, 0.25}, {210, 0.45}}

// ladderBars are the figures of one dump. Unknown is no answer: the requests were made so
// that there is one.
func ladderBars(mb float64, costs []*cost, in *insideResult) []bar {
	ours := costs[0]
	var out []bar
	for _, f := range firstTrace {
		if mb <= f.mb {
			out = append(out, bar{what: "file to first trace, CPU s", got: median(ours.cpu), aim: f.seconds, digits: 3})
			break
		}
	}
	for _, c := range costs[1:] {
		if name, _, _ := strings.Cut(c.name, " "); name == "istioctl" && mb >= 19 {
			out = append(out, bar{what: "istioctl's CPU, times ours", got: median(c.over(ours)), aim: 20, least: true, digits: 1})
		}
	}
	of := fmt.Sprintf(" of %d", in.Asked)
	return append(out,
		bar{what: "peak RSS, MB", got: median(ours.rss) / 1e6, aim: 1.5*mb + 60},
		bar{what: "heap after one trace, times the file", got: in.HeapOne / 1e6 / mb, aim: 0.3, digits: 2},
		bar{what: "heap after all requests, times the file", got: in.HeapAll / 1e6 / mb, aim: 0.3, digits: 2},
		bar{what: "index, MB/s", got: in.Index, aim: 500, least: true},
		bar{what: "truncated files refused", got: float64(in.Truncated), aim: cutCount, least: true},
		bar{what: "trace, warm, p50 us", got: in.Warm.P50, aim: 50},
		bar{what: "trace, warm, p99 us", got: in.Warm.P99, aim: 500},
		bar{what: "trace, first touch, p50 us", got: in.First.P50, aim: 1000},
		bar{what: "trace, first touch, p99 us", got: in.First.P99, aim: 10000},
		bar{what: "wrong answers", got: float64(in.Wrong), note: of},
		bar{what: "unknown answers", got: float64(in.Unknown), note: of},
		bar{what: "requests", got: float64(in.Asked), aim: 1, least: true})
}

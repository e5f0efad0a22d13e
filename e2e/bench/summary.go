package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// summary is one line for each dump.
type summary struct{ lines []string }

const columns = "%6s %20s %8s %10s %16s %20s %11s %16s %16s %12s\n"

// measure measures one dump and prints its rows; it returns the number of wrong answers.
func (s *summary) measure(o options, self string, j job) (int, error) {
	size, err := os.Stat(j.dump)
	if err != nil {
		return 0, err
	}
	mb := float64(size.Size()) / 1e6
	fmt.Printf("\n## %s (%.1f MB)\n", j.title, mb)
	costs, err := pairs(o, j.dump, j.reqs)
	if err != nil {
		return 0, err
	}
	for _, c := range costs {
		fmt.Println(c.row(costs[0], size.Size()))
	}
	var in insideResult
	cmd := exec.Command(self, "-inside", j.dump, "-requests-file", j.reqs)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("inside: %w", err)
	}
	if err := json.Unmarshal(out, &in); err != nil {
		return 0, err
	}
	in.print(size.Size())
	s.add(mb, costs, &in)
	return in.Wrong, nil
}

func (s *summary) add(mb float64, costs []*cost, in *insideResult) {
	ours := costs[0]
	times := map[string]string{"jq": "-", "istioctl": "-"}
	for _, c := range costs[1:] {
		name, _, _ := strings.Cut(c.name, " ")
		times[strings.TrimSuffix(name, ":")] = fmt.Sprintf("%.1f", median(c.over(ours)))
	}
	s.lines = append(s.lines, fmt.Sprintf(columns, fmt.Sprintf("%.0f", mb), fmt.Sprintf("%.3f (least %.3f)", median(ours.cpu), least(ours.cpu)),
		times["jq"], times["istioctl"], fmt.Sprintf("%.0f (%.0f)", median(ours.rss)/1e6, 1.5*mb+60), fmt.Sprintf("%.2f, %.2f x file", in.HeapOne/1e6/mb, in.HeapAll/1e6/mb),
		fmt.Sprintf("%.0f", in.Index), fmt.Sprintf("%.0f, %.0f", in.Warm.P50, in.Warm.P99), fmt.Sprintf("%.0f, %.0f", in.First.P50, in.First.P99), fmt.Sprintf("%d of %d", in.Wrong, in.Asked)))
}

// print prints the lines below what their columns are.
func (s *summary) print() {
	if len(s.lines) == 0 {
		return
	}
	fmt.Print("\n## all: aims 0.06 / 0.10 / 0.25 / 0.45 s; 20 times istioctl; RSS 1.5 x file + 60 MB; heap 0.3 x; 500 MB/s; 50, 500 us; 1000, 10000 us; 0 wrong\n")
	fmt.Printf(columns, "MB", "first trace, CPU s", "jq x", "istioctl x", "RSS MB (aim)", "heap one, all", "index MB/s", "warm p50,99 us", "first p50,99 us", "wrong")
	for _, l := range s.lines {
		fmt.Print(l)
	}
}

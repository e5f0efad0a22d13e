package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// measure measures one dump, prints its rows, and gives the figures that have a bar.
func measure(o options, self string, j job) (judged, error) {
	size, err := os.Stat(j.dump)
	if err != nil {
		return judged{}, err
	}
	mb := float64(size.Size()) / 1e6
	title := fmt.Sprintf("%s (%.1f MB)", j.title, mb)
	fmt.Printf("\n## %s\n", title)
	costs, err := pairs(o, j.dump, j.reqs)
	if err != nil {
		return judged{}, err
	}
	for _, c := range costs {
		fmt.Println(c.row(costs[0], size.Size()))
	}
	var in insideResult
	cmd := exec.Command(self, "-inside", j.dump, "-requests-file", j.reqs)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return judged{}, fmt.Errorf("inside: %w", err)
	}
	if err := json.Unmarshal(out, &in); err != nil {
		return judged{}, fmt.Errorf("inside: %w", err)
	}
	in.print(size.Size())
	return judged{title, ladderBars(mb, costs, &in)}, nil
}

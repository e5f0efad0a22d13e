package main

import (
	"fmt"
	"os"
)

// dumpRung is the rung of the ladder with which screens are measured, in MB.
const dumpRung = 194

// dumpVisit looks at a big configuration: a trace, the palette over all its objects, the whole
// text of it folded, unfolded and searched.
func dumpVisit(dump, reqs string) (visit, error) {
	st, err := os.Stat(dump)
	if err != nil {
		return visit{}, err
	}
	rs, err := readRequests(reqs)
	if err != nil {
		return visit{}, err
	}
	q, err := first(rs)
	if err != nil {
		return visit{}, fmt.Errorf("%s: %w", reqs, err)
	}
	argv := traceCommand("", dump, q)[2:]
	mb := float64(st.Size()) / 1e6
	return visit{fmt.Sprintf("a configuration of %.0f MB", mb), append([]string{"attach"}, argv...), mb, []leg{
		{"the first trace", "", []string{"▸ Trace", q.Expect.Clusters[0][:20]}, []string{"j", "j", "k", "k"}, 34},
		{"the palette", ":", []string{"Go to / do", "steps, commands"}, nil, 0},
		{"the palette, typed", "", []string{"Go to / do"}, []string{"o", "u", "t", "b", backspace, backspace, backspace, backspace}, 25},
		{"the whole dump", "file config_dump" + enter, []string{"▸ Config", "config_dump.json · yaml"}, []string{"j", "j", ctrlD, "k"}, 50},
		{"its parts closed and opened", "g", []string{"line 1/"}, []string{"j", "h", "l"}, 67},
		{"a search in it", "/bench-none-of-them" + enter, []string{"not found"}, nil, 0},
		{"a search that finds", "/" + q.Expect.Clusters[0] + enter, []string{"line "}, []string{"n", "n", "N"}, 34},
	}, true}, nil
}

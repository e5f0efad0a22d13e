package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// What screens hold back comes when they are gone, and says how much of it is not there.
func TestOverheardSaysWhatIsLost(t *testing.T) {
	for n, want := range map[int]string{most: "line 199\n", most + 3: "line 199\n… and 3 more lines\n"} {
		var out bytes.Buffer
		o := &overheard{out: &out}
		news, over := o.hold(nil)
		for i := range n {
			o.heard(fmt.Sprintf("line %d\n", i))
		}
		if got := (<-news).Text; got != "standard error: line 0" || out.Len() > 0 {
			t.Errorf("the news is %q, and on standard error %q", got, out.String())
		}
		if over(); !strings.HasSuffix(out.String(), want) {
			t.Errorf("%d lines: it ends in %q, want %q", n, out.String()[max(0, out.Len()-50):], want)
		}
		if o.kept != nil || o.lost != 0 {
			t.Errorf("kept %d, lost %d", len(o.kept), o.lost)
		}
	}
}

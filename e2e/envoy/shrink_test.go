package envoy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A batch shrinks to the one listener that matters and to the header that makes it fail.
func TestShrink(t *testing.T) {
	b := Generate(3, 1, "http")
	b.Requests = b.Requests[:1]
	b.Requests[0].HTTP.Headers = [][2]string{{"x-other", "1"}, {"x-cause", "1"}}
	tries := 0
	small := Shrink(b, time.Minute, func(b *Batch) bool {
		tries++
		text := string(raw(b))
		return strings.Contains(text, `"l03"`) && strings.Contains(text, "x-cause")
	})
	if len(small.World.Listeners) != 1 || len(small.World.Clusters) != 0 {
		t.Errorf("%d listeners and %d clusters are left", len(small.World.Listeners), len(small.World.Clusters))
	}
	if got, _ := json.Marshal(small.Requests[0].HTTP.Headers); string(got) != `[["x-cause",""]]` && string(got) != `[["x-cause","1"]]` {
		t.Errorf("headers %s", got)
	}
	t.Logf("%d tries", tries)
	if same := Shrink(b, 0, func(*Batch) bool { return true }); len(same.World.Listeners) != len(b.World.Listeners) {
		t.Error("without time nothing may be taken away")
	}
}

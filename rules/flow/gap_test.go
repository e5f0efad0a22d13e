package flow

import (
	"reflect"
	"testing"
)

// Parts with one reason are one gap, in the order of their first; a broken one stays broken.
func TestAlike(t *testing.T) {
	got := Alike([]Gap{{"a", "x", false}, {"b", "y", false}, {"c", "x", true}, {"d", "x", false}})
	want := []Gap{{"a, c, d", "x", true}, {"b", "y", false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if Alike(nil) != nil {
		t.Error("no gaps are some")
	}
}

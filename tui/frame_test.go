package tui

import (
	"fmt"
	"strings"
	"testing"
)

// sizes are those at which every screen must be exact.
var sizes = [][2]int{{80, 24}, {120, 40}, {140, 40}, {60, 16}, {40, 10}}

func TestTraceFrames(t *testing.T) {
	for _, sz := range sizes {
		name := fmt.Sprintf("trace-mesh-%dx%d", sz[0], sz[1])
		d := drive(t, meshOptions(), sz[0], sz[1])
		d.keys("j")
		d.golden(name)
		if !strings.Contains(d.frame(), "DELIVERED") {
			t.Errorf("%s: the verdict is not in the frame", name)
		}
	}
}

// Every key of the trace screen leaves an exact frame behind.
func TestTraceKeysKeepTheFrame(t *testing.T) {
	for _, sz := range sizes {
		d := drive(t, meshOptions(), sz[0], sz[1])
		for _, k := range strings.Fields("j s s S G tab j j k ctrl+d g tab k z G esc a c G ctrl+u g @ esc esc") {
			d.keys(k)
			d.exact(fmt.Sprintf("%v after %s", sz, k))
		}
	}
}

package tui

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect/saved"
)

// Every screen and dialog of every scene is exact at every size.
func TestScreensAreExact(t *testing.T) {
	paths := []string{"", "j j s", "1", "1 tab j", "1 /", "2", "2 ctrl+p down", "4", "j enter", "j enter J", "j enter a", "?", ":", "@", "z G", "v", "C", "i", "1 y", "1 enter"}
	for _, sc := range saved.Scenes() {
		opt := sceneOptions(t, sc.Name)
		for _, sz := range sizes {
			for _, p := range paths {
				d := drive(t, opt, sz[0], sz[1])
				d.keys(strings.Fields(p)...)
				d.exact(fmt.Sprintf("%s %v %q", sc.Name, sz, p))
			}
		}
	}
}

// Frames of the built-in recordings, looked at by a person when they were written.
func TestSceneFrames(t *testing.T) {
	for _, c := range []struct{ name, scene, keys string }{
		{"overview-both", "both", "1"}, {"overview-inbound", "inbound", "1"}, {"trace-mesh-output", "mesh", "s"}, {"trace-block-all", "block-all", "G"},
		{"trace-route", "header-match", "s"}, {"trace-weights", "weights", ""}, {"trace-ratelimit", "http-ratelimit", "s s s s"}, {"trace-auth", "auth", "s s s"},
		{"request-form", "header-match", "2"}, {"config-listener", "mesh", "s s s s enter"}, {"config-json", "mesh", "s s s s enter J"}, {"config-rules", "mesh", "s enter"},
		{"help-trace", "mesh", "?"}, {"palette", "mesh", ": c l u s"}, {"variants", "weights", "v"}, {"copy-as", "mesh", "C"}, {"find-step", "mesh", "/ r o u t"},
		{"what-if", "mesh", "s i"},
	} {
		for _, sz := range [][2]int{{80, 24}, {140, 40}} {
			d := drive(t, sceneOptions(t, c.scene), sz[0], sz[1])
			d.keys(strings.Fields(c.keys)...)
			d.golden(fmt.Sprintf("%s-%dx%d", c.name, sz[0], sz[1]))
		}
	}
}

package tui

import (
	"fmt"
	"os"
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
	for _, c := range []struct {
		name, scene, keys string
		kept              bool // as a golden; the others are for the eye (-shots)
	}{
		{"overview-both", "both", "1", false}, {"overview-inbound", "inbound", "1", false}, {"trace-mesh-output", "mesh", "s", true}, {"trace-block-all", "block-all", "G", false},
		{"trace-route", "header-match", "s", true}, {"trace-weights", "weights", "", false}, {"trace-ratelimit", "http-ratelimit", "s s s s", false}, {"trace-auth", "auth", "s s s", false},
		{"request-form", "header-match", "2", true}, {"config-listener", "mesh", "s s s s enter", true}, {"config-json", "mesh", "s s s s enter J", false}, {"config-rules", "mesh", "s enter", false},
		{"help-trace", "mesh", "?", true}, {"palette", "mesh", ": c l u s", false}, {"variants", "weights", "v", false}, {"copy-as", "mesh", "C", false}, {"find-step", "mesh", "/ r o u t", false},
		{"what-if", "mesh", "s i", false},
	} {
		for _, sz := range [][2]int{{80, 24}, {140, 40}} {
			d := drive(t, sceneOptions(t, c.scene), sz[0], sz[1])
			d.keys(strings.Fields(c.keys)...)
			name := fmt.Sprintf("%s-%dx%d", c.name, sz[0], sz[1])
			d.exact(name)
			d.shot(name)
			if c.kept {
				d.golden(name)
			}
		}
	}
}

// The README's picture is a frame that a test draws.
func TestReadmeShowsAFrame(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	frame, err := os.ReadFile("testdata/frames/trace-mesh-output-80x24.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```\n"+strings.TrimRight(string(frame), "\n")+"\n```") {
		t.Error("README.md does not hold testdata/frames/trace-mesh-output-80x24.txt as it is")
	}
}

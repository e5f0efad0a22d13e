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

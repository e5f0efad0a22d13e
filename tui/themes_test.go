package tui

import (
	"fmt"
	"image/color"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/tui/style"
)

// Every theme on both backgrounds, for the eye (-shots): a path with every mark, and a policy.
func TestThemeShots(t *testing.T) {
	for _, theme := range style.Themes() {
		for _, light := range []bool{false, true} {
			name := fmt.Sprintf("theme-%s-%v", theme, map[bool]string{true: "light", false: "dark"}[light])
			opt, _ := gated(t)
			opt.Theme = theme
			d := drive(t, opt, 100, 30)
			d.send(tea.BackgroundColorMsg{Color: map[bool]color.Color{true: color.White, false: color.Black}[light]})
			d.keys("s")
			d.exact(name)
			d.shot(name + "-trace")
			d.keys("p", "enter", "y", "enter")
			d.shot(name + "-applied")
			d.keys("enter")
			d.shot(name + "-refused")
		}
	}
}

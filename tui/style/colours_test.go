package style

import (
	"image/color"
	"math"
	"testing"
)

// linear is a colour's light, from 0 to 1 in each of red, green and blue (IEC 61966-2-1).
func linear(c color.Color) [3]float64 {
	r, g, b, _ := c.RGBA()
	var out [3]float64
	for i, v := range []uint32{r, g, b} {
		x := float64(v) / 0xffff
		if out[i] = math.Pow((x+0.055)/1.055, 2.4); x <= 0.04045 {
			out[i] = x / 12.92
		}
	}
	return out
}

func luminance(l [3]float64) float64 { return 0.2126*l[0] + 0.7152*l[1] + 0.0722*l[2] }

// contrast is that of WCAG 2.1: 1 to 21.
func contrast(a, b color.Color) float64 {
	x, y := luminance(linear(a)), luminance(linear(b))
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// What has a colour in the themes for those who see less stands out from the background.
func TestContrast(t *testing.T) {
	for _, theme := range []Theme{HighContrast, ColourBlind} {
		for light, ground := range map[bool]color.Color{true: color.White, false: color.Black} {
			p := New(theme, light, false)
			for _, ink := range []Ink{Goes, Stops, Depends, Turns, Focus, Frame, Alarm} {
				if got := contrast(p.styles[ink].GetForeground(), ground); got < 4.5 {
					t.Errorf("%s, light %v, ink %d: contrast %.1f", theme, light, ink, got)
				}
			}
		}
	}
}

// blind are the ways to see without one kind of cone: Machado, Oliveira and Fernandes, "A
// Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), severity 1.
var blind = map[string][3][3]float64{
	"protan": {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deutan": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
	"tritan": {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
}

// lab is CIE L*a*b* of a colour as it is seen.
func lab(c color.Color, see [3][3]float64) [3]float64 {
	l := linear(c)
	var s [3]float64
	for i := range s {
		s[i] = min(max(see[i][0]*l[0]+see[i][1]*l[1]+see[i][2]*l[2], 0), 1)
	}
	f := func(x float64) float64 {
		if x > 0.008856 {
			return math.Cbrt(x)
		}
		return 7.787*x + 16.0/116
	}
	x, y, z := f((0.4124*s[0]+0.3576*s[1]+0.1805*s[2])/0.9505), f(luminance(s)), f((0.0193*s[0]+0.1192*s[1]+0.9505*s[2])/1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// What goes on and what stops are told apart without red or green, too; of the theme for it by
// far.
func TestColourBlind(t *testing.T) {
	for name, see := range blind {
		for _, theme := range Themes() {
			for _, light := range []bool{false, true} {
				if theme == Mono {
					continue
				}
				p := New(theme, light, false)
				a, b := lab(p.styles[Goes].GetForeground(), see), lab(p.styles[Stops].GetForeground(), see)
				d := math.Sqrt(math.Pow(a[0]-b[0], 2) + math.Pow(a[1]-b[1], 2) + math.Pow(a[2]-b[2], 2))
				want := 25.0
				if theme == ColourBlind {
					want = 50
				}
				if d < want {
					t.Errorf("%s, light %v, %s: goes and stops differ by %.0f, want %.0f", theme, light, name, d, want)
				}
			}
		}
	}
}

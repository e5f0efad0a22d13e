package main

import (
	"image"
	"image/color"
)

// arm is how thick a line of a box character is in one direction, in pixels; 0: none goes there.
// Double lines are drawn as two.
type arms struct {
	up, down, left, right int
	double                bool
}

// boxes are the box characters of the screens (U+2500). A font's own do not always meet at the
// edges of cells.
func boxes() map[string]arms {
	return map[string]arms{
		"─": {0, 0, 1, 1, false}, "━": {0, 0, 3, 3, false}, "│": {1, 1, 0, 0, false}, "┃": {3, 3, 0, 0, false},
		"┌": {0, 1, 0, 1, false}, "┐": {0, 1, 1, 0, false}, "└": {1, 0, 0, 1, false}, "┘": {1, 0, 1, 0, false},
		"├": {1, 1, 0, 1, false}, "┤": {1, 1, 1, 0, false}, "┬": {0, 1, 1, 1, false}, "┴": {1, 0, 1, 1, false}, "┼": {1, 1, 1, 1, false},
		"═": {0, 0, 1, 1, true}, "║": {1, 1, 0, 0, true}, "╔": {0, 1, 0, 1, true}, "╗": {0, 1, 1, 0, true}, "╚": {1, 0, 0, 1, true}, "╝": {1, 0, 1, 0, true},
	}
}

// rule draws a box character; false: it is none.
func rule(img *image.RGBA, at image.Rectangle, text string, c color.RGBA) bool {
	a, ok := boxes()[text]
	if !ok {
		return false
	}
	offsets := []int{0}
	if a.double {
		offsets = []int{-2, 2}
	}
	x, y := (at.Min.X+at.Max.X)/2, (at.Min.Y+at.Max.Y)/2
	for _, o := range offsets {
		// The outer line of a double corner goes farther than the inner one.
		inX, inY := o, o
		if a.double && (a.down > 0) != (a.right > 0) && (a.up > 0 || a.down > 0) && (a.left > 0 || a.right > 0) {
			inY = -o
		}
		if a.left > 0 {
			fill(img, image.Rect(at.Min.X, y+inY-a.left/2, x+inX+1, y+inY-a.left/2+a.left), c)
		}
		if a.right > 0 {
			fill(img, image.Rect(x+inX, y+inY-a.right/2, at.Max.X, y+inY-a.right/2+a.right), c)
		}
		if a.up > 0 {
			fill(img, image.Rect(x+inX-a.up/2, at.Min.Y, x+inX-a.up/2+a.up, y+inY+1), c)
		}
		if a.down > 0 {
			fill(img, image.Rect(x+inX-a.down/2, y+inY, x+inX-a.down/2+a.down, at.Max.Y), c)
		}
	}
	return true
}

package tui

// pieces are lines of text that are made when they come into sight: of 20,000 rules nobody looks
// at more than a page.
type pieces struct {
	n    int
	make func(i int) []line // the same for the same i
}

// linesOf are pieces that are there.
func linesOf(l []line) pieces { return pieces{1, func(int) []line { return l }} }

// around puts lines before and after pieces.
func (p pieces) around(before, after []line) pieces {
	return pieces{p.n + 2, func(i int) []line {
		switch i {
		case 0:
			return before
		case p.n + 1:
			return after
		}
		return p.make(i - 1)
	}}
}

// roll is the first line in sight: line off of piece at.
type roll struct{ at, off int }

// far is farther than any text goes on.
const far = 1 << 20

// move scrolls by so many lines, as far as a page of h lines is full.
func (r *roll) move(p pieces, by, h int) {
	switch {
	case by <= -far:
		*r = roll{}
	case by >= far:
		*r = p.last(h)
	case by < 0:
		for r.off += by; r.off < 0 && r.at > 0; {
			r.at--
			r.off += len(p.make(r.at))
		}
		r.off = max(r.off, 0)
	default:
		r.off += by
	}
	r.settle(p, h)
}

// settle keeps it where there is text, and a page full if there is enough.
func (r *roll) settle(p pieces, h int) {
	if r.at >= p.n {
		*r = p.last(h)
		return
	}
	for n := len(p.make(r.at)); r.off >= n && r.at < p.n-1; n = len(p.make(r.at)) {
		r.at, r.off = r.at+1, r.off-n
	}
	left := -r.off
	for i := r.at; i < p.n && left < h; i++ {
		left += len(p.make(i))
	}
	if left < h {
		*r = p.last(h)
	}
}

// last is where the last page of h lines begins.
func (p pieces) last(h int) roll {
	n := 0
	for i := p.n - 1; i >= 0; i-- {
		if n += len(p.make(i)); n >= h {
			return roll{i, n - h}
		}
	}
	return roll{}
}

// roll draws what is in sight.
func (c *canvas) roll(r rect, p pieces, from roll) {
	y, skip := r.y, from.off
	for i := from.at; i < p.n && y < r.y+r.h; i++ {
		lines := p.make(i)
		lines = lines[min(skip, len(lines)):]
		skip = 0
		for _, l := range lines[:min(len(lines), r.y+r.h-y)] {
			c.draw(r.x, y, r.w, l)
			y++
		}
	}
}

package plain

import (
	"sync"

	"github.com/meshtop/meshtop/tui"
)

// news passes on what a pod of a cluster tells by itself, also long after it was opened: to
// stderr, and to the screens while they are shown.
type news struct {
	mu      sync.Mutex
	line    *progress
	screens chan<- tui.News // nil: none are shown
}

// tell is told a line: one that lasts is worth keeping, another is replaced by the next.
func (n *news) tell(line string, lasting bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.screens == nil {
		n.line.say(line, lasting)
		return
	}
	select {
	case n.screens <- tui.News{Text: line, Lasting: lasting}:
	default: // they are ending, and whoever tells must not wait for that
	}
}

// clear takes away the line that the next would replace.
func (n *news) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.screens == nil {
		n.line.clear()
	}
}

// behind is how many lines screens may be behind.
const behind = 64

// show gives the news to screens until it is over; nil where there is no news.
func (n *news) show() (from <-chan tui.News, over func()) {
	if n == nil {
		return nil, func() {}
	}
	to := make(chan tui.News, behind)
	n.mu.Lock()
	n.screens = to
	n.mu.Unlock()
	return to, func() {
		n.mu.Lock()
		n.screens = nil
		n.mu.Unlock()
	}
}

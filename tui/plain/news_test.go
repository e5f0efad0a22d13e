package plain

import (
	"bytes"
	"testing"

	"github.com/meshtop/meshtop/tui"
)

// What a pod tells while screens are shown goes to them and not to the terminal under them.
func TestNews(t *testing.T) {
	var said bytes.Buffer
	n := &news{line: newProgress(&App{Stderr: &said, ErrTerminal: true})}
	n.tell("one", true)
	from, over := n.show()
	n.tell("two", true)
	if got := <-from; got != (tui.News{Text: "two", Lasting: true}) {
		t.Errorf("got %v", got)
	}
	for range 2 * behind { // to nobody: the screens are ending
		n.tell("three", false)
	}
	over()
	n.tell("four", false)
	n.clear()
	if got := said.String(); got != "meshtop: one\n\r\x1b[Kmeshtop: four\r\x1b[K" {
		t.Errorf("said %q", got)
	}
	if from, over := (*news)(nil).show(); from != nil {
		t.Error("there is news of nobody")
	} else {
		over()
	}
}

package tui

import (
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Every message is here. An answer carries the generation it was asked in; an answer to
// an older question is dropped, for they do not come in the order they were asked.

// readingMsg: the pod was read, or as much of it as could be.
type readingMsg struct {
	gen     int
	reading Reading
	err     error
}

// tracedMsg: a trace is there, over a reading that may hold more than before.
type tracedMsg struct {
	gen     int
	reading Reading
	trace   flow.Trace
	err     error
}

// resolvedMsg: the name of a request's destination was looked up.
type resolvedMsg struct {
	gen  int
	host string
	req  flow.Request
	err  error
}

// namesMsg: what stands behind some addresses was asked for.
type namesMsg struct {
	names flow.Names
	calls []inspect.Call
}

// progressMsg: a part is being read.
type progressMsg struct {
	gen int
	inspect.Progress
	from <-chan inspect.Progress
}

// tickMsg: a second passed.
type tickMsg time.Time

// copiedMsg: text was copied, or the terminal is to be told.
type copiedMsg struct {
	what, text string
	Copied
}

// namedMsg: what has a name is collected, for a dialog.
type namedMsg struct {
	gen int
	things
	show func([]item) dialog
}

// docMsg: a document is made.
type docMsg struct {
	gen    int
	doc    *doc
	target *node
	line   int
	again  bool // after a refresh: the screen stays where it is
	err    error
}

package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// session30 is how many seconds a watch waits.
func session30() int { return int(session.DefaultWatch / time.Second) }

// canSend says why the request cannot be sent; empty: it can.
func (s *state) canSend() string {
	switch {
	case !s.reading.Live:
		return "not from a recording"
	case s.trace.Request.Dir == flow.Inbound:
		return "not from here: an inbound request comes from outside"
	}
	return ""
}

// sentWords are the request as one would send it.
func sentWords(r flow.Request) string {
	if c := render.Curl(r); c != "" {
		return c
	}
	return render.RequestLine(r)
}

// askSend opens the question before one real request is sent.
func askSend(s *state) effect {
	if why := s.canSend(); why != "" {
		return say("cannot be sent: " + why)
	}
	return effect{kind: effDialog, dialog: &sendDialog{}}
}

// sendDialog says what would be sent, as whom and from where. Only y sends.
type sendDialog struct{}

func (d *sendDialog) press(k tea.KeyPressMsg, _ *state) (effect, bool) {
	switch k.String() {
	case "y":
		return effect{kind: effWatch, n: 1}, true
	case "esc", "n", "q", "ctrl+c":
		return effect{}, true
	}
	return effect{}, false
}

func (d *sendDialog) draw(c *canvas, s *state) {
	const width = 74
	inner := min(width, c.w) - 6
	r := s.trace.Request
	var out []line
	add := func(name, says string) {
		out = append(out, para(text(style.Faint, pad(name, 5)), style.Plain, says, inner)...)
	}
	out = append(out, para(line{}, style.Depends, style.SeenOther+" This sends one real request from the pod. If it orders, deletes or pays, it really does.", inner)...)
	out = append(out, line{})
	add("what", sentWords(r))
	add("to", r.Dst.String()+" by "+r.Proto.String())
	add("as", "uid "+utoa(r.UID)+", gid "+utoa(r.GID))
	from := "the address that the kernel chooses"
	if a := r.Src; a.IsValid() && (!a.Addr().IsUnspecified() || a.Port() != 0) {
		from = a.String()
	}
	add("from", "inside "+render.Clean(s.opt.Target)+", "+from)
	_, word, rest := verdictWords(s)
	add("want", word+rest)
	rows := len(out)
	in := c.box(width, rows+4, "Send one real request?")
	c.page(rect{in.x + 1, in.y, in.w - 1, max(in.h-2, 0)}, 0, out)
	c.draw(in.x+1, in.y+in.h-1, in.w-1, text(style.Key, "y").with(style.Plain, " sends it, once    ").with(style.Key, "esc").with(style.Plain, " sends nothing"))
}

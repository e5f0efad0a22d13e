package tui

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/render"
)

// copy gives text to the clipboard: what is its name in the footer.
func (m *model) copy(text, what string) tea.Cmd {
	give, ctx := m.s.opt.Copy, m.ctx
	if give == nil {
		return func() tea.Msg { return copiedMsg{what, text, Copied{OSC52: true}} }
	}
	return func() tea.Msg { return copiedMsg{what, text, give(ctx, text)} }
}

// gotCopied tells the terminal, and says which ways were taken: that the text has arrived is
// known of a file and of tmux alone.
func (m *model) gotCopied(c copiedMsg) tea.Cmd {
	var ways []string
	if c.Tmux {
		ways = append(ways, "in tmux's buffer, which hands it on")
	}
	if c.OSC52 {
		ways = append(ways, "by OSC 52, if the terminal takes it")
	}
	if c.File != "" {
		ways = append(ways, "in the file "+render.Clean(c.File))
	}
	switch {
	case len(ways) == 0:
		m.s.say, m.s.alarm = c.what+" is NOT copied: "+render.Clean(c.Why), true
	case c.Why != "":
		m.s.say = "copied " + c.what + " " + strings.Join(ways, "; ") + ": " + render.Clean(c.Why)
	default:
		m.s.say = "copied " + c.what + " " + strings.Join(ways, "; ")
	}
	if c.OSC52 {
		return tea.SetClipboard(c.text)
	}
	return nil
}

// jsonPath is a JSON pointer (RFC 6901) as people write paths: "configs[2].listeners[0]".
func jsonPath(pointer string) string {
	var b strings.Builder
	for _, tok := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		tok = strings.ReplaceAll(strings.ReplaceAll(tok, "~1", "/"), "~0", "~")
		switch {
		case tok != "" && strings.Trim(tok, "0123456789") == "":
			b.WriteString("[" + tok + "]")
		case b.Len() > 0:
			b.WriteString("." + tok)
		default:
			b.WriteString(tok)
		}
	}
	return b.String()
}

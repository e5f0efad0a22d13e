package tui

import (
	"net/netip"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// askNames asks what of the cluster stands behind addresses, in the background: nothing waits for it.
func (m *model) askNames(addrs []netip.Addr) tea.Cmd {
	ask, in := m.s.opt.Source.Names, m.s.reading
	if ask == nil || len(addrs) == 0 {
		return nil
	}
	ctx := m.ctx
	return func() tea.Msg {
		n, calls := ask(ctx, in, addrs)
		return namesMsg{n, calls}
	}
}

// gotNames puts names to what is shown, whatever was read or traced meanwhile.
func (m *model) gotNames(msg namesMsg) tea.Cmd {
	m.s.calls = append(m.s.calls, msg.calls...)
	if m.s.reading.Snapshot == nil || len(msg.names.Labels) == 0 && msg.names.Partial == "" {
		return nil
	}
	m.s.reading.Reading = m.s.reading.Named(msg.names, nil)
	if m.s.traced {
		m.s.trace = rules.Label(m.s.trace, m.s.reading.Snapshot.Names)
	}
	return m.sift()
}

// called is what stands behind the far end of a connection; empty: nothing that is known.
func (s *state) called(c conn) string { return called(s.reading.Snapshot, c) }

func called(in *rules.Snapshot, c conn) string {
	if in == nil {
		return ""
	}
	far := c.Dst
	if c.Dir == flow.Inbound {
		far = c.Src
	}
	return render.Clean(in.Names.At(far))
}

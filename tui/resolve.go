package tui

import (
	"net/netip"
	"slices"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui/style"
)

// resolve looks up a request's name as the pod would.
func (m *model) resolve(d request.Draft) tea.Cmd {
	look := m.s.opt.Source.Resolve
	if look == nil {
		m.s.say, m.s.alarm = render.Clean(d.Host)+" is a name, and this target has nobody to ask: write its address into to, and the name into host", true
		return nil
	}
	ctx, gen, ch := m.begin("Looking up " + render.Clean(d.Host))
	in := m.s.reading
	return tea.Batch(follow(gen, ch), func() tea.Msg {
		defer close(ch)
		r, err := look(ctx, in, d)
		return resolvedMsg{gen, d.Host, r, err}
	})
}

// gotResolved traces the request; where there are several answers, or one that the pod itself
// did not give, the user says which to take.
func (m *model) gotResolved(msg resolvedMsg) tea.Cmd {
	if msg.gen != m.s.gen {
		return nil
	}
	m.s.busy = nil
	n := msg.req.Named
	switch {
	case msg.err != nil:
		m.fail(msg.err)
		return nil
	case n == nil || len(n.Addrs) == 1 && n.By != flow.NamedService:
		return m.perform(effect{kind: effTrace, req: &msg.req})
	}
	m.dialog = answers(msg.host, msg.req)
	return nil
}

// answers asks which answer of a name a request is to go to.
func answers(host string, r flow.Request) *chooser {
	n := *r.Named
	d := &chooser{title: render.Clean(host) + " is", prompt: "filter ", foot: "enter traces it", empty: "no address matches"}
	if n.By == flow.NamedService {
		d.foot = "enter traces it; the pod's resolver was not asked"
	}
	for i, a := range n.Addrs {
		q, picked := r, n
		picked.Picked = true
		q.Dst, q.Named = netip.AddrPortFrom(a, r.Dst.Port()), &picked
		note := render.NamedBy(n)
		if i >= len(n.Addrs)-n.NoRoute {
			note = "no route from the pod"
		}
		d.items = append(d.items, item{a.String(), note, style.Faint, effect{kind: effTrace, req: &q}})
	}
	d.sel = max(slices.Index(n.Addrs, r.Dst.Addr()), 0)
	return d
}

package egress

import (
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/egress/edits"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
)

// kernel plans our own table in the pod's network namespace.
func (p *pod) kernel(c *flow.Change) error {
	if o, ok := podObject(p.s.Files); ok && o.Spec.HostNetwork {
		return hostNetwork(o.Metadata.Name)
	}
	c.Capture = p.capture
	if err := p.exempt(c); err != nil {
		return err
	}
	if c.Kind == flow.AllowAll {
		return p.openByKernel(c)
	}
	p.blockByKernel(c)
	return nil
}

func (p *pod) blockByKernel(c *flow.Change) {
	list := edits.Rules(*c)
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) {
		switch decide(list, t.Request) {
		case edits.Refuse, edits.Prohibit:
			e.After = flow.Refused
		}
	})
	p.reaches(c)
	if p.handsOff() {
		c.Covers = append(c.Covers, flow.Reach{What: "handoff"})
	}
}

// handsOff says whether listeners stand for destinations of their own.
func (p *pod) handsOff() bool {
	return p.captured && slices.ContainsFunc(p.s.Envoy.Places(), func(l envoy.Place) bool { return !l.Binds && (!l.Directed || l.Direction == flow.Outbound) })
}

// reaches fills in what our table covers in this pod and what not.
func (p *pod) reaches(c *flow.Change) {
	c.Kept = p.kept(c)
	covers, not := kernelReach(*c)
	c.Covers = covers
	for _, r := range not {
		switch r.What {
		case "own address":
			r.Whose = p.addresses()
		case "established":
			r = established(len(c.Kept))
		}
		c.NotCovered = append(c.NotCovered, r)
	}
	c.Untraced = p.untraced
}

// Reach is what a change covers and what not, as far as the change alone tells: of one that was
// read back, nobody looked at the pod.
func Reach(c flow.Change) (covers, not []flow.Reach) {
	if c.Driver != flow.Kernel || c.Kind != flow.BlockAll && c.Kind != flow.AllowAll {
		return nil, nil
	}
	return kernelReach(c)
}

// kernelReach is what no table of ours touches, and what it was told not to.
func kernelReach(c flow.Change) (covers, not []flow.Reach) {
	strong := c.Kind == flow.BlockAll && c.Strong
	if c.Kind == flow.BlockAll || c.All {
		covers = []flow.Reach{{What: "tcp4"}, {What: "tcp6"}}
	}
	for _, h := range c.Open {
		covers = append(covers, flow.Reach{What: "tcp", Whose: h.String()})
	}
	if strong {
		// An answer of a UDP server cannot be told from a question of a client: only conntrack knows,
		// and that is not asked (a ct match begins to track what came in before).
		covers = append(covers, flow.Reach{What: "udp"}, flow.Reach{What: "dns"}, flow.Reach{What: "udp answers"}, flow.Reach{What: "proxy"})
	} else {
		not = append(not, flow.Reach{What: "udp"}, flow.Reach{What: "dns"})
		for _, u := range c.ProxyUIDs {
			not = append(not, flow.Reach{What: "proxy", Whose: "uid " + utoa(u)})
		}
		for _, g := range c.ProxyGIDs {
			not = append(not, flow.Reach{What: "proxy", Whose: "gid " + utoa(g)})
		}
	}
	not = append(not, flow.Reach{What: "loopback"}, flow.Reach{What: "own address"})
	for _, h := range c.Except {
		not = append(not, flow.Reach{What: "except", Whose: h.String()})
	}
	if !c.CloseOpen {
		not = append(not, flow.Reach{What: "established"})
	}
	if c.Kind == flow.BlockAll {
		not = append(not, flow.Reach{What: "protocols"}, flow.Reach{What: "packet sockets"}, flow.Reach{What: "forwarded"})
	}
	return covers, not
}

// established are the connections that were open.
func established(n int) flow.Reach {
	if n == 0 {
		return flow.Reach{What: "established"}
	}
	return flow.Reach{What: "established", Whose: strconv.Itoa(n)}
}

func (p *pod) addresses() string {
	var out []string
	for _, a := range live.Addresses(p.s.Files["addr.json"]) {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// openByKernel plans the way around the proxy: for what it blocks, or for all.
func (p *pod) openByKernel(c *flow.Change) error {
	if asked := len(c.Except); !c.All {
		p.narrow(c)
		if len(c.Open) == 0 {
			return ErrNothing
		}
		if err := fit(c, asked); err != nil {
			return err
		}
	}
	direct := untranslated(p.s)
	list := edits.Rules(*c)
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) {
		if decide(list, t.Request) == edits.Direct && redirected(t) {
			e.After, e.Direct, e.Around = rules.Trace(direct, t.Request).Verdict, true, p.protections(t)
		}
	})
	p.reaches(c)
	return nil
}

// narrow opens what the proxy blocks and nothing else. Where it blocks all that it does not
// name, everything is opened but what it names and lets through, or may.
func (p *pod) narrow(c *flow.Change) {
	for _, six := range []bool{false, true} {
		n := narrowing{c: c, wide: map[uint16]fate{}}
		for _, d := range p.dests {
			if d.dst.Addr().Is6() == six && d.elsewhere && d.fate == blocked {
				n.all = true
				n.open(flow.Hole{Prefix: everything(six)})
			}
			if d.dst.Addr().Is6() == six && d.port {
				n.wide[d.dst.Port()] = d.fate
			}
		}
		for _, d := range p.dests {
			if d.dst.Addr().Is6() == six && !d.elsewhere && d.proto == flow.TCP {
				n.judge(d)
			}
		}
	}
}

// narrowing is the state of one family.
type narrowing struct {
	c    *flow.Change
	all  bool            // all of the family is open but what is spared
	wide map[uint16]fate // of listeners that have a port of every address
}

// judge opens or spares one destination, given what the wider ones that hold it do: what is
// spared comes first, so that a port that is spared holds its single addresses too.
func (n *narrowing) judge(d traced) {
	opened := n.all
	if byPort, ok := n.wide[d.dst.Port()]; ok && !d.port {
		if byPort != blocked && n.all {
			return
		}
		opened = byPort == blocked
	}
	switch {
	case d.fate == blocked && !opened:
		n.open(d.hole)
	case d.fate != blocked && opened && !slices.Contains(n.c.Except, d.hole):
		n.c.Except = append(n.c.Except, d.hole)
		if d.port && d.fate == mixed {
			n.c.NotCovered = append(n.c.NotCovered, flow.Reach{What: "mixed", Whose: "port " + strconv.Itoa(int(d.dst.Port()))})
		}
	}
}

func (n *narrowing) open(h flow.Hole) {
	if !slices.Contains(n.c.Open, h) {
		n.c.Open = append(n.c.Open, h)
	}
}

package tui

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// track is a lane in words: what the kernel did, whom it came to, where it ended.
type track struct {
	lane
	rule     string // "OUTPUT #2", "OUTPUT no rule"
	turn     string // "REDIRECT"; empty: not turned
	to       string // ":15001 virtualOutbound", "nginx :80", "eth0"
	branch   string // the listener after a hand-off, or "else"
	end      string // the cluster
	captured bool
	unread   bool // no rules were read: that Envoy gets it is taken for granted
	verdict  flow.Verdict
}

// trackOf reads a lane off its trace.
func trackOf(l lane) track {
	t := track{lane: l, verdict: l.trace.Verdict}
	if len(l.trace.Legs) == 0 {
		return t
	}
	first := l.trace.Legs[0]
	hook := "OUTPUT"
	if l.req.Dir == flow.Inbound {
		hook = "PREROUTING"
	}
	if l.req.Dst.Addr().Is6() {
		hook = "v6 " + hook
	}
	t.rule = hook + " (no rule)"
	for _, st := range first.Steps {
		if st.Reason.Kind == flow.WhyNoRules {
			t.rule, t.unread = hook+" (not read)", true
		}
		t.step(first, st)
	}
	if t.to == "" {
		t.to = ":" + itoa(int(first.To.Dst.Port()))
	}
	return t
}

func (t *track) step(leg flow.Leg, st flow.Step) {
	switch st.Stage {
	case flow.Netfilter:
		t.ruleStep(leg, st)
	case flow.Listener:
		t.captured = true
		t.to = ":" + itoa(int(leg.To.Dst.Port())) + " " + render.Clean(st.Subject)
	case flow.Handoff:
		if t.branch = "else"; render.Mark(st) == "handed over" {
			t.branch = render.Clean(st.Subject)
		}
	case flow.Cluster:
		if t.end == "" {
			t.end = render.Clean(st.Subject)
		}
	case flow.Socket:
		if st.Verdict == flow.Delivered {
			t.to = or(t.name, "app")
		}
		if st.Verdict == flow.Refused {
			t.to = "nobody listens"
		}
	case flow.Wire:
		if !t.captured {
			t.to = render.Clean(st.Subject)
		}
	}
}

// ruleStep keeps the rule that turned the packet, else the last one of nat.
func (t *track) ruleStep(leg flow.Leg, st flow.Step) {
	if t.turn == "REDIRECT" || t.turn == "DNAT" || t.turn == "TPROXY" {
		return
	}
	name, target := render.StepName(leg, st), render.StepBrief(leg, st)
	num, what, _ := strings.Cut(target, " ")
	what, _, _ = strings.Cut(what, " ")
	if num == "policy" || !strings.Contains(name, "nat") && render.Mark(st) == "ok" {
		return
	}
	t.rule = strings.Replace(name, "nat ", "", 1) + " " + num
	t.turn = what
}

// bypass says that traffic which a mesh would take goes round the proxy.
func (t track) bypass() bool {
	return !t.captured && !t.unread && (t.what == "in" || t.what == "out" || t.what == "udp" || t.what == "six")
}

// diagram draws the tracks: those that share their way to a listener become one line
// with branches.
func diagram(tracks []track) []line {
	who := 0
	for _, t := range tracks {
		who = max(who, textWidth(t.from()))
	}
	var out []line
	var shared string
	for i, t := range tracks {
		if t.what == "udp" || t.what == "six" {
			continue
		}
		key := t.what + t.rule + t.turn + t.to
		lead := text(style.Faint, pad(map[string]string{"in": "in", "out": "out"}[t.what], 4)).with(style.Plain, pad(t.from(), who)+" ")
		head := t.way(lead)
		at := head.width() - textWidth(t.to)
		if key != shared || t.branch == "" {
			head.click = laneClick(i)
			out = append(out, t.tail(head))
			shared = key
		}
		if t.branch == "" {
			continue
		}
		b := text(style.Plain, strings.Repeat(" ", at)).with(style.Plain, corner(tracks, i, key)).with(style.Plain, t.branch)
		if t.end != "" && t.end != t.branch {
			b = b.with(style.Faint, " "+style.Winner+" ").with(endInk(t), t.end)
		}
		b = b.with(endInk(t), t.ending())
		b.click = laneClick(i)
		out = append(out, b)
	}
	return append(out, forgotten(tracks)...)
}

func laneClick(i int) effect { return effect{kind: effSelect, n: laneBase + i} }

// laneBase tells a lane's number from a connection's.
const laneBase = 1 << 20

// corner is the branch's mark: the last one of its listener closes the line.
func corner(tracks []track, i int, key string) string {
	for k := i + 1; k < len(tracks); k++ {
		if n := tracks[k]; n.what+n.rule+n.turn+n.to == key && n.branch != "" {
			return style.TeeRight + style.Winner + " "
		}
	}
	return style.Corner + style.Winner + " "
}

// from is who makes the packet.
func (t track) from() string {
	switch t.what {
	case "in":
		return "client"
	case "envoy":
		return "envoy"
	}
	return "app"
}

// way is the line up to whom the packet came.
func (t track) way(l line) line {
	l = l.with(style.Faint, arrow("")).with(style.Plain, " "+t.rule+" ")
	ink := style.Faint
	if t.captured {
		ink = style.Turns
	}
	return l.with(ink, arrow(t.turn)).with(style.Plain, " ").with(style.Strong, t.to)
}

// arrow is a line with a word in it.
func arrow(word string) string {
	if word == "" {
		return style.LightRule + style.LightRule + style.Winner
	}
	return style.LightRule + word + style.LightRule + style.Winner
}

// tail adds the end of a track that has no branch.
func (t track) tail(l line) line {
	if t.branch != "" {
		return l
	}
	if t.end != "" {
		l = l.with(style.Faint, " "+style.Winner+" ").with(endInk(t), t.end)
	}
	if t.bypass() {
		return l.with(style.Depends, "   ! skips Envoy")
	}
	return l.with(endInk(t), t.ending())
}

// ending is a word on a track that does not arrive.
func (t track) ending() string {
	switch t.verdict {
	case flow.Delivered:
		return ""
	case flow.Depends:
		return "  " + style.MarkDepends + " depends"
	case flow.Unknown:
		return "  " + style.MarkUnknown + " unknown"
	}
	return "  " + style.MarkStops + " " + t.verdict.String()
}

func endInk(t track) style.Ink { return meant(t.trace, plainEnd(t)) }

func plainEnd(t track) style.Ink {
	switch t.verdict {
	case flow.Delivered:
		return style.Goes
	case flow.Depends, flow.Unknown:
		return style.Depends
	}
	return style.Stops
}

// forgotten says of UDP and IPv6, which many rule sets leave out, what becomes of them.
func forgotten(tracks []track) []line {
	var l line
	for i, t := range tracks {
		if t.what != "udp" && t.what != "six" {
			continue
		}
		if len(l.spans) > 0 {
			l = l.with(style.Faint, " · ")
		}
		says, ink := "goes round Envoy", style.Depends
		switch {
		case t.unread:
			says = "not known"
		case t.captured:
			says, ink = "through Envoy", style.Plain
		case t.verdict == flow.Dropped || t.verdict == flow.Refused:
			says, ink = t.verdict.String()+" by the kernel", style.Plain
		case t.verdict == flow.Unknown:
			says = "not known"
		}
		l = l.with(style.Faint, t.name+" egress: ").with(ink, says)
		l.click = laneClick(i)
	}
	if len(l.spans) == 0 {
		return nil
	}
	return []line{l}
}

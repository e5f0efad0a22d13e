package tui

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// Linear is what the overview shows, in lines that are read one after the other: a fact each,
// with its name before it, no columns and no signs that are no words. Command is how the target
// is named on a command line; what can be done next is said by it. What was read, and what could
// not be, is render.Parts'.
func Linear(in Reading, target, command string) string {
	s := state{opt: Options{Target: target, Command: command}, reading: in, read: true, w: 100, h: 40}
	s.survey = makeSurvey(in.Snapshot, nil)
	var b strings.Builder
	say := func(name, words string) {
		if words != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, render.Clean(words))
		}
	}
	say("pod", target)
	say("title", in.Snapshot.Meta.Title)
	say("read", s.age())
	for _, d := range s.survey.devs {
		say("address", d)
	}
	for _, p := range people(s.survey.apps) {
		say("app", p)
	}
	for _, p := range people(s.survey.proxy) {
		say("proxy", p)
	}
	say("config", strings.ReplaceAll(configWords(&s), " · ", ", "))
	say("rules", ruleWords(&s))
	for _, l := range s.survey.lanes {
		say("traffic", trackOf(l).words())
	}
	for _, f := range doctor.Examine(in.Snapshot) {
		what, next := render.Finding(f)
		say("finding", f.Severity.String()+": "+what)
		say("  do", next)
	}
	if len(s.survey.conns) == 0 {
		say("connection", "none is open, as far as was read ("+connSource(&s)+")")
	}
	for _, c := range s.survey.conns {
		say("connection", c.words(in.Snapshot))
	}
	say("next", "one path: meshtop trace "+command+" --to ADDR:PORT; what is odd: meshtop doctor "+command)
	return b.String()
}

// words are the track in a sentence.
func (t track) words() string {
	out := map[string]string{"in": "in", "out": "out, of an app", "envoy": "out, of the proxy itself", "udp": "out, over UDP", "six": "out, over IPv6"}[t.what]
	out = or(out, t.what) + " to " + t.req.Dst.String() + ": " + t.rule
	if t.turn != "" {
		out += " " + t.turn
	}
	out += ", comes to " + t.to
	if t.branch != "" && t.branch != "else" {
		out += ", handed to listener " + t.branch
	}
	if t.end != "" {
		out += ", cluster " + t.end
	}
	if t.bypass() {
		out += ", PAST THE PROXY"
	}
	return out + ": " + render.Verdict(t.trace)
}

// words are the connection in a sentence.
func (c conn) words(in *rules.Snapshot) string {
	out := "out, "
	if c.Dir == flow.Inbound {
		out = "in, "
	}
	out += c.Proto.String() + " from " + c.Src.String() + " to " + c.Dst.String()
	if name := called(in, c); name != "" {
		out += " (" + name + ")"
	}
	if c.NAT() {
		out += ", in truth to " + c.To.String()
	}
	switch {
	case c.admin:
		out += ", to Envoy's admin interface"
	case c.outcome.Listener != "":
		out += ", by Envoy: listener " + c.outcome.Listener
		if c.outcome.Cluster != "" {
			out += ", cluster " + c.outcome.Cluster
		}
	default:
		out += ", not by Envoy"
	}
	if c.Known {
		out += ", of " + strings.TrimSpace(c.Process+" uid "+utoa(c.UID))
	}
	if c.State != "" {
		out += ", " + c.State
	}
	if size := c.size(); size != "" {
		out += ", " + size
	}
	return out
}

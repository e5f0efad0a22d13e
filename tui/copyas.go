package tui

import (
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// forms is a chooser of forms in which a thing can be copied; one that is empty is not offered.
type forms struct{ items []item }

func (f *forms) add(name, note, text string) {
	if text != "" {
		f.items = append(f.items, item{name: name, note: note, ink: style.Faint, effect: effect{kind: effCopy, text: text, note: "the " + name}})
	}
}

func (f *forms) ask() effect {
	return effect{kind: effDialog, dialog: &chooser{title: "Copy as", prompt: "filter: ", items: f.items, empty: "there is nothing to copy"}}
}

// copyAs offers the forms in which a step and its trace can be copied.
func copyAs(s *state, leg flow.Leg, st flow.Step) effect {
	var f forms
	name := render.StepName(leg, st)
	f.add("raw text", name, stepText(st))
	for _, e := range st.Evidence {
		if text := ruleLine(st, e); text != "" {
			f.add("iptables rule", name+", without its counters", text)
			break
		}
	}
	for _, e := range st.Evidence {
		if p := placeOf(e); p.pointer != "" {
			f.add("JSON path", "in "+render.Clean(p.part), render.Clean(jsonPath(p.pointer)))
			f.add("JSON pointer", "RFC 6901, in "+render.Clean(p.part), render.Clean(p.pointer))
			break
		}
	}
	f.add("command", "meshtop trace "+render.Clean(s.opt.Target), render.Command(command(s.opt), s.trace.Request))
	f.add("text", "the whole trace", render.Text(s.trace, render.TextOptions{}))
	f.add("JSON", "the whole trace", string(render.JSON(s.trace, false)))
	f.add("request", "as JSON", render.CleanLines(requestJSON(s.trace.Request)))
	f.add("curl", "the request", render.Curl(s.trace.Request))
	return f.ask()
}

// ruleLine is a rule as iptables-restore takes it: -A and its chain first.
func ruleLine(st flow.Step, e flow.Evidence) string {
	if st.Stage != flow.Netfilter {
		return ""
	}
	text := strings.TrimSpace(e.Text)
	if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
		text = rest
	}
	if !strings.HasPrefix(text, "-A ") || strings.Contains(text, "\n") {
		return ""
	}
	return render.Clean(text)
}

// copyAs offers the forms of what is selected.
func (t *configScreen) copyAs() effect {
	var f forms
	d := t.doc
	n := t.node()
	if n == nil {
		if t.sel < len(d.lines) {
			f.add("line", render.Clean(d.part), render.Clean(d.lineText(t.sel)))
			f.add("text", "all of "+render.Clean(d.part), render.CleanLines(string(d.data)))
		}
		return f.ask()
	}
	pointer := t.pointer()
	f.add("JSON path", "in "+render.Clean(d.part), render.Clean(jsonPath(pointer)))
	f.add("JSON pointer", "RFC 6901, in "+render.Clean(d.part), render.Clean(pointer))
	const large = 1 << 20 // which nobody pastes, and which takes a while
	if n.to-n.from <= large {
		f.add("JSON", "the value, secrets masked", render.CleanLines(string(d.data[n.from:n.to])))
		f.add("YAML", "the value, secrets masked", render.CleanLines(string(render.FromJSON(d.data[n.from:n.to]))))
	}
	if n.parent != nil && len(d.data) <= large {
		f.add("object", "as JSON: "+d.title, render.CleanLines(string(d.data[d.root.from:d.root.to])))
	}
	return f.ask()
}

// copyAs offers the forms of a watch.
func (t *confirmScreen) copyAs(s *state) effect {
	var f forms
	f.add("capture command", "writes its packets to a file", strings.Replace(render.Command(command(s.opt), s.trace.Request), "meshtop trace", "meshtop capture -w trace.pcapng", 1))
	f.add("confirm command", "watches and says a word on each step", strings.Replace(render.Command(command(s.opt), s.trace.Request), "meshtop trace", "meshtop confirm", 1))
	if s.seen != nil {
		f.add("text", "the report", render.ReportText(s.seen.report))
		f.add("JSON", "the report", string(render.ReportJSON(s.seen.report)))
	}
	f.add("curl", "the request", render.Curl(s.trace.Request))
	return f.ask()
}

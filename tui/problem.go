package tui

import (
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// problemKind names what failed.
type problemKind uint8

const (
	nothingRead problemKind = iota // nothing at all
	noEnvoy                        // the proxy's half
	noRules                        // the kernel's half
	noHalf                         // neither
	badPart                        // a part makes no sense
	olderRead                      // reading again failed
	openFailed                     // the target is not open
	openGoes                       // it is being opened
	podLost                        // it has ended
	problemKinds
)

// problem is something that failed, wholly or in a part that matters, as a state of the screen:
// what failed, what was tried, what still works, the ways on, the exact words.
type problem struct {
	kind     problemKind
	calm     bool // nothing has failed: it only takes its time
	headline string
	title    string             // of what stands first
	told     func(w int) []line // nil: the ways on stand first
	works    []part
	ways     []item
	asking   string // what is still being asked, before more can be said
	exact    []string
	asks     string // what c copies too, such as a role to ask for
	goOn     bool   // enter leaves it
	esc      string // what esc does; empty: back
}

// part is something that was or was not read.
type part struct {
	name string
	ok   bool
}

// page is how far a problem is scrolled.
type page struct{ top, most, room int }

// trouble is the problem that stands in place of the screen, or nil: of the overview, and of
// every screen where nothing was read at all.
func (m *model) trouble() *problem {
	s := &m.s
	switch {
	case s.end.asked:
		return s.lostPod()
	case s.open.err != nil:
		return s.notOpened()
	case s.open.on && !s.read:
		return s.beingOpened()
	case s.busy == nil && (s.at == overviewID || !s.read):
		return s.unread()
	}
	return nil
}

// unread is the problem of a reading; one in a part is left by going on.
func (s *state) unread() *problem {
	snap := s.reading.Snapshot
	switch {
	case !s.read && s.failed == "":
		return nil
	case !s.read || snap == nil:
		p := &problem{kind: nothingRead, headline: render.Clean(s.opt.Target) + " could not be read", exact: []string{s.failed}, title: "what was tried", told: s.tried,
			works: []part{{"rules", false}, {"addresses, sockets", false}, {"Envoy", false}, savedWorks()}}
		p.ways = append(p.ways, item{name: "try again", effect: press(actRefresh)})
		p.more(s, s.open.now.NoRules, "--iptables FILE --config-dump FILE")
		return p
	case s.goOn || s.failed == "" && len(snap.Gaps) == 0:
		return nil
	case snap.Envoy != nil && snap.Rules != nil && s.failed == "":
		return nil // small gaps stand in the pod's pane
	}
	return s.partial()
}

// partial is the problem of a reading that lacks the kernel's half or the proxy's.
func (s *state) partial() *problem {
	snap := s.reading.Snapshot
	p := &problem{kind: badPart, headline: "a part makes no sense and was left out", title: "what was tried", told: s.tried, goOn: true, works: []part{
		{"rules", snap.Rules != nil}, {"addresses, sockets", snap.Host != nil}, {"Envoy", snap.Envoy != nil}}}
	p.ways = append(p.ways, item{name: "go on with what was read", effect: press(actOpen)}, item{name: "read again", effect: press(actRefresh)})
	switch {
	case s.kept:
		p.kind = olderRead
		p.headline = "reading it again failed: what is shown was read before"
		if t := s.reading.Taken; !t.IsZero() {
			p.headline = "reading it again failed: what is shown is of " + t.Format("15:04:05")
		}
		p.ways[0].name = "go on with that"
	case snap.Envoy == nil && snap.Rules == nil:
		p.kind = noHalf
		p.headline = "neither rules nor Envoy's configuration could be read"
		p.more(s, s.open.now.NoRules, "--iptables FILE --config-dump FILE")
	case snap.Envoy == nil:
		p.kind = noEnvoy
		p.headline = "Envoy's configuration could not be read: steps inside Envoy are unknown"
		p.ways = append(p.ways, s.adminPorts()...)
		p.more(s, s.open.now.NoEnvoy, "--config-dump FILE")
	case snap.Rules == nil:
		p.kind = noRules
		p.headline = "the kernel's rules could not be read: a trace begins at Envoy"
		if s.powerless() {
			p.headline = "no right to read the kernel's rules (NET_ADMIN): a trace begins at Envoy"
		}
		p.more(s, s.open.now.NoRules, "--iptables FILE")
	}
	if s.failed != "" {
		p.exact = append(p.exact, s.failed)
	}
	for _, g := range flow.Alike(snap.Gaps) {
		p.exact = append(p.exact, render.Clean(g.Part+": "+g.Reason))
	}
	s.withRights(p)
	return p
}

// savedWorks is what no pod is needed for.
func savedWorks() part { return part{"trace over files", true} }

// powerless says whether it is a capability that is lacking.
func (s *state) powerless() bool {
	for _, g := range s.reading.Snapshot.Gaps {
		if strings.Contains(g.Reason, "NET_ADMIN") {
			return true
		}
	}
	return false
}

// adminPorts are the ports on which the proxy listens and where its admin interface may be:
// those of the loopback alone.
func (s *state) adminPorts() []item {
	host := s.reading.Snapshot.Host
	if host == nil || !flagged(s.open.now.NoEnvoy, "admin") {
		return nil
	}
	var out []item
	for _, k := range host.Sockets {
		if k.Process == "envoy" && strings.HasPrefix(k.State, "LISTEN") && k.Local.Addr().IsLoopback() && len(out) < 3 {
			at := k.Local.String()
			out = append(out, item{name: "ask Envoy at " + at + ", where it listens too", note: "--admin " + at,
				effect: effect{kind: effOpen, flags: []inspect.Flag{{Name: "admin", Value: at}}}})
		}
	}
	return out
}

func flagged(ways []inspect.WayOn, flag string) bool {
	for _, w := range ways {
		for _, f := range w.Flags {
			if f.Name == flag {
				return true
			}
		}
	}
	return false
}

// notOpened is the problem of a target that could not be opened.
func (s *state) notOpened() *problem {
	name := s.openName()
	p := &problem{kind: openFailed, headline: name + " could not be opened", title: "what was done", told: s.heardLines,
		exact: strings.Split(render.CleanLines(s.open.err.Error()), "\n")}
	switch {
	case errors.Is(s.open.err, inspect.ErrNotFound):
		p.headline = name + " is not there"
	case strings.Contains(s.open.err.Error(), "context canceled"):
		p.headline = "you stopped waiting for " + name
	}
	if len(s.open.heard) == 0 {
		p.title, p.told = waysTitle, nil
	}
	p.works = []part{{"this way into the pod", false}, savedWorks()}
	if s.read {
		p.works = []part{{"what was read before", true}, {"trace over it", true}}
	}
	var stuck inspect.Stuck
	switch {
	case errors.As(s.open.err, &stuck):
		p.exact = strings.Split(render.CleanLines(stuck.Error()), "\n") // without the ways, which stand above
		said := strings.TrimPrefix(p.exact[0], name+": ")
		p.headline = name + ": " + strings.SplitN(said, ": ", 2)[0]
		p.ways = wayItems(stuck.WaysOn())
	case !errors.Is(s.open.err, inspect.ErrNotFound) && s.opt.Opener.Others:
		p.ways = wayItems(s.opt.Opener.Waiting)
	}
	if s.read {
		p.ways = append([]item{{name: "go on with what was read before", effect: press(actBack)}}, p.ways...)
	}
	p.ways = append(p.ways, item{name: "try again", effect: press(actRefresh)})
	if s.opt.Opener.Others {
		p.ways = append(p.ways, item{name: "choose another pod", effect: effect{kind: effChoose}})
	}
	s.withRights(p)
	return p
}

// openName is what is being opened.
func (s *state) openName() string {
	if s.open.how.Other != "" {
		return "pod " + render.Clean(s.open.how.Other)
	}
	return render.Clean(s.opt.Target)
}

// soon is how long opening may take before other ways are offered.
const soon = 3 * time.Second

// beingOpened is not a problem yet: what was done so far, and once it takes long the other ways.
func (s *state) beingOpened() *problem {
	p := &problem{kind: openGoes, calm: true, headline: "opening " + s.openName(), title: "what was done", told: s.heardLines, esc: "stop waiting"}
	if !s.beginning() {
		p.headline += " · " + ago(s.now.Sub(s.open.since))
		p.ways = wayItems(s.opt.Opener.Waiting)
	}
	return p
}

// lostPod is the end of a pod that was looked at.
func (s *state) lostPod() *problem {
	p := &problem{kind: podLost, headline: render.Clean(s.opt.Target) + " has ended (at " + s.end.at.Format("15:04") + "): what was read of it stays",
		title: "what stands in its place", goOn: true, esc: "go on"}
	p.told = func(w int) []line {
		switch {
		case s.end.busy:
			return []line{text(style.Faint, "asking"+style.Ellipsis)}
		case s.end.next != "":
			return []line{text(style.Goes, style.MarkGoes+" ").with(style.Plain, "pod "+render.Clean(s.end.next)+", of the same owner")}
		}
		return para(text(style.Depends, style.MarkUnknown+" "), style.Plain, s.end.why, w)
	}
	if s.end.next != "" {
		p.ways = append(p.ways, item{name: "open pod " + render.Clean(s.end.next), effect: effect{kind: effOpen, text: s.end.next}})
	}
	p.ways = append(p.ways, item{name: "go on with what was read", effect: press(actOpen)}, item{name: "ask again", effect: press(actRefresh)})
	if s.opt.Opener != nil && s.opt.Opener.Others {
		p.ways = append(p.ways, item{name: "choose another pod", effect: effect{kind: effChoose}})
	}
	p.works = []part{{"what was read", true}, {"trace over it", true}, {"confirm, policy", false}}
	if s.failed != "" {
		p.exact = []string{s.failed}
	}
	return p
}

// wayItems are ways on as rows: a command is copied, another opens the target anew.
func wayItems(ways []inspect.WayOn) []item {
	var out []item
	for _, w := range ways {
		it := item{name: w.Text, note: strings.TrimSuffix(w.String(), ": "+w.Text)}
		switch {
		case w.Asks() != "":
			it.effect = effect{kind: effDialog, dialog: &wayDialog{way: w}}
		case len(w.Flags) > 0:
			it.effect = effect{kind: effOpen, flags: w.Flags}
		default:
			it.effect, it.note = effect{kind: effCopy, text: w.Command, note: "the command"}, "copies: "+w.Command
		}
		out = append(out, it)
	}
	return out
}

// more adds the ways on that the opener knows; without one, the command line with files.
func (p *problem) more(s *state, ways []inspect.WayOn, flags string) {
	if s.opt.Opener != nil {
		p.ways = append(p.ways, wayItems(ways)...)
		return
	}
	cmd := "meshtop attach " + render.Clean(command(s.opt)) + " " + flags
	p.ways = append(p.ways, item{name: "give it as a file", note: "copies: " + cmd, effect: effect{kind: effCopy, text: cmd, note: "the command"}})
}

// text is what c copies: all of it.
func (p *problem) text(s *state) string {
	out := append([]string{p.headline}, p.exact...)
	if p.asking != "" {
		out = append(out, p.asking)
	}
	for _, h := range s.open.heard {
		out = append(out, render.Clean(h.text))
	}
	for _, c := range s.calls {
		out = append(out, callItem(c).name+"  "+callItem(c).note)
	}
	if p.asks != "" {
		out = append(out, "", p.asks)
	}
	return strings.Join(out, "\n")
}

// keys are those that act while a problem is shown, beside the digits of its ways: the overview's
// keys, in other words.
func (p *problem) keys(k Keys) []binding {
	var out []binding
	add := func(help, brief string, acts ...act) {
		for i, a := range acts {
			b, ok := k.binding(overviewID, a)
			if !ok {
				continue
			}
			if b.help, b.short = help, ""; i > 0 {
				b.help = ""
			} else if brief != "" {
				b.short = shown(b.keys[0]) + " " + brief
			}
			out = append(out, b)
		}
	}
	add("scroll", "", actDown, actUp)
	add("first, last", "", actFirst, actLast)
	add("half a page", "", actHalfDown, actHalfUp, actPageDown, actPageUp)
	if p.goOn {
		add("go on with what was read", "go on", actOpen)
	}
	if !p.calm {
		add("try again", "try again", actRefresh)
		add("copy all that is known of it", "copy all", actCopy)
	}
	add("activity: each call made", "activity", actActivity)
	add(or(p.esc, "back"), or(p.esc, "back"), actBack)
	return out
}

// binding is an act's on a screen; false: it has no key.
func (k Keys) binding(at screenID, a act) (binding, bool) {
	for _, list := range k.of(at) {
		for _, b := range list {
			if b.act == a && len(b.keys) > 0 {
				return b, true
			}
		}
	}
	return binding{}, false
}

// press answers a key while the problem is shown; false: the key is not its own.
func (p *problem) press(k tea.KeyPressMsg, m *model) (effect, bool) {
	key := k.String()
	if len(key) == 1 && key[0] >= '1' && int(key[0]-'1') < len(p.ways) {
		e := p.ways[key[0]-'1'].effect
		if e.kind == effAct {
			return p.do(e.act, m)
		}
		return e, true
	}
	return p.do(lookup(key, p.keys(m.s.opt.Keys)), m)
}

func (p *problem) do(a act, m *model) (effect, bool) {
	s, v := &m.s, &m.page
	switch a {
	case actDown:
		v.top++
	case actUp:
		v.top--
	case actHalfDown, actPageDown:
		v.top += max(v.room/2, 1)
	case actHalfUp, actPageUp:
		v.top -= max(v.room/2, 1)
	case actFirst:
		v.top = 0
	case actLast:
		v.top = v.most
	case actCopy:
		return effect{kind: effCopy, text: p.text(s), note: "the error, what was done, and the role to ask for"}, true
	case actOpen, actBack:
		return p.leave(a, s)
	case actRefresh:
		if s.open.err != nil {
			return effect{kind: effOpen}, true
		}
		return press(actRefresh), true
	default:
		return effect{}, false
	}
	return effect{}, true // settle bounds it
}

// leave goes on with what was read.
func (p *problem) leave(a act, s *state) (effect, bool) {
	switch {
	case s.end.asked:
		s.end.asked = false
	case s.open.err != nil && s.read:
		s.open.err, s.open.how = nil, s.open.was
	case a == actOpen && p.goOn:
		s.goOn = true
	case a == actBack && s.open.on && s.busy != nil:
		s.busy.stop()
	default:
		return effect{}, false
	}
	return effect{}, true
}

package tui

import (
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// header says where we are, and how old what we see is.
func header(c *canvas, s *state) {
	c.wash(rect{0, 0, c.w, 1}, style.Bar)
	ink := style.Bar
	if s.reading.Live && s.read && s.now.Sub(s.reading.Taken) > time.Minute {
		ink = style.Alarm // what is shown may no longer be so
	}
	name := " " + style.Cursor + " " + s.at.String()
	target, lead := render.Clean(s.opt.Target), textWidth(" meshtop  ")
	if s.opt.Danger != nil && s.opt.Context != "" && s.opt.Danger(s.opt.Context) {
		lead += textWidth(" DANGER  ") + textWidth(render.Clean(s.opt.Context)) + 1
	}
	// What is said of the snapshot gives way to the target's name, as far as that helps.
	said := provenance(s, 1+b2i(c.w >= wideFrom))
	for full := b2i(c.w >= wideFrom); full >= 0 && lead+textWidth(target+name+said)+4 > c.w; full-- {
		said = provenance(s, full)
	}
	end := c.right(c.w-1, 0, ink, said)
	room := end - 3
	x := c.put(0, 0, room, style.Bar, " meshtop  ")
	x = alarm(c, x, room, s.opt.Danger, s.opt.Context)
	c.put(x, 0, room-x, style.Bar, cut(target, max(room-x-textWidth(name), 4))+name)
}

// provenance is the right end of the header: what is wrong, the proxy, the snapshot and its age.
// full is 2 for all of it, 1 in short, 0 for what is wrong and what may be done.
func provenance(s *state, full int) string {
	if !s.read {
		switch {
		case s.open.err != nil:
			return "NOT OPENED"
		case s.open.on:
			return "opening" + style.Ellipsis
		case s.failed != "":
			return "NOTHING READ"
		}
		return "reading" + style.Ellipsis
	}
	var parts []string
	switch {
	case !s.end.at.IsZero():
		parts = append(parts, "POD GONE "+s.end.at.Format("15:04"))
	case s.link != "":
		parts = append(parts, "RECONNECTING")
	case s.kept:
		parts = append(parts, "NOT READ AGAIN")
	case s.policy.reread:
		parts = append(parts, "RULES CHANGED") // and are read again once nothing is under way
	}
	if v := s.reading.proxy(); full == 2 && v != "" {
		parts = append(parts, v)
	}
	if age := s.ageIn(full); age != "" {
		parts = append(parts, age)
	}
	if len(s.reading.Snapshot.Gaps) > 0 || s.failed != "" && !s.kept {
		parts = append(parts, "PARTIAL")
	}
	if len(s.reading.Snapshot.Meta.Intent) > 0 {
		parts = append(parts, "BY INTENT")
	}
	parts = append(parts, s.powerWord(full == 2))
	return strings.Join(parts, " · ")
}

// ageIn is the age as the header says it in so much room.
func (s *state) ageIn(full int) string {
	switch age := s.age(); {
	case full == 0:
		return ""
	case !s.reading.Live:
		return age
	case full == 1:
		return "snap " + ago(s.now.Sub(s.reading.Taken))
	default:
		return "snapshot " + age
	}
}

// powerWord says whether the screens may change the pod.
func (s *state) powerWord(full bool) string {
	may := s.opt.Source.Egress != nil && s.opt.Source.Egress.Locked == ""
	switch {
	case may && full:
		return "READ-WRITE"
	case may:
		return "RW"
	case full:
		return "READ-ONLY"
	}
	return "RO"
}

// proxy is the proxy with its version.
func (r Reading) proxy() string {
	if r.Snapshot == nil || r.Snapshot.Envoy == nil {
		return ""
	}
	return strings.TrimSpace("envoy " + render.Clean(r.Snapshot.Envoy.Summary().Version))
}

// age says when the snapshot was taken.
func (s *state) age() string {
	t := s.reading.Taken
	switch {
	case t.IsZero():
		return ""
	case s.reading.Live:
		return t.Format("15:04:05") + ", " + ago(s.now.Sub(t)) + " ago"
	}
	return "recorded " + t.UTC().Format("2006-01-02 15:04")
}

// ago is a duration in one unit: "8 s", "3 m", "2 h", "5 d".
func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 100*time.Second:
		return itoa(int(d/time.Second)) + " s"
	case d < 100*time.Minute:
		return itoa(int(d/time.Minute)) + " m"
	case d < 48*time.Hour:
		return itoa(int(d/time.Hour)) + " h"
	}
	return itoa(int(d/(24*time.Hour))) + " d"
}

// footer shows the keys of the screen, or what there is to say.
func footer(c *canvas, s *state, keys [][]binding) {
	y := c.h - 1
	if s.say != "" || s.link != "" {
		ink, words := style.Bar, s.say
		if words == "" {
			ink, words = style.Alarm, s.link
		} else if s.alarm {
			ink = style.Alarm
		}
		c.wash(rect{0, y, c.w, 1}, ink)
		c.put(1, y, c.w-2, ink, words)
		return
	}
	c.wash(rect{0, y, c.w, 1}, style.Bar)
	gap := 2
	if c.w >= wideFrom {
		gap = 3
	}
	help := "? help"
	x := 1
	for _, list := range keys {
		for _, b := range list {
			w := textWidth(b.short)
			if b.act == actHelp && len(b.keys) > 0 {
				help = shown(b.keys[0]) + " help"
			}
			if b.short == "" || b.act == actHelp || x+w+gap+len(help) > c.w-1 {
				continue
			}
			c.put(x, y, w, style.Bar, b.short)
			c.spot(x, y, w, press(b.act))
			x += w + gap
		}
	}
	if x+len(help) < c.w {
		c.put(x, y, len(help), style.Bar, help)
		c.spot(x, y, len(help), press(actHelp))
	}
}

// paintSmall is the frame of a terminal that is too small: the verdict alone.
func paintSmall(c *canvas, s *state) {
	var lines []line
	if s.danger() {
		lines = para(line{}, style.Alarm, "DANGER "+render.Clean(s.opt.Context), c.w)
	}
	if s.inForce() {
		lines = append(lines, para(line{}, style.Alarm, s.bannerText(), c.w)...)
	}
	switch {
	case s.traced:
		v, word, rest := verdictWords(s)
		g, ink := verdictMark(v)
		ink = s.meant(ink)
		lines = append(lines, para(text(ink, g+" "), ink, word+rest, c.w)...)
		lines = append(lines, para(line{}, style.Plain, render.RequestLine(s.trace.Request), c.w)...)
	case s.failed != "":
		lines = append(lines, para(line{}, style.Stops, s.failed, c.w)...)
	default:
		lines = append(lines, para(line{}, style.Plain, "meshtop "+render.Clean(s.opt.Target), c.w)...)
	}
	lines = append(lines, para(line{}, style.Faint, "terminal too small: "+itoa(minWidth)+"x"+itoa(minHeight)+" shows the path", c.w)...)
	c.page(rect{0, 0, c.w, c.h}, 0, lines)
}

// note keeps the last word on each part.
func (b *busy) note(p inspect.Progress) {
	for i := range b.parts {
		if b.parts[i].Part == p.Part {
			b.parts[i] = p
			return
		}
	}
	b.parts = append(b.parts, p)
}

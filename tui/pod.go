package tui

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// podBrief is the pod in three rows.
func podBrief(s *state, w int) []line {
	if s.reading.Snapshot == nil {
		return []line{text(style.Faint, waiting(s))}
	}
	var first []string
	if len(s.survey.devs) > 0 {
		first = append(first, s.survey.devs[0])
	}
	for i, k := range people(s.survey.apps) {
		if i < 2 {
			first = append(first, k)
		}
	}
	for i, k := range people(s.survey.proxy) {
		if i < 1 {
			first = append(first, k)
		}
	}
	out := []line{text(style.Plain, render.Clean(strings.Join(first, " · ")))}
	out = append(out, text(style.Plain, configWords(s)))
	if gaps := gapWords(s); gaps != "" {
		out = append(out, text(style.Depends, style.MarkUnknown+" "+gaps))
	} else if title := s.reading.Snapshot.Meta.Title; title != "" {
		out = append(out, text(style.Faint, render.Clean(title)))
	}
	return out
}

// people are the processes that own sockets, each with its uid and ports.
func people(list []netfilter.Socket) []string {
	type who struct {
		name string
		uid  uint32
	}
	ports := map[who][]int{}
	var order []who
	for _, k := range list {
		p := who{or(k.Process, "process not shown"), k.UID}
		if ports[p] == nil {
			order = append(order, p)
		}
		ports[p] = append(ports[p], int(k.Local.Port()))
	}
	var out []string
	for _, p := range order {
		sort.Ints(ports[p])
		var words []string
		last := -1
		for _, n := range ports[p] {
			if n != last {
				words = append(words, ":"+itoa(n))
			}
			last = n
		}
		out = append(out, p.name+" (uid "+utoa(p.uid)+") "+strings.Join(words, " "))
	}
	return out
}

// configWords say how large Envoy's configuration is.
func configWords(s *state) string {
	if s.reading.Snapshot.Envoy == nil {
		return "Envoy's configuration was not read"
	}
	m := s.reading.Snapshot.Envoy.Summary()
	return s.reading.proxy() + " · config " + bytesWord(m.Bytes) + ", " + itoa(m.Listeners) + plural(m.Listeners, " listener") + ", " +
		itoa(m.Clusters) + plural(m.Clusters, " cluster") + ", " + itoa(m.Routes) + plural(m.Routes, " route table")
}

// gapWords say what could not be looked at, what is odd in what was read, and what of it is
// not understood: by name, and in full where it is one thing alone.
func gapWords(s *state) string {
	snap := s.reading.Snapshot
	gaps, skipped := snap.Gaps, snap.Envoy.Unmodelled()
	switch {
	case len(gaps) == 1 && len(skipped) == 0:
		return gapKind(s, gaps[0]) + " " + render.Clean(gaps[0].Part+": "+gaps[0].Reason)
	case len(gaps) == 0 && len(skipped) == 1:
		return "skipped " + render.NotModelled(skipped[0])
	}
	var out []string
	for _, kind := range []string{gapUnread, gapOdd} {
		var parts []string
		for _, g := range gaps {
			if part := render.Clean(g.Part); gapKind(s, g) == kind && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
		if parts != nil {
			out = append(out, kind+": "+strings.Join(parts, ", "))
		}
	}
	if len(skipped) > 0 {
		out = append(out, "skipped: "+itoa(len(skipped))+plural(len(skipped), " kind")+" of objects, such as "+render.Clean(skipped[0].Type))
	}
	return strings.Join(out, " · ")
}

const (
	gapUnread = "not read"
	gapOdd    = "odd"
)

// gapKind tells what could not be read from what was, and is odd.
func gapKind(s *state, g flow.Gap) string {
	if _, read := s.reading.Snapshot.Files[g.Part]; read {
		return gapOdd
	}
	return gapUnread
}

// gapRows are at most so many rows of gaps and of what is not understood.
func gapRows(s *state, most int) [][2]string {
	var out [][2]string
	for _, kind := range []string{gapUnread, gapOdd} {
		var some []flow.Gap
		for _, g := range s.reading.Snapshot.Gaps {
			if gapKind(s, g) == kind {
				some = append(some, g)
			}
		}
		for _, g := range flow.Alike(some) {
			out = append(out, [2]string{kind, g.Part + ": " + g.Reason})
		}
	}
	for _, u := range s.reading.Snapshot.Envoy.Unmodelled() {
		out = append(out, [2]string{"skipped", render.NotModelled(u)})
	}
	if n := len(out) - most; n > 0 {
		out = append(out[:most], [2]string{"", "and " + itoa(n) + " more"})
	}
	return out
}

// podLines are the pod in a pane of its own.
func podLines(s *state, w int) []line {
	if s.reading.Snapshot == nil {
		return []line{text(style.Faint, waiting(s))}
	}
	var out []line
	row := func(name string, ink style.Ink, words ...string) {
		for i, word := range words {
			if word == "" {
				continue
			}
			if i > 0 {
				name = ""
			}
			out = append(out, para(text(style.Faint, pad(name, 9)), ink, render.Clean(word), w)...)
		}
	}
	row("pod", style.Strong, s.opt.Target)
	if t := s.reading.Snapshot.Meta.Title; t != "" {
		row("", style.Faint, t)
	}
	row("address", style.Plain, s.survey.devs...)
	row("apps", style.Plain, limit(people(s.survey.apps), 4)...)
	row("proxy", style.Plain, limit(people(s.survey.proxy), 3)...)
	row("config", style.Plain, configWords(s))
	row("read", style.Plain, s.age())
	row("rules", style.Plain, ruleWords(s))
	last := ""
	for _, g := range gapRows(s, 4) {
		row(map[bool]string{true: g[0]}[g[0] != last], style.Depends, style.MarkUnknown+" "+g[1])
		last = g[0]
	}
	return out
}

// ruleWords say which rule sets were read, with their size.
func ruleWords(s *state) string {
	var parts []string
	for _, p := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		raw, ok := s.reading.Snapshot.Files[p]
		if !ok {
			continue
		}
		if n := strings.Count(string(raw), "\n-A ") + strings.Count(string(raw), "] -A "); n > 0 {
			parts = append(parts, strings.TrimSuffix(p, "-save")+" "+itoa(n))
		}
	}
	if _, ok := s.reading.Snapshot.Files["nft.json"]; ok && len(parts) == 0 {
		parts = append(parts, "nft")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func limit(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(list[:n:n], "and "+itoa(len(list)-n)+" more")
}

func utoa(u uint32) string { return strconv.FormatUint(uint64(u), 10) }

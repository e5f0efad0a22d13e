package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/render"
)

// Keys is the key map: what each key does on each screen, and how it is told. Help, footer,
// palette, what Doc writes and what the screens say of keys are all made from it. The zero
// value is the map that is built in.
type Keys struct {
	lists map[screenID][]binding
}

// binding is one act on one screen: its keys, how help and footer show them, and what it does.
type binding struct {
	act   act
	name  string // in a configuration
	keys  []string
	label string // in the help; empty: shown with the row before it
	help  string // in the help and the palette; empty: not there
	short string // in the footer; empty: not there
}

// The lists of keys beside those of the screens.
const (
	modePicker = screens + iota
	modePickerEverywhere
	modeEverywhere
)

// Remap gives an act other keys than the built-in ones, wherever it has a key.
type Remap struct {
	Act  string   // such as "next-decision"; those of the request's form begin with "form-"
	Keys []string // as the terminal's keys are called: "J", "ctrl+d", "pgdown"; none: no key does it
	Line int      // of the file that says so
}

// NewKeys is the built-in map with some acts on other keys. Its errors are all that is wrong,
// each with its line: an act or a key that there is not, and a key that would do two things on
// one screen.
func NewKeys(remaps []Remap) (Keys, error) {
	over, known := map[string]Remap{}, map[string]bool{}
	for _, list := range tables() {
		for _, r := range list.rows {
			known[list.name(r.act)] = true
		}
	}
	var wrong []error
	for _, r := range remaps {
		old, twice := over[r.Act]
		switch {
		case !known[r.Act]:
			wrong = append(wrong, fmt.Errorf("line %d: there is no act %q%s", r.Line, render.Clean(r.Act), nearAct(r.Act, known)))
		case twice:
			wrong = append(wrong, fmt.Errorf("line %d: %s has its keys in line %d already", r.Line, r.Act, old.Line))
		case len(r.Keys) == 0 && strings.HasSuffix(r.Act, actQuit.String()):
			wrong = append(wrong, fmt.Errorf("line %d: %s needs a key", r.Line, r.Act))
		}
		for _, k := range r.Keys {
			if err := checkKey(k, strings.HasPrefix(r.Act, formPrefix)); err != nil {
				wrong = append(wrong, fmt.Errorf("line %d: %s: %w", r.Line, r.Act, err))
			}
		}
		over[r.Act] = r
	}
	k := Keys{map[screenID][]binding{}}
	for _, list := range tables() {
		k.lists[list.at] = list.bind(over)
	}
	return k, errors.Join(append(wrong, k.conflicts(over)...)...)
}

// table is the built-in keys of one screen.
type table struct {
	at   screenID
	rows []row
}

func tables() []table {
	return []table{{overviewID, overviewKeys()}, {requestID, requestKeys()}, {traceID, traceKeys()}, {configID, configKeys()},
		{confirmID, confirmKeys()}, {modePicker, pickerKeys()}, {modePickerEverywhere, pickerGlobals()}, {modeEverywhere, globalKeys()}}
}

// formPrefix begins the acts of the request's form: letters are text there, so that its keys
// are others than those of the same acts elsewhere.
const formPrefix = "form-"

func (t table) name(a act) string {
	if t.at == requestID {
		return formPrefix + a.String()
	}
	return a.String()
}

// bind makes the bindings, with labels of the keys that they have.
func (t table) bind(over map[string]Remap) []binding {
	out := make([]binding, len(t.rows))
	for i, r := range t.rows {
		out[i] = binding{act: r.act, name: t.name(r.act), keys: r.keys, help: r.help}
		if o, ok := over[out[i].name]; ok {
			out[i].keys = o.Keys
		}
	}
	t.leave(out)
	for i := 0; i < len(out); {
		n := i + 1
		for n < len(out) && out[n].help == "" {
			n++
		}
		out[i].label, out[i].short = label(t.rows[i:n], out[i:n]), brief(t.rows[i], out[i:n])
		i = n
	}
	return out
}

// leave takes from a row the key that it leaves to another act of the screen.
func (t table) leave(list []binding) {
	for i, r := range t.rows {
		for _, other := range list {
			if r.yields != "" && other.act != r.act && slices.Contains(other.keys, r.yields) {
				list[i].keys = slices.DeleteFunc(slices.Clone(list[i].keys), func(k string) bool { return k == r.yields })
			}
		}
	}
}

// label is the keys of a group of acts: the first of each, then the second of each. Of keys
// with ctrl in a row the first says it.
func label(rows []row, group []binding) string {
	var out []string
	for nth := range 2 {
		for i, b := range group {
			if nth < rows[i].show && nth < len(b.keys) {
				out = append(out, b.keys[nth])
			}
		}
	}
	const ctrl = "ctrl+"
	for i := len(out) - 1; i >= 0; i-- {
		if i > 0 && strings.HasPrefix(out[i], ctrl) && strings.HasPrefix(out[i-1], ctrl) {
			out[i] = strings.TrimPrefix(out[i], ctrl)
		}
		out[i] = shown(out[i])
	}
	if len(out) == 0 {
		return "no key"
	}
	return strings.Join(out, " ")
}

// brief is what the footer shows of a group; empty where an act that it names has no key.
func brief(r row, group []binding) string {
	var first []any
	for i := range strings.Count(r.short, "%s") {
		if len(group[i].keys) == 0 {
			return ""
		}
		first = append(first, shown(group[i].keys[0]))
	}
	return fmt.Sprintf(r.short, first...)
}

// shown is a key as people read it.
func shown(key string) string {
	switch key {
	case "down":
		return "↓"
	case "up":
		return "↑"
	case "left":
		return "←"
	case "right":
		return "→"
	}
	return key
}

// of are the lists that act on a screen, its own first.
func (k Keys) of(at screenID) [][]binding {
	switch at {
	case requestID:
		return [][]binding{k.lists[at]}
	case modePicker:
		return [][]binding{k.lists[at], k.lists[modePickerEverywhere]}
	}
	return [][]binding{k.lists[at], k.lists[modeEverywhere]}
}

// Act is one act of the key map, as a configuration names it.
type Act struct {
	Name string
	Keys []string
	Help string // what it does; empty: said with the act before it
	On   string // where: "everywhere", or the screens
}

// Acts are all acts in the order of the screens, those of every screen first. An act that
// several screens have stands once.
func (k Keys) Acts() []Act {
	k = k.orBuiltIn()
	var out []Act
	at := map[string]int{}
	for _, id := range []screenID{modeEverywhere, overviewID, traceID, configID, confirmID, requestID, modePicker, modePickerEverywhere} {
		for _, b := range k.lists[id] {
			i, ok := at[b.name]
			if !ok {
				at[b.name] = len(out)
				out = append(out, Act{b.name, b.keys, b.help, id.place()})
				continue
			}
			if len(b.keys) > len(out[i].Keys) { // another screen's may have left one
				out[i].Keys = b.keys
			}
			if on := id.place(); out[i].On != "everywhere" && !strings.Contains(out[i].On, on) {
				out[i].On += ", " + on
			}
		}
	}
	return out
}

// place is where a list of keys counts.
func (id screenID) place() string {
	switch {
	case id == modeEverywhere:
		return "everywhere"
	case id < screens:
		return id.String()
	}
	return "Pods"
}

// everywhere are the keys of every screen that is no form.
func (k Keys) everywhere() []binding { return k.lists[modeEverywhere] }

// orBuiltIn is k, or the map that is built in.
func (k Keys) orBuiltIn() Keys {
	if k.lists == nil {
		k, _ = NewKeys(nil) // a test sees that it has no conflicts
	}
	return k
}

// name is the screen's name, for what is wrong there.
func (id screenID) name() string {
	switch {
	case id == requestID:
		return "the request's form"
	case id < screens:
		return "the screen " + id.String()
	}
	return "the list of pods"
}

// conflicts are the keys that would do two things on one screen, each pair of acts once.
func (k Keys) conflicts(over map[string]Remap) []error {
	var wrong []error
	told := map[string]bool{}
	for at := range modePicker + 1 {
		first := map[string]string{}
		for _, list := range k.of(at) {
			for _, b := range list {
				for _, key := range b.keys {
					old, ok := first[key]
					first[key] = b.name
					if pair := old + " " + b.name + " " + key; ok && !told[pair] {
						told[pair] = true
						wrong = append(wrong, conflict(at, key, over, old, b.name))
					}
				}
			}
		}
	}
	return wrong
}

// conflict names both acts, and the lines where they got the key.
func conflict(at screenID, key string, over map[string]Remap, a, b string) error {
	if over[a].Line > over[b].Line {
		a, b = b, a
	}
	said := func(act string) string {
		if line := over[act].Line; line > 0 {
			return fmt.Sprintf(" (line %d)", line)
		}
		return " (built in)"
	}
	if a == b {
		return fmt.Errorf("line %d: %s has the key %s twice", over[a].Line, a, key)
	}
	return fmt.Errorf("line %d: the key %s is both %s%s and %s%s on %s: give one of them another", over[b].Line, key, a, said(a), b, said(b), at.name())
}

// nearAct says which names are near a wrong one.
func nearAct(word string, known map[string]bool) string {
	var near []string
	for name := range known {
		if strings.Contains(name, word) || strings.Contains(word, name) && len(name) > 3 {
			near = append(near, name)
		}
	}
	if slices.Sort(near); len(near) > 0 && word != "" {
		return ": was " + strings.Join(near[:min(len(near), 3)], " or ") + " meant?"
	}
	return "; meshtop config lists them"
}

// lookup finds what a key does in the first list that has it.
func lookup(key string, lists ...[]binding) act {
	for _, l := range lists {
		for _, b := range l {
			if slices.Contains(b.keys, key) {
				return b.act
			}
		}
	}
	return actNone
}

// key is the first key of an act on the screen that is shown, as its texts name it.
func (s *state) key(a act) string { return s.opt.Keys.first(s.at, a) }

// keyOutside is the same where the form is shown too, which knows less acts than other screens.
func (s *state) keyOutside(a act) string { return s.opt.Keys.first(overviewID, a) }

// first is the first key of an act on a screen.
func (k Keys) first(at screenID, a act) string {
	for _, list := range k.of(at) {
		for _, b := range list {
			if b.act == a && len(b.keys) > 0 {
				return shown(b.keys[0])
			}
		}
	}
	return "(no key)"
}

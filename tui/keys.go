package tui

import "slices"

// act is what a key does, a click on the footer, or a line of the palette.
type act uint8

const (
	actNone act = iota
	actDown
	actUp
	actFirst
	actLast
	actHalfDown
	actHalfUp
	actPageDown
	actPageUp
	actLeft
	actRight
	actNextDecision
	actPrevDecision
	actOpen
	actRaw
	actWhatIf
	actVariant
	actEdit
	actConfirm
	actPause
	actSend
	actPayload
	actExport
	actBack
	actPane
	actPaneBack
	actOverviewScreen
	actRequestScreen
	actTraceScreen
	actConfigScreen
	actConfirmScreen
	actZoom
	actFind
	actFindNext
	actFindPrev
	actRefresh
	actHelp
	actPalette
	actActivity
	actCopy
	actCopyAs
	actForm
	actMouse
	actPolicy
	actExtend
	actUndo
	actSuspend
	actQuit
	actRun
	actChoose
	actAll
	actEnd // above every act
)

// binding is one row of the key map: its keys, how help and footer show them, and what
// they do. Help, footer and palette are made from these rows.
type binding struct {
	act   act
	keys  []string
	label string // in the help; empty: shown with the row before it
	help  string // in the help and the palette; empty: not there
	short string // in the footer; empty: not there
}

// moves are the same on every screen with a list or text, but for keys that the screen
// has another use for.
func moves(down, short string, taken ...string) []binding {
	list := []binding{
		{actDown, []string{"j", "down"}, "j k ↓ ↑", down, short},
		{actUp, []string{"k", "up"}, "", "", ""},
		{actFirst, []string{"g", "home"}, "g G", "first, last", ""},
		{actLast, []string{"G", "end"}, "", "", ""},
		{actHalfDown, []string{"ctrl+d"}, "ctrl+d u", "half a page", ""},
		{actHalfUp, []string{"ctrl+u"}, "", "", ""},
		{actPageDown, []string{"ctrl+f", "pgdown", "space"}, "", "", ""},
		{actPageUp, []string{"ctrl+b", "pgup"}, "", "", ""},
	}
	for i := range list {
		list[i].keys = slices.DeleteFunc(list[i].keys, func(k string) bool { return slices.Contains(taken, k) })
	}
	return list
}

// globalKeys work on every screen that is no form.
func globalKeys() []binding {
	return []binding{
		{actHelp, []string{"?", "f1"}, "?", "this help", ""},
		{actPalette, []string{":"}, ":", "go to, or do, by name", ""},
		{actOverviewScreen, []string{"1"}, "1 2 3 4 5", "the five screens", ""},
		{actRequestScreen, []string{"2"}, "", "", ""},
		{actTraceScreen, []string{"3", "t"}, "", "", ""},
		{actConfigScreen, []string{"4"}, "", "", ""},
		{actConfirmScreen, []string{"5"}, "", "", ""},
		{actBack, []string{"esc"}, "esc", "back one level", ""},
		{actPane, []string{"tab"}, "tab", "next pane", ""},
		{actPaneBack, []string{"shift+tab"}, "", "", ""},
		{actRefresh, []string{"r"}, "r", "read the pod again", ""},
		{actActivity, []string{"@"}, "@", "activity: each call made", ""},
		{actPolicy, []string{"p"}, "p", "change the egress policy", ""},
		{actExtend, []string{"+"}, "+ u", "the policy: extend, undo", ""},
		{actUndo, []string{"u"}, "", "", ""},
		{actMouse, []string{"m"}, "m", "mouse on, off", ""},
		{actSuspend, []string{"ctrl+z"}, "ctrl+z", "suspend", ""},
		{actQuit, []string{"q", "ctrl+c"}, "q ctrl+c", "quit", ""},
	}
}

func traceKeys() []binding {
	return append(moves("next, previous step", "j/k step"), []binding{
		{actNextDecision, []string{"s"}, "s S", "next, previous decision", "s decision"},
		{actPrevDecision, []string{"S"}, "", "", ""},
		{actOpen, []string{"enter", "y"}, "enter y", "raw config of the step", "enter raw"},
		{actWhatIf, []string{"i"}, "i", "what-if: fix a near miss", "i what-if"},
		{actVariant, []string{"v"}, "v", "choose a variant", "v variant"},
		{actConfirm, []string{"w"}, "w", "confirm by watching", "w confirm"},
		{actEdit, []string{"e"}, "e", "edit the request", "e request"},
		{actFind, []string{"/"}, "/", "find a step", ""},
		{actZoom, []string{"z"}, "z", "zoom the pane", "z zoom"},
		{actAll, []string{"a"}, "a", "all losers, or the near", ""},
		{actCopy, []string{"c"}, "c C", "copy, copy as", ""},
		{actCopyAs, []string{"C"}, "", "", ""},
	}...)
}

func overviewKeys() []binding {
	return append(moves("next, previous row", ""), []binding{
		{actOpen, []string{"enter"}, "enter", "trace it, or show the rule", "enter trace it"},
		{actEdit, []string{"e"}, "e", "new request", "e new request"},
		{actRaw, []string{"y"}, "y", "raw config", "y config"},
		{actFind, []string{"/"}, "/", "filter the connections", "/ filter"},
		{actZoom, []string{"z"}, "z", "zoom the pane", ""},
		{actCopy, []string{"c"}, "c", "copy the row", ""},
	}...)
}

func configKeys() []binding {
	return append(moves("next, previous line", "j/k move"), []binding{
		{actRight, []string{"l", "right"}, "l h → ←", "open, close", "l/h open/close"},
		{actLeft, []string{"h", "left"}, "", "", ""},
		{actFind, []string{"/"}, "/ n N", "search, next, previous match", "/ search"},
		{actFindNext, []string{"n"}, "", "", ""},
		{actFindPrev, []string{"N"}, "", "", ""},
		{actForm, []string{"J"}, "J", "YAML or JSON", "J json"},
		{actOpen, []string{"enter"}, "enter", "open, close", ""},
		{actAll, []string{"a"}, "a", "whole part, or the object alone", "a whole"},
		{actCopy, []string{"c"}, "c C", "copy the value, the path", "c copy"},
		{actCopyAs, []string{"C"}, "", "", ""},
	}...)
}

// requestKeys are those of the form: letters are text there, so only keys with ctrl and
// keys that write nothing act.
func requestKeys() []binding {
	return []binding{
		{actRun, []string{"ctrl+r"}, "ctrl+r", "trace it", "ctrl+r trace"},
		{actPane, []string{"tab"}, "tab", "next field", "tab next"},
		{actPaneBack, []string{"shift+tab"}, "", "", ""},
		{actDown, []string{"down"}, "↓ ↑", "next, previous field or preset", ""},
		{actUp, []string{"up"}, "", "", ""},
		{actOpen, []string{"enter"}, "enter", "next field; fill from a preset", ""},
		{actChoose, []string{"space"}, "space", "the other choice of a field", "space choose"},
		{actCopyAs, []string{"ctrl+y"}, "ctrl+y", "copy as curl", "ctrl+y copy as curl"},
		{actZoom, []string{"ctrl+p"}, "ctrl+p", "form or presets", "ctrl+p presets"},
		{actBack, []string{"esc"}, "esc", "back", "esc back"},
		{actHelp, []string{"f1"}, "f1", "this help", ""},
		{actQuit, []string{"ctrl+c"}, "ctrl+c", "quit", ""},
	}
}

// lookup finds what a key does in the first list that has it.
func lookup(key string, lists ...[]binding) act {
	for _, l := range lists {
		for _, b := range l {
			for _, k := range b.keys {
				if k == key {
					return b.act
				}
			}
		}
	}
	return actNone
}

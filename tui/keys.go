package tui

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
	actEvery
	actNamespace
	actContext
	actSort
	actDiff
	actPager
	actWrap
	actEnd // above every act
)

// row is one line of the key map as it is without a configuration: the keys of an act, how
// many of them help and footer show, and the words there. A row without words is shown with
// the one before it.
type row struct {
	act   act
	keys  []string
	show  int    // at most so many of its keys
	help  string // in the help and the palette
	short string // in the footer, with a %s for the first key of each act of the group; empty: not there
	// yields is a key that the row leaves to another act where both have it; empty: none.
	yields string
}

// moves are the same on every screen with a list or text. The space bar is one of them where
// the screen has no other use for it.
func moves(down, short string) []row {
	return []row{
		{actDown, []string{"j", "down"}, 2, down, short, ""},
		{actUp, []string{"k", "up"}, 2, "", "", ""},
		{actFirst, []string{"g", "home"}, 1, "first, last", "", ""},
		{actLast, []string{"G", "end"}, 1, "", "", ""},
		{actHalfDown, []string{"ctrl+d"}, 1, "half a page", "", ""},
		{actHalfUp, []string{"ctrl+u"}, 1, "", "", ""},
		{actPageDown, []string{"ctrl+f", "pgdown", "space"}, 0, "", "", "space"},
		{actPageUp, []string{"ctrl+b", "pgup"}, 0, "", "", ""},
	}
}

// globalKeys work on every screen that is no form.
func globalKeys() []row {
	return []row{
		{actHelp, []string{"?", "f1"}, 1, "this help", "", ""},
		{actPalette, []string{":"}, 1, "go to, or do, by name", "", ""},
		{actOverviewScreen, []string{"1"}, 1, "the five screens", "", ""},
		{actRequestScreen, []string{"2"}, 1, "", "", ""},
		{actTraceScreen, []string{"3", "t"}, 1, "", "", ""},
		{actConfigScreen, []string{"4"}, 1, "", "", ""},
		{actConfirmScreen, []string{"5"}, 1, "", "", ""},
		{actBack, []string{"esc"}, 1, "back one level", "", ""},
		{actPane, []string{"tab"}, 1, "next pane", "", ""},
		{actPaneBack, []string{"shift+tab"}, 0, "", "", ""},
		{actRefresh, []string{"r"}, 1, "read the pod again", "", ""},
		{actActivity, []string{"@"}, 1, "activity: each call made", "", ""},
		{actPolicy, []string{"p"}, 1, "change the egress policy", "", ""},
		{actExtend, []string{"+"}, 1, "the policy: extend, undo", "", ""},
		{actUndo, []string{"u"}, 1, "", "", ""},
		{actMouse, []string{"m"}, 1, "mouse on, off", "", ""},
		{actSuspend, []string{"ctrl+z"}, 1, "suspend", "", ""},
		{actQuit, []string{"q", "ctrl+c"}, 2, "quit", "", ""},
	}
}

func traceKeys() []row {
	return append(moves("next, previous step", "%s/%s step"), []row{
		{actNextDecision, []string{"s"}, 1, "next, previous decision", "%s decision", ""},
		{actPrevDecision, []string{"S"}, 1, "", "", ""},
		{actOpen, []string{"enter"}, 1, "raw config of the step", "%s raw", ""},
		{actRaw, []string{"y"}, 1, "", "", ""},
		{actWhatIf, []string{"i"}, 1, "what-if: fix a near miss", "%s what-if", ""},
		{actVariant, []string{"v"}, 1, "choose a variant", "%s variant", ""},
		{actDiff, []string{"d"}, 1, "diff with another trace", "", ""},
		{actConfirm, []string{"w"}, 1, "confirm by watching", "%s confirm", ""},
		{actEdit, []string{"e"}, 1, "edit the request", "%s request", ""},
		{actFind, []string{"/"}, 1, "find a step", "", ""},
		{actZoom, []string{"z"}, 1, "zoom the pane", "%s zoom", ""},
		{actAll, []string{"a"}, 1, "all losers, or the near", "", ""},
		{actCopy, []string{"c"}, 1, "copy, copy as", "", ""},
		{actCopyAs, []string{"C"}, 1, "", "", ""},
	}...)
}

func overviewKeys() []row {
	return append(moves("next, previous row", ""), []row{
		{actOpen, []string{"enter"}, 1, "trace it, or show the rule", "%s trace it", ""},
		{actEdit, []string{"e"}, 1, "new request", "%s new request", ""},
		{actRaw, []string{"y"}, 1, "raw config", "%s config", ""},
		{actFind, []string{"/"}, 1, "filter the connections", "%s filter", ""},
		{actZoom, []string{"z"}, 1, "zoom the pane", "", ""},
		{actCopy, []string{"c"}, 1, "copy the row", "", ""},
	}...)
}

func configKeys() []row {
	return append(moves("next, previous line", "%s/%s move"), []row{
		{actRight, []string{"l", "right"}, 2, "open, close", "%s/%s open/close", ""},
		{actLeft, []string{"h", "left"}, 2, "", "", ""},
		{actFind, []string{"/"}, 1, "search, next, previous match", "%s search", ""},
		{actFindNext, []string{"n"}, 1, "", "", ""},
		{actFindPrev, []string{"N"}, 1, "", "", ""},
		{actForm, []string{"J"}, 1, "YAML or JSON", "%s json", ""},
		{actOpen, []string{"enter"}, 1, "open, close", "", ""},
		{actWrap, []string{"W"}, 1, "wrap long lines, or cut them", "", ""},
		{actPager, []string{"o"}, 1, "open in $PAGER or $EDITOR", "%s pager", ""},
		{actAll, []string{"a"}, 1, "whole part, or the object alone", "%s whole", ""},
		{actCopy, []string{"c"}, 1, "copy the value, copy as", "%s copy", ""},
		{actCopyAs, []string{"C"}, 1, "", "", ""},
	}...)
}

// requestKeys are those of the form: letters are text there, so only keys with ctrl and
// keys that write nothing act.
func requestKeys() []row {
	return []row{
		{actRun, []string{"ctrl+r"}, 1, "trace it", "%s trace", ""},
		{actPane, []string{"tab"}, 1, "next field", "%s next", ""},
		{actPaneBack, []string{"shift+tab"}, 0, "", "", ""},
		{actDown, []string{"down"}, 1, "next, previous field or preset", "", ""},
		{actUp, []string{"up"}, 1, "", "", ""},
		{actOpen, []string{"enter"}, 1, "next field; fill from a preset", "", ""},
		{actChoose, []string{"space"}, 1, "the other choice of a field", "%s choose", ""},
		{actCopyAs, []string{"ctrl+y"}, 1, "copy as curl", "%s copy as curl", ""},
		{actZoom, []string{"ctrl+p"}, 1, "form or presets", "%s presets", ""},
		{actBack, []string{"esc"}, 1, "back", "%s back", ""},
		{actHelp, []string{"f1"}, 1, "this help", "", ""},
		{actQuit, []string{"ctrl+c"}, 1, "quit", "", ""},
	}
}

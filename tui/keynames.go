package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/meshtop/meshtop/rules/render"
)

// String is the act's name in a configuration.
func (a act) String() string { return actNames()[a] }

func actNames() [actEnd]string {
	return [actEnd]string{
		actNone: "none", actDown: "down", actUp: "up", actFirst: "first", actLast: "last", actHalfDown: "half-page-down", actHalfUp: "half-page-up",
		actPageDown: "page-down", actPageUp: "page-up", actLeft: "left", actRight: "right", actNextDecision: "next-decision",
		actPrevDecision: "previous-decision", actOpen: "open", actRaw: "raw", actWhatIf: "what-if", actVariant: "variant", actEdit: "request",
		actConfirm: "confirm", actPause: "pause", actSend: "send", actPayload: "payload", actExport: "export", actBack: "back", actPane: "next-pane",
		actPaneBack: "previous-pane", actOverviewScreen: "overview-screen", actRequestScreen: "request-screen", actTraceScreen: "trace-screen",
		actConfigScreen: "config-screen", actConfirmScreen: "confirm-screen", actZoom: "zoom", actFind: "find", actFindNext: "find-next",
		actFindPrev: "find-previous", actRefresh: "refresh", actHelp: "help", actPalette: "palette", actActivity: "activity", actCopy: "copy",
		actCopyAs: "copy-as", actForm: "yaml-or-json", actMouse: "mouse", actPolicy: "policy", actExtend: "extend-policy", actUndo: "undo-policy",
		actSuspend: "suspend", actQuit: "quit", actRun: "run", actChoose: "choose", actAll: "all", actEvery: "every-packet", actNamespace: "namespace",
		actContext: "context", actSort: "sort", actDiff: "diff", actPager: "pager", actWrap: "wrap",
	}
}

// namedKeys are those that have a name and no character (Bubble Tea's Key.String).
func namedKeys() []string {
	return []string{"enter", "tab", "backspace", "esc", "space", "up", "down", "left", "right", "insert", "delete", "pgup", "pgdown", "home", "end",
		"f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12"}
}

// checkKey says what is wrong with a key's name. In a form a key that writes is text.
func checkKey(key string, form bool) error {
	rest, mods := key, ""
	for _, m := range []string{"ctrl+", "alt+", "shift+"} { // in this order, as the terminal's keys are called
		if after, ok := strings.CutPrefix(rest, m); ok && after != "" {
			mods, rest = mods+m, after
		}
	}
	r, n := utf8.DecodeRuneInString(rest)
	letter := n == len(rest) && n > 0 && unicode.IsGraphic(r) && !unicode.IsSpace(r) && ansi.StringWidth(rest) > 0
	switch {
	case key == "":
		return errors.New("a key without a name")
	case !letter && !slices.Contains(namedKeys(), rest):
		return fmt.Errorf("there is no key %q: want one character, or %s, also with ctrl+, alt+ or shift+ before it", render.Clean(key), strings.Join(namedKeys()[:15], ", "))
	case letter && strings.Contains(mods, "shift+"):
		return fmt.Errorf("%q: a character has no shift+: write the one that it makes", render.Clean(key))
	case mods == "ctrl+" && slices.Contains([]string{"i", "m", "["}, rest):
		return fmt.Errorf("%q: terminals send it as tab, enter or esc", key)
	case form && letter && mods == "":
		return fmt.Errorf("%q is text in the form: want a key that writes none", render.Clean(key))
	}
	return nil
}

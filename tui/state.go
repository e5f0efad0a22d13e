package tui

import (
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/meshtop/meshtop/tui/style"
)

// screenID names a screen.
type screenID uint8

const (
	overviewID screenID = iota
	requestID
	traceID
	configID
	confirmID
	screens
)

func (id screenID) String() string {
	if id >= screens {
		return "Pods"
	}
	return [screens]string{"Overview", "Request", "Trace", "Config", "Confirm"}[id]
}

// state is what the screens read. Only the root changes it.
type state struct {
	opt     Options
	palette style.Palette
	light   bool
	w, h    int // of the screens: the window without the banner's row
	now     time.Time

	at   screenID
	back []screenID // where esc leads

	reading Reading
	read    bool // a reading is there
	failed  string
	goOn    bool // a partial reading was seen and accepted
	kept    bool // the last read failed, and reading is an older one
	open    opening
	end     ending
	busy    *busy
	calls   []inspect.Call

	req      flow.Request
	asked    bool // req is a request, not the zero value
	trace    flow.Trace
	traced   bool
	way      int        // which variant is shown; -1: the first, as the trace holds it
	seen     *confirmed // what was seen of it; nil: nobody watched
	recent   []flow.Request
	past     []pastTrace // the newest last
	made     making
	changed  changes
	survey   survey          // what the overview is drawn from
	surveyed *rules.Snapshot // of which the survey is, or is being made; the reading may know more by now
	things   things          // what of it has a name; none: nobody asked
	sifts    int             // questions of a sieve of the connections
	policy   policyState

	gen    int    // of the last question asked; an answer to an older one is dropped
	docGen int    // the same of documents
	link   string // how the way to the target stands, if that is worth a word
	say    string
	alarm  bool // say is an error
	mouse  bool
}

// first is the request that is traced as soon as a reading is there.
func (s *state) first(r *flow.Request) {
	s.req, s.asked, s.at = *r, true, traceID
	s.back = []screenID{overviewID}
}

// dress makes the palette.
func (s *state) dress() {
	t := s.opt.Theme
	if s.opt.NoColor {
		t = style.Mono
	}
	s.palette = style.New(t, s.light, s.opt.ASCII)
}

// busy is a read that goes on.
type busy struct {
	what   string
	since  time.Time
	parts  []inspect.Progress
	stop   func()
	counts bool // parts are counted, not measured in bytes
}

// legs are those of the variant that is shown.
func (s *state) legs() []flow.Leg {
	if s.way >= 0 && s.way < len(s.trace.Variants) {
		return s.trace.Variants[s.way].Legs
	}
	return s.trace.Legs
}

// steps are the steps of all legs in order.
func (s *state) steps() []flow.Step {
	var out []flow.Step
	for _, l := range s.legs() {
		out = append(out, l.Steps...)
	}
	return out
}

// effectKind is what a screen asks the root to do.
type effectKind uint8

const (
	effNone     effectKind = iota
	effAct                 // as if the key had been pressed
	effSelect              // the row of a list, by a click
	effTrace               // trace effect.req
	effStep                // the trace, at step effect.n
	effGo                  // to effect.screen
	effConfig              // the raw config at effect.text (an Evidence.Ref)
	effPlace               // the raw viewer at effect.place
	effCopy                // effect.text to the clipboard; effect.note says what it is
	effSay                 // effect.text in the footer
	effDialog              // open effect.dialog
	effOffer               // choose among what has a name
	effVariant             // show variant effect.n
	effFill                // the request form from effect.req
	effCancel              // stop the read
	effWatch               // confirm the trace; n is 1 to send the request
	effExport              // write the packets that were seen
	effPlan                // plan what the policy dialog says; n is 1 to carry it out too
	effResolve             // look up the name of effect.draft, and trace it
	effSeek                // search the document, effect.n as seek.by; or look below effect.node
	effUndo                // take the egress policy back
	effExtend              // give it more time
	effPager               // the open document in the pager; effect.note is its file name
	effPickItem            // row effect.n of the dialog, by a click
	effOpen                // open the target again by effect.flags; text: another target instead
	effChoose              // choose another target
	effQuit
)

// effect is a screen's answer to a key: it does nothing itself.
type effect struct {
	kind   effectKind
	act    act
	n      int
	screen screenID
	req    *flow.Request
	text   string
	note   string
	dialog dialog
	place  place
	node   *node
	draft  request.Draft
	flags  []inspect.Flag
}

func say(text string) effect { return effect{kind: effSay, text: text} }

func press(a act) effect { return effect{kind: effAct, act: a} }

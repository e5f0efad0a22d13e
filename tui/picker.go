package tui

import (
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/render"
)

// Pods is what the pod picker asks. Its functions may take long; Where, Contexts and Use do not.
type Pods struct {
	Where      func() (context, namespace string)
	Contexts   func() []string
	Use        func(context, namespace string) // an empty one stays as it is
	List       func(ctx context.Context, namespace string) ([]inspect.Candidate, error)
	Namespaces func(ctx context.Context) ([]string, error)
}

// everySpace is what List takes for all namespaces.
const everySpace = "*"

// picker is the screen on which a pod is chosen: a program of its own, for what follows may
// need minutes (an image is pulled) and tells of them on the terminal.
type picker struct {
	ctx   context.Context
	pods  Pods
	clock func() time.Time // asked in commands alone; nil: time stands
	s     state            // what header, footer and dialogs read: size, colours, what is said

	rows      []inspect.Candidate
	all       bool // of every namespace
	read      bool
	failed    error
	busy      bool
	gen       int
	order     int
	sel, top  int
	filter    field
	asking    bool // the filter gets the keys
	command   field
	typing    bool // a command is typed
	dialog    dialog
	picked    *inspect.Candidate // what the user chose
	told      told
	namespace string
}

// orders are the ways to sort, as the header names them.
var orders = [...]string{"proxy first", "name", "newest first"}

// candidatesMsg: the pods of a namespace are there.
type candidatesMsg struct {
	gen  int
	rows []inspect.Candidate
	err  error
	at   time.Time // zero: not said
}

// spacesMsg: the namespaces are there.
type spacesMsg struct {
	names []string
	err   error
}

func newPicker(ctx context.Context, opt Options, pods Pods, now time.Time) *picker {
	opt.Keys = opt.Keys.orBuiltIn()
	p := &picker{ctx: ctx, pods: pods}
	p.s = state{opt: opt, at: modePicker, w: 80, h: 24, now: now, mouse: !opt.NoMouse}
	p.s.dress()
	_, p.namespace = pods.Where()
	return p
}

func pickerKeys() []row {
	return append(moves("next, previous pod", ""), []row{
		{actOpen, []string{"enter"}, 1, "attach to the pod", "%s attach", ""},
		{actFind, []string{"/"}, 1, "filter", "%s filter", ""},
		{actPalette, []string{":"}, 1, "ns, ctx or pod NAME", "%s ns, ctx, pod NAME", ""},
		{actNamespace, []string{"n"}, 1, "choose a namespace", "%s namespace", ""},
		{actContext, []string{"x"}, 1, "choose a context", "", ""},
		{actAll, []string{"a"}, 1, "all namespaces, or one", "%s all", ""},
		{actSort, []string{"o"}, 1, "sort by another column", "%s sort", ""},
	}...)
}

func pickerGlobals() []row {
	return []row{
		{actHelp, []string{"?", "f1"}, 1, "this help", "", ""},
		{actRefresh, []string{"r"}, 1, "list again", "%s refresh", ""},
		{actActivity, []string{"@"}, 1, "activity: what was told", "", ""},
		{actMouse, []string{"m"}, 1, "mouse on, off", "", ""},
		{actSuspend, []string{"ctrl+z"}, 1, "suspend", "", ""},
		{actBack, []string{"esc"}, 1, "take the filter away", "", ""},
		{actQuit, []string{"q", "ctrl+c"}, 2, "quit", "", ""},
	}
}

// Init lists the pods; the first frame does not wait for them.
func (p *picker) Init() tea.Cmd {
	cmds := []tea.Cmd{p.list(), p.hear()}
	if p.s.opt.Theme.AsksBackground() {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

func (p *picker) list() tea.Cmd {
	p.gen++
	p.busy = true
	gen, ctx, list, space, clock := p.gen, p.ctx, p.pods.List, p.namespace, p.clock
	if p.all {
		space = everySpace
	}
	return func() tea.Msg {
		rows, err := list(ctx, space)
		m := candidatesMsg{gen: gen, rows: rows, err: err}
		if clock != nil {
			m.at = clock()
		}
		return m
	}
}

// Update answers one message.
func (p *picker) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		p.s.w, p.s.h = max(msg.Width, 1), max(msg.Height, 1)
	case tea.BackgroundColorMsg:
		p.s.light = !msg.IsDark()
		p.s.dress()
	case tea.KeyPressMsg:
		cmd = p.press(msg)
	case tea.PasteMsg:
		p.paste(msg.Content)
	case tea.MouseClickMsg:
		cmd = p.click(msg)
	case tea.MouseWheelMsg:
		by := 1
		if msg.Button == tea.MouseWheelUp {
			by = -1
		}
		p.sel += by
	case candidatesMsg:
		p.got(msg)
	case spacesMsg:
		p.gotSpaces(msg)
	case toldMsg:
		cmd = p.gotTold(msg)
	}
	n := len(p.shown())
	p.sel = max(min(p.sel, n-1), 0)
	p.top = scroll(p.top, p.sel, n, max(p.area().h-2, 1))
	return p, cmd
}

func (p *picker) got(m candidatesMsg) {
	if m.gen != p.gen {
		return
	}
	p.busy, p.read, p.failed = false, true, m.err
	if !m.at.IsZero() {
		p.s.now = m.at
	}
	at, was := "", p.shown()
	if p.sel < len(was) {
		at = was[p.sel].Namespace + "/" + was[p.sel].Name
	}
	p.rows = m.rows
	p.arrange()
	for i, c := range p.shown() {
		if c.Namespace+"/"+c.Name == at {
			p.sel = i
		}
	}
}

// arrange sorts the rows; they come with those with a proxy first.
func (p *picker) arrange() {
	slices.SortStableFunc(p.rows, func(a, b inspect.Candidate) int {
		name := strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
		switch {
		case p.order == 2 && !a.Created.Equal(b.Created):
			return b.Created.Compare(a.Created)
		case p.order == 0 && (a.Proxy == "") != (b.Proxy == ""):
			return b2i(a.Proxy == "") - b2i(b.Proxy == "")
		}
		return name
	})
}

// shown are the rows that the filter lets through.
func (p *picker) shown() []inspect.Candidate {
	words := strings.Fields(p.filter.String())
	if len(words) == 0 {
		return p.rows
	}
	var out []inspect.Candidate
	for _, c := range p.rows {
		if holds(strings.Join([]string{c.Namespace, c.Name, c.State, c.Proxy, egressCell(c, p.s.now)}, " "), words) {
			out = append(out, c)
		}
	}
	return out
}

func (p *picker) press(k tea.KeyPressMsg) tea.Cmd {
	p.s.say, p.s.alarm = "", false
	switch {
	case p.dialog != nil:
		e, done := p.dialog.press(k, &p.s)
		if done {
			p.dialog = nil
		}
		return p.perform(e)
	case p.typing:
		return p.typed(k)
	case p.asking:
		switch k.String() {
		case "esc", "ctrl+c":
			p.asking = false
			p.filter.set("")
		case "enter":
			p.asking = false
		default:
			p.filter.press(k)
		}
		return nil
	}
	return p.act(lookup(k.String(), p.s.opt.Keys.of(modePicker)...))
}

func (p *picker) paste(text string) {
	switch d, ok := p.dialog.(*chooser); {
	case ok:
		d.filter.insert(text)
	case p.typing:
		p.command.insert(text)
	case p.asking:
		p.filter.insert(text)
	}
}

func (p *picker) act(a act) tea.Cmd {
	page := max(p.area().h-2, 2)
	switch a {
	case actDown:
		p.sel++
	case actUp:
		p.sel--
	case actFirst:
		p.sel = 0
	case actLast:
		p.sel = len(p.rows)
	case actHalfDown, actPageDown:
		p.sel += page / 2
	case actHalfUp, actPageUp:
		p.sel -= page / 2
	case actFind:
		p.asking = true
	case actPalette:
		p.typing = true
		p.command.set("")
	case actBack:
		p.filter.set("")
	case actSort:
		p.order = (p.order + 1) % len(orders)
		p.arrange()
		p.s.say = "sorted: " + orders[p.order]
	case actMouse:
		p.s.mouse = !p.s.mouse
	case actSuspend:
		return tea.Suspend
	case actQuit:
		return tea.Quit
	case actActivity:
		p.dialog = p.told.activity()
	case actHelp:
		p.dialog = &helpDialog{title: "Help: choose a pod", here: p.s.opt.Keys.of(modePicker)[0], always: p.s.opt.Keys.of(modePicker)[1], markless: true}
	default:
		return p.ask(a)
	}
	return nil
}

// ask does what needs the cluster.
func (p *picker) ask(a act) tea.Cmd {
	switch a {
	case actOpen:
		if list := p.shown(); p.sel < len(list) {
			return p.pick(list[p.sel])
		}
	case actAll:
		p.all = !p.all
		return p.list()
	case actRefresh:
		return p.list()
	case actNamespace:
		ctx, names := p.ctx, p.pods.Namespaces
		return func() tea.Msg {
			list, err := names(ctx)
			return spacesMsg{list, err}
		}
	case actContext:
		d := &chooser{title: "Choose a context", prompt: "filter: ", empty: "the kubeconfig has none"}
		for _, name := range p.pods.Contexts() {
			d.items = append(d.items, item{name: render.Clean(name), effect: effect{kind: effSay, text: "ctx " + name}})
		}
		p.dialog = d
	}
	return nil
}

func (p *picker) gotSpaces(m spacesMsg) {
	if m.err != nil {
		p.s.say, p.s.alarm = "type one instead, :ns NAME: "+render.Clean(m.err.Error()), true
		return
	}
	d := &chooser{title: "Choose a namespace", prompt: "filter: ", empty: "there is none"}
	for _, name := range m.names {
		d.items = append(d.items, item{name: render.Clean(name), effect: effect{kind: effSay, text: "ns " + name}})
	}
	p.dialog = d
}

// typed is a key of a command that is typed.
func (p *picker) typed(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc", "ctrl+c":
		p.typing = false
	case "enter":
		p.typing = false
		return p.do(p.command.String())
	default:
		p.command.press(k)
	}
	return nil
}

// do carries a command out: what a dialog chose, or what was typed.
func (p *picker) do(line string) tea.Cmd {
	verb, name, _ := strings.Cut(strings.TrimSpace(line), " ")
	name = strings.TrimSpace(name)
	switch {
	case verb == "q" || verb == "quit":
		return tea.Quit
	case name == "":
	case verb == "ns" || verb == "namespace":
		p.namespace, p.all = name, false
		p.pods.Use("", name)
		return p.anew()
	case verb == "ctx" || verb == "context":
		p.pods.Use(name, "")
		_, p.namespace = p.pods.Where()
		return p.anew()
	case verb == "pod" || verb == "po":
		return p.pick(inspect.Candidate{Namespace: p.namespace, Name: name})
	}
	if verb != "" {
		p.s.say, p.s.alarm = "want ns NAME, ctx NAME, pod NAME or q, not "+render.Clean(line), true
	}
	return nil
}

// anew lists what is somewhere else than what is shown.
func (p *picker) anew() tea.Cmd {
	p.rows, p.read, p.sel = nil, false, 0
	p.filter.set("")
	return p.list()
}

func (p *picker) pick(c inspect.Candidate) tea.Cmd {
	if c.Closed != "" {
		p.s.say, p.s.alarm = render.Clean(c.Name+": "+c.Closed), true
		return nil
	}
	p.picked = &c
	return tea.Quit
}

func (p *picker) perform(e effect) tea.Cmd {
	switch e.kind {
	case effAct:
		return p.act(e.act)
	case effSelect:
		p.sel = e.n
	case effSay:
		return p.do(e.text)
	}
	return nil
}

func (p *picker) click(m tea.MouseClickMsg) tea.Cmd {
	if m.Button != tea.MouseLeft {
		return nil
	}
	c := newCanvas(p.s.w, p.s.h)
	p.paint(c)
	e := c.at(m.X, m.Y)
	if d, ok := p.dialog.(*chooser); ok && e.kind == effPickItem {
		if e, ok := d.pick(e.n); ok {
			p.dialog = nil
			return p.perform(e)
		}
	}
	if p.dialog != nil && e.kind != effAct {
		return nil
	}
	p.dialog = nil
	if e.kind == effSelect && e.n == p.sel {
		return p.act(actOpen)
	}
	return p.perform(e)
}

package render

import (
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// PolicySchema names the meaning of the JSON form of a policy.
const PolicySchema = "meshtop.policy/v1"

type policyForm struct {
	Schema     string       `json:"schema"`
	State      string       `json:"state"`
	Why        string       `json:"why,omitempty"`
	Policy     string       `json:"policy"`
	Driver     string       `json:"driver"`
	Since      *string      `json:"since"`
	Expires    *string      `json:"expires"`
	Permanent  bool         `json:"permanent"`
	Hold       bool         `json:"hold"`
	By         string       `json:"by"`
	Reason     string       `json:"reason"`
	Edits      []string     `json:"edits"`
	Undo       []string     `json:"undo"`
	Except     []string     `json:"except"`
	Opens      []string     `json:"opens"`
	All        bool         `json:"all"`
	Strong     bool         `json:"strong"`
	Covers     []string     `json:"covers"`
	NotCovered []string     `json:"not_covered"`
	Effects    []effectForm `json:"effects"`
	Untraced   int          `json:"untraced"`
	Open       openForm     `json:"open"`
	Kept       []keptForm   `json:"kept"`
	Refused    uint64       `json:"refused"`
	Proof      []proofForm  `json:"proof"`
	Record     recordForm   `json:"record"`
}

type recordForm struct {
	Where string      `json:"where"`
	By    string      `json:"by"`
	Why   string      `json:"why,omitempty"`
	Log   []notedForm `json:"log,omitempty"`
}

type notedForm struct {
	At   *string `json:"at"`
	Kind string  `json:"kind"`
	Text string  `json:"text"`
}

func formOfRecord(r flow.Record) recordForm {
	f := recordForm{Where: r.Where, By: r.By, Why: r.Why}
	for _, n := range r.Log {
		f.Log = append(f.Log, notedForm{timeForm(n.At), n.Kind, n.Text})
	}
	return f
}

type effectForm struct {
	Dst    string   `json:"dst"`
	Proto  string   `json:"proto"`
	UID    uint32   `json:"uid"`
	Host   string   `json:"host"`
	For    string   `json:"for"` // "live", "configured", "port", "else"
	Before string   `json:"before"`
	After  string   `json:"after"`
	Direct bool     `json:"direct"`
	Around []string `json:"around"`
}

type openForm struct {
	Before int `json:"before"`
	Closed int `json:"closed"`
	Left   int `json:"left"`
}

type keptForm struct {
	Src     string  `json:"src"`
	Dst     string  `json:"dst"`
	UID     *uint32 `json:"uid"`
	Process string  `json:"process"`
	Proxied bool    `json:"proxied"`
}

type proofForm struct {
	What   string  `json:"what"`
	Result string  `json:"result"`
	Holds  bool    `json:"holds"`
	MS     float64 `json:"ms"`
}

// PolicyJSON is a policy in the form of the contract, in stable order.
func PolicyJSON(p flow.Policy) []byte {
	c := p.Change
	f := policyForm{Schema: PolicySchema, State: p.State.String(), Why: p.Why, Policy: c.Kind.String(), Driver: c.Driver.String(),
		Since: timeForm(c.Since), Expires: timeForm(p.Expires), Permanent: c.Permanent, Hold: c.Hold, By: c.By, Reason: c.Reason,
		Edits: list(c.Edits), Undo: list(c.Undo), Except: holes(c.Except), Opens: holes(c.Open), All: c.All, Strong: c.Strong,
		Covers: reaches(c.Covers), NotCovered: reaches(c.NotCovered), Effects: []effectForm{}, Untraced: c.Untraced,
		Open: openForm(p.Open), Kept: []keptForm{}, Refused: p.Refused, Proof: []proofForm{}, Record: formOfRecord(p.Record)}
	for _, e := range c.Effects {
		one := effectForm{Dst: e.Dst.String(), Proto: e.Proto.String(), UID: e.UID, Host: e.Host, For: effectKind(e), Before: e.Before.String(), After: e.After.String(), Direct: e.Direct, Around: []string{}}
		for _, r := range e.Around {
			one.Around = append(one.Around, Reason(r))
		}
		f.Effects = append(f.Effects, one)
	}
	for _, k := range c.Kept {
		one := keptForm{Src: k.Conn.Src.String(), Dst: k.Conn.Dst.String(), Process: k.Process, Proxied: k.Proxied}
		if k.Known {
			one.UID = &k.Conn.UID
		}
		f.Kept = append(f.Kept, one)
	}
	for _, x := range p.Proof {
		f.Proof = append(f.Proof, proofForm{What: x.What, Result: x.Result, Holds: x.Holds, MS: float64(x.Took.Microseconds()) / 1000})
	}
	return encode(f)
}

func timeForm(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339)
	return &s
}

func list(in []string) []string { return append([]string{}, in...) }

func holes(in []flow.Hole) []string {
	out := []string{}
	for _, h := range in {
		out = append(out, h.String())
	}
	return out
}

func reaches(in []flow.Reach) []string {
	out := []string{}
	for _, r := range in {
		out = append(out, r.What+after(" ", r.Whose))
	}
	return out
}

func effectKind(e flow.Effect) string {
	switch {
	case e.Live:
		return "live"
	case e.Else:
		return "else"
	case e.Port:
		return "port"
	}
	return "configured"
}

// PolicyOptions are what PolicyText needs besides the policy.
type PolicyOptions struct {
	Target string    // as the command line names it
	Now    time.Time // for the time that is left; zero: not told
	Whole  bool      // the edits too
	Width  int       // columns of a line; 0: TextWidth
}

// PolicyText is a policy as text: its state first, what it does and does not, what is open,
// and how it ends.
func PolicyText(p flow.Policy, o PolicyOptions) string {
	w := &writer{cols: o.Width}
	c := p.Change
	w.field("policy", policySentence(p, o))
	if p.Why != "" {
		w.field("why", Clean(p.Why))
	}
	if p.State == flow.StateNone || c.Kind == flow.NoPolicy {
		w.record(p.Record)
		return w.b.String()
	}
	w.field("driver", driverWords(c))
	if c.By != "" || c.Reason != "" {
		w.field("by", Clean(or(c.By, "somebody"))+after(": ", Clean(c.Reason)))
	}
	if s := endWords(p, o); s != "" {
		w.field("ends", s)
	}
	w.record(p.Record)
	for i, x := range p.Proof {
		w.para(lead("proof", i), proofWords(x))
	}
	if p.Refused > 0 {
		w.field("refused", some(strconv.FormatUint(p.Refused, 10), "connection")+" since")
	}
	w.effects(p)
	if len(c.Covers) > 0 {
		w.field("covers", reachWords(c.Covers))
	}
	if len(c.NotCovered) > 0 {
		w.field("misses", reachWords(c.NotCovered))
	}
	w.open(p)
	if o.Whole {
		for i, e := range c.Edits {
			w.para(lead("change", i), Clean(e))
		}
		for i, e := range c.Undo {
			w.para(lead("undo", i), Clean(e))
		}
	}
	return w.b.String()
}

// record says where else the policy is told, and what is wrong there.
func (w *writer) record(r flow.Record) {
	if r.Where != "" {
		w.field("record", Clean(r.Where)+after(", by ", Clean(r.By)))
	}
	if r.Why != "" {
		w.field("record", "! "+Clean(r.Why))
	}
	for _, n := range r.Log {
		w.field("event", n.At.UTC().Format(time.RFC3339)+" "+Clean(n.Kind)+": "+Clean(n.Text))
	}
}

// lead names a field on its first line only.
func lead(name string, i int) string {
	if i > 0 {
		return strings.Repeat(" ", 10)
	}
	return name + strings.Repeat(" ", 10-len(name))
}

// policySentence says what is in force, or would be.
func policySentence(p flow.Policy, o PolicyOptions) string {
	what := p.Change.Kind.String() + after(" of ", Clean(o.Target))
	switch p.State {
	case flow.StateNone:
		if d := p.Change.Driver; d == flow.XDS || d == flow.Sidecar || d == flow.NetworkPolicy {
			return "none" + after(" of ", Clean(o.Target)) + ": nothing of meshtop's " + d.String() + " driver is there"
		}
		return "none" + after(" of ", Clean(o.Target)) + ": nothing of meshtop's kernel or runtime driver is there (xds: --driver xds)"
	case flow.StatePlanned:
		return what + ", planned: nothing was changed"
	case flow.StateApplied:
		return what + ", applied and proven"
	case flow.StateAccepted:
		return what + ", accepted by the API server; nothing is proven yet"
	case flow.StateTold:
		return what + ", told of by its record: nobody has looked whether it is in force"
	case flow.StateExpired:
		return what + ", expired: it does nothing any more, and its rest is taken away by restore"
	}
	if p.Change.Kind == flow.NoPolicy {
		return "unknown" + after(" of ", Clean(o.Target)) + ": whether one is in force could not be read"
	}
	return what + ", state unknown: it was carried out, and is not proven"
}

func driverWords(c flow.Change) string {
	switch c.Driver {
	case flow.Kernel:
		return "kernel: an nftables table of its own in the pod's network namespace"
	case flow.EnvoyRuntime:
		return "runtime: limits of 0 in the admin layer of Envoy's runtime"
	case flow.XDS:
		return "xds: another configuration, served by meshtop controlplane"
	case flow.Sidecar:
		return "sidecar: an object of Istio"
	case flow.NetworkPolicy:
		return "networkpolicy: an object of Kubernetes"
	}
	return c.Driver.String()
}

// endWords says when a policy ends and who ends it.
func endWords(p flow.Policy, o PolicyOptions) string {
	c := p.Change
	who := "the kernel ends it by itself, even if meshtop is gone"
	switch c.Driver {
	case flow.Kernel:
	case flow.XDS:
		who = "the control plane ends it; if that is killed, Envoy keeps it until one is started again"
	default:
		who = "only a meshtop that still runs ends it"
	}
	switch {
	case c.Kind == flow.Restore || p.State == flow.StateExpired:
		return ""
	case c.Permanent:
		return "NEVER by itself: permanent until somebody restores"
	case p.State == flow.StatePlanned:
		return "after " + lasting(c.TTL) + ": " + who
	case p.Expires.IsZero():
		return ""
	case o.Now.IsZero():
		return p.Expires.UTC().Format(time.RFC3339) + ": " + who
	case !o.Now.Before(p.Expires):
		return p.Expires.UTC().Format(time.RFC3339) + ", which is over: " + who
	}
	return p.Expires.UTC().Format(time.RFC3339) + ", in " + lasting(p.Expires.Sub(o.Now).Round(time.Second)) + ": " + who
}

// lasting is a time without zero minutes and seconds at its end: "10m", "1h", "90s".
func lasting(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func proofWords(x flow.Proof) string {
	s := Clean(x.What) + ": " + Clean(x.Result)
	if x.Took > 0 {
		s += " after " + strconv.FormatFloat(float64(x.Took.Microseconds())/1000, 'g', 3, 64) + " ms"
	}
	if !x.Holds {
		s += " (proves nothing)"
	}
	return s
}

// mostShown bounds the lists of a text; JSON holds all.
const mostShown = 12

// effects say what changes, the destinations that do first.
func (w *writer) effects(p flow.Policy) {
	if len(p.Change.Effects) == 0 {
		return
	}
	w.field("effect", EffectSentence(p.Change, p.State == flow.StatePlanned))
	shown := 0
	for _, which := range []bool{true, false} {
		for _, e := range p.Change.Effects {
			if changes(e) != which || shown == mostShown {
				continue
			}
			shown++
			w.para("          "+effectMark(e)+" ", effectWords(e))
			for _, r := range e.Around {
				w.para("            ! ", "around: "+Reason(r))
			}
		}
	}
	if n := len(p.Change.Effects) - shown; n > 0 {
		w.para("            ", "and "+strconv.Itoa(n)+" more (-o json has all)")
	}
	if p.Change.Untraced > 0 {
		w.para("          ? ", plural(p.Change.Untraced, "destination")+" more stand in the configuration and were not traced")
	}
}

// EffectSentence counts the destinations for which something changes.
func EffectSentence(c flow.Change, planned bool) string {
	be := map[bool]string{true: "would be", false: "are"}[planned]
	total := count(c.Effects, func(flow.Effect) bool { return true })
	verdicts := count(c.Effects, func(e flow.Effect) bool { return e.Before != e.After })
	if c.Kind != flow.AllowAll {
		return strconv.Itoa(verdicts) + " of " + plural(total, "destination") + " " + be + " refused"
	}
	s := strconv.Itoa(verdicts) + " of " + plural(total, "destination") + " " + be + " opened"
	if n := count(c.Effects, func(e flow.Effect) bool { return e.Direct && e.Before == e.After }); n > 0 {
		s += ", and " + strconv.Itoa(n) + " that the proxy lets through " + map[bool]string{true: "would go", false: "go"}[planned] + " around it"
	}
	return s
}

// changes says whether anything is otherwise than before.
func changes(e flow.Effect) bool { return e.Before != e.After || e.Direct }

// count counts destinations, each once whatever the hosts, of which at least one request is
// so.
func count(list []flow.Effect, is func(flow.Effect) bool) int {
	type key struct {
		dst   string
		proto flow.Proto
		uid   uint32
	}
	seen := map[key]bool{}
	for _, e := range list {
		if is(e) {
			seen[key{e.Dst.String(), e.Proto, e.UID}] = true
		}
	}
	return len(seen)
}

func effectMark(e flow.Effect) string {
	switch {
	case e.After == flow.Unknown || e.After == flow.Depends:
		return "?"
	case !changes(e):
		return "="
	case e.After == flow.Delivered:
		return "+"
	}
	return "x"
}

func effectWords(e flow.Effect) string {
	family := "IPv4"
	if e.Dst.Addr().Is6() {
		family = "IPv6"
	}
	what := e.Dst.String()
	switch {
	case e.Else:
		what = "anything else over " + family
	case e.Port:
		what = "port " + strconv.Itoa(int(e.Dst.Port())) + " of any other address"
	}
	if e.Host != "" && e.Host != e.Dst.Addr().String() {
		what += " as " + Clean(e.Host)
	}
	if e.Proto != flow.TCP {
		what += " over " + e.Proto.String()
	}
	if e.Live {
		what += ", uid " + strconv.FormatUint(uint64(e.UID), 10) + " has a connection there"
	}
	says := e.Before.String() + " -> " + e.After.String()
	if e.Before == e.After {
		says = e.After.String() + " as before"
	}
	if e.Direct {
		says += ", around the proxy"
	}
	return what + ": " + says
}

// open says how many connections are open and what becomes of them.
func (w *writer) open(p flow.Policy) {
	c := p.Change
	switch {
	case p.State == flow.StatePlanned && c.CloseOpen:
		w.field("open", plural(p.Open.Before, "connection")+", which would be ended")
	case p.State == flow.StatePlanned && p.Open.Before > 0:
		w.field("open", plural(p.Open.Before, "connection")+", which would go on as they are")
	case p.State == flow.StatePlanned:
		w.field("open", "no connection leaves the pod, as far as was read")
	case c.CloseOpen:
		w.field("open", plural(p.Open.Before, "connection")+": "+strconv.Itoa(p.Open.Closed)+" ended, "+strconv.Itoa(p.Open.Left)+" left")
	case p.Open.Left > 0:
		w.field("open", plural(p.Open.Left, "connection")+" opened before, which go on as they are")
	}
	for i, k := range c.Kept {
		if i == mostShown {
			w.para("          ", "and "+strconv.Itoa(len(c.Kept)-i)+" more (-o json has all)")
			return
		}
		w.para("          ", keptWords(k))
	}
}

func keptWords(k flow.Kept) string {
	s := k.Conn.Src.String() + " -> " + k.Conn.Dst.String()
	if k.Known {
		s += ", uid " + strconv.FormatUint(uint64(k.Conn.UID), 10) + after(" ", Clean(k.Process))
	} else {
		s += ", whose it is was not read"
	}
	if k.Proxied {
		return s + ", through the proxy"
	}
	return s + ", direct"
}

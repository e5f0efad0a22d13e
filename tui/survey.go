package tui

import (
	"encoding/json"
	"net/netip"
	"sort"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/doctor"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// survey is what the overview is drawn from: what was read, and what becomes of typical
// packets. Nothing in it is a fixed picture.
type survey struct {
	done  bool
	own   []netip.Addr // the pod's addresses, loopback left out
	devs  []string     // each with its addresses
	apps  []netfilter.Socket
	proxy []netfilter.Socket
	lanes []lane
	conns []conn
	// routes are requests that the routes would match.
	routes []preset
	// findings are the doctor's, the worst first. They come after the rest: of 20,000 rules they
	// take seconds.
	findings []doctor.Finding
	examined bool   // findings are all there are
	sieve    *sieve // of conns, with the names of their far ends; nil: not there yet
	sifted   int    // the number of the question that sieve answers
}

// lane is a typical packet with its trace.
type lane struct {
	what  string // "in", "out", "envoy"
	name  string // of what it stands for: "nginx :80", "else", "UDP"
	req   flow.Request
	trace flow.Trace
}

// surveyMsg: the survey of a reading is made.
type surveyMsg struct {
	of     *rules.Snapshot
	survey survey
}

// findingsMsg: the doctor has looked at a reading.
type findingsMsg struct {
	of       *rules.Snapshot
	findings []doctor.Finding
}

// siftedMsg: the connections can be filtered.
type siftedMsg struct {
	of    *rules.Snapshot
	n     int // a later one knows more names
	sieve *sieve
}

// survey looks at the reading in a command: it traces some dozens of packets.
func (m *model) survey() tea.Cmd {
	snap := m.s.reading.Snapshot
	if snap == nil {
		return nil
	}
	wanted := append([]flow.Request(nil), m.s.opt.Requests...)
	if m.s.opt.Request != nil {
		wanted = append(wanted, *m.s.opt.Request)
	}
	m.s.surveyed = snap
	return func() tea.Msg { return surveyMsg{snap, makeSurvey(snap, wanted)} }
}

func (m *model) gotSurvey(s surveyMsg) tea.Cmd {
	if s.of != m.s.surveyed {
		return nil
	}
	m.s.survey = s.survey
	return tea.Batch(m.askNames(session.Peers(m.s.reading.Reading)), m.sift(),
		func() tea.Msg { return findingsMsg{s.of, doctor.Examine(s.of)} })
}

func (m *model) gotFindings(f findingsMsg) {
	if f.of == m.s.surveyed {
		m.s.survey.findings, m.s.survey.examined = f.findings, true
	}
}

// sift words the connections for their filter, in a command: it takes a while of 20,000.
func (m *model) sift() tea.Cmd {
	of, in := m.s.surveyed, m.s.reading.Snapshot
	conns := m.s.survey.conns
	m.s.sifts++
	n := m.s.sifts
	return func() tea.Msg {
		texts := make([]string, len(conns))
		for i, c := range conns {
			texts[i] = connLine(c, called(in, c), 0).String()
		}
		return siftedMsg{of, n, newSieve(texts)}
	}
}

func (m *model) gotSifted(s siftedMsg) {
	if s.of == m.s.surveyed && s.n > m.s.survey.sifted {
		m.s.survey.sieve, m.s.survey.sifted = s.sieve, s.n
	}
}

// elsewhere is an address that is nobody's: what happens to a destination that the
// configuration does not know (TEST-NET-3, RFC 5737; documentation prefix, RFC 3849).
func elsewhere(six bool, port uint16) netip.AddrPort {
	if six {
		return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::7"), port)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), port)
}

func makeSurvey(s *rules.Snapshot, wanted []flow.Request) survey {
	v := survey{done: true}
	v.own, v.devs = live.Addresses(s.Files["addr.json"]), devices(s.Files["addr.json"])
	v.sockets(s)
	v.conns = connections(s)
	v.inbound(s)
	v.outbound(s, wanted)
	base := flow.Request{Dst: elsewhere(false, 80), Proto: flow.TCP}
	base.UID, base.GID = v.user(wanted)
	if len(wanted) > 0 {
		base = wanted[0]
	}
	v.makeRoutes(s, base)
	v.direct()
	v.traceConns(s)
	return v
}

// traceConns traces the first connections, and puts those to the admin interface last:
// most of them are meshtop's own.
func (v *survey) traceConns(s *rules.Snapshot) {
	const most = 60
	for i := range v.conns[:min(len(v.conns), most)] {
		c := &v.conns[i]
		t := rules.Trace(s, c.Request())
		c.outcome, c.traced = t.Outcome, true
		for _, leg := range t.Legs {
			for _, st := range leg.Steps {
				c.admin = c.admin || st.Reason.Kind == flow.WhyAdmin
			}
		}
	}
	sort.SliceStable(v.conns, func(i, k int) bool { return !v.conns[i].admin && v.conns[k].admin })
}

// devices are those that `ip -j addr` lists, each with its addresses.
func devices(raw []byte) []string {
	var list []struct {
		Name string `json:"ifname"`
	}
	var each []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || json.Unmarshal(raw, &each) != nil {
		return nil
	}
	var out []string
	for i, d := range list {
		line := d.Name
		for _, a := range live.Addresses([]byte("[" + string(each[i]) + "]")) {
			line += " " + a.String()
		}
		if line != d.Name {
			out = append(out, line)
		}
	}
	return out
}

// sockets tells the proxy's listening sockets from the applications'.
func (v *survey) sockets(s *rules.Snapshot) {
	if s.Host == nil {
		return
	}
	seen := map[netip.AddrPort]bool{}
	for _, k := range s.Host.Sockets {
		if !strings.HasPrefix(k.State, "LISTEN") || seen[k.Local] {
			continue
		}
		seen[k.Local] = true
		if k.Process == "envoy" || k.Process == "" && s.Envoy.Takes(k.Local, flow.TCP) == flow.Yes {
			v.proxy = append(v.proxy, k)
		} else {
			v.apps = append(v.apps, k)
		}
	}
}

// at is where a listening socket is met from outside; false where it cannot be.
func (v *survey) at(k netfilter.Socket) (netip.AddrPort, bool) {
	a := k.Local.Addr()
	if a.IsLoopback() {
		return netip.AddrPort{}, false
	}
	if !a.IsUnspecified() {
		return k.Local, true
	}
	for _, o := range v.own {
		if o.Is4() == a.Is4() || k.Dual {
			return netip.AddrPortFrom(o, k.Local.Port()), true
		}
	}
	return netip.AddrPort{}, false
}

// inbound makes a packet for each port that something outside can reach.
func (v *survey) inbound(s *rules.Snapshot) {
	const most = 6
	add := func(k netfilter.Socket, name string) {
		if at, ok := v.at(k); ok && len(v.lanes) < most {
			r := flow.Request{Dir: flow.Inbound, Src: v.peer(at.Addr()), Dst: at, Proto: flow.TCP, HTTP: &flow.HTTP{Authority: at.String(), Path: "/"}}
			v.lanes = append(v.lanes, lane{"in", name, r, rules.Trace(s, r)})
		}
	}
	for _, k := range v.apps {
		if k.Proto == flow.TCP {
			add(k, or(k.Process, "app")+" :"+itoa(int(k.Local.Port())))
		}
	}
	for _, k := range v.proxy {
		add(k, "envoy :"+itoa(int(k.Local.Port())))
	}
}

// direct leaves out the inbound packets to ports that only redirected traffic is meant
// for: where another packet is sent by a rule.
func (v *survey) direct() {
	turned := map[uint16]bool{}
	for _, l := range v.lanes {
		for _, leg := range l.trace.Legs {
			if leg.To.Dst != leg.From.Dst {
				turned[leg.To.Dst.Port()] = true
			}
		}
	}
	kept := v.lanes[:0]
	for _, l := range v.lanes {
		if l.what != "in" || !turned[l.req.Dst.Port()] {
			kept = append(kept, l)
		}
	}
	v.lanes = kept
}

// peer is a source that is not the pod: the next address after its own.
func (v *survey) peer(a netip.Addr) netip.AddrPort {
	p := a.Next()
	if !p.IsValid() || live.Own(p, v.own) {
		p = elsewhere(a.Is6(), 0).Addr()
	}
	return netip.AddrPortFrom(p, 0)
}

// outbound makes packets to what the configuration knows, to what it does not, and those
// that many set-ups forget.
func (v *survey) outbound(s *rules.Snapshot, wanted []flow.Request) {
	uid, gid := v.user(wanted)
	add := func(what, name string, proto flow.Proto, dst netip.AddrPort, uid, gid uint32) {
		r := flow.Request{Dst: dst, Proto: proto, UID: uid, GID: gid}
		if proto == flow.TCP {
			r.HTTP = &flow.HTTP{Authority: dst.Addr().String(), Path: "/"}
		}
		v.lanes = append(v.lanes, lane{what, name, r, rules.Trace(s, r)})
	}
	known := map[netip.AddrPort]bool{}
	for _, r := range wanted {
		if r.Dir == flow.Outbound && !known[r.Dst] && len(known) < 3 {
			known[r.Dst] = true
			add("out", r.Dst.String(), r.Proto, r.Dst, uid, gid)
		}
	}
	for _, dst := range owned(s) {
		if !known[dst] && len(known) < 3 {
			known[dst] = true
			add("out", dst.String(), flow.TCP, dst, uid, gid)
		}
	}
	add("out", "else", flow.TCP, elsewhere(false, 80), uid, gid)
	if u, g, ok := v.proxyUser(); ok {
		add("envoy", "else", flow.TCP, elsewhere(false, 80), u, g)
	}
	add("udp", "UDP", flow.UDP, elsewhere(false, 53), uid, gid)
	if v.sixth() {
		add("six", "IPv6", flow.TCP, elsewhere(true, 80), uid, gid)
	}
}

// sixth says whether the pod can speak IPv6 at all; where addresses were not read, it may.
func (v *survey) sixth() bool {
	for _, a := range v.own {
		if a.Is6() {
			return true
		}
	}
	return len(v.own) == 0
}

// user is as whom a typical application of the pod runs.
func (v *survey) user(wanted []flow.Request) (uid, gid uint32) {
	for _, r := range wanted {
		if r.Dir == flow.Outbound {
			return r.UID, r.GID
		}
	}
	for _, k := range v.apps {
		return k.UID, k.GID
	}
	return 0, 0
}

// proxyUser is as whom the proxy dials, as the traces have found.
func (v *survey) proxyUser() (uid, gid uint32, ok bool) {
	for _, l := range v.lanes {
		for _, leg := range l.trace.Legs {
			if leg.Owner == flow.OwnerProxy {
				return leg.From.UID, leg.From.GID, true
			}
		}
	}
	return 0, 0, false
}

// owned are the addresses that listeners without a socket of their own stand for.
func owned(s *rules.Snapshot) []netip.AddrPort {
	var out []netip.AddrPort
	for _, o := range s.Envoy.Objects() {
		if o.Kind != flow.Listener {
			continue
		}
		raw, _ := s.Envoy.Raw(o.Ref)
		var l listenerForm
		if json.Unmarshal(raw, &l) != nil {
			continue
		}
		if a, ok := l.addr(); ok && !a.Addr().IsUnspecified() && !a.Addr().IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

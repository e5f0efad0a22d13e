package session

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
)

// truth is what the recorder wrote of one request, beside what the recording holds: what each
// step's word must be follows from it. The recorder knew each connection's port.
type truth struct {
	recorded
	packets []flow.Observation // of the captures
	client  netip.AddrPort
	own     netip.AddrPort // the proxy's connection; zero: it opened and used none
	first   time.Time      // of the client's packets
	log     map[string]any // Envoy's line of the request; nil: the replay has no log
	counted bool           // the replay has Envoy's counters
	began   []string       // conntrack's words on connections that began while the request was made
}

// truthOf gathers what is true of a request.
func truthOf(t *testing.T, r recorded, packets []flow.Observation, events []byte, withLog, counted bool) truth {
	t.Helper()
	u := truth{recorded: r, packets: packets, counted: counted}
	for line := range strings.Lines(string(events)) { // "[1795400789.084602] [NEW] tcp ..."
		at, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), "]")
		if s, err := strconv.ParseFloat(at, 64); err == nil && strings.Contains(rest, "[NEW]") && r.meanwhile(time.Unix(0, int64(s*1e9))) {
			u.began = append(u.began, rest)
		}
	}
	_, line := logged(r)
	if withLog {
		u.log = line
	}
	addr := func(s string) netip.AddrPort {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	_, rest, _ := strings.Cut(r.ClientLeg[0], " ")
	src, _, _ := strings.Cut(rest, ">")
	u.client = addr(src)
	s := str(line["upstream_local_address"])
	for _, l := range u.began { // the log names none that was refused or never answered
		if s == "" && !strings.Contains(l, fmt.Sprintf(" sport=%d ", r.SourcePort)) {
			s = field(l, " src=") + ":" + field(l, " sport=")
		}
	}
	if s != "" {
		u.own = addr(s)
	}
	for _, p := range packets {
		if (p.Tuple.Src == u.client || p.Tuple.Dst == u.client) && (u.first.IsZero() || p.At.Before(u.first)) {
			u.first = p.At
		}
	}
	return u
}

// field is a value of one of conntrack(8)'s lines.
func field(line, key string) string {
	_, rest, _ := strings.Cut(line, key)
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// told says whether the log's line has a field.
func (u truth) told(field string) bool {
	s := fmt.Sprint(u.log[field])
	return u.log[field] != nil && s != "" && s != "-" && s != "0"
}

// grew says whether one of Envoy's counters did, if there are any.
func (u truth) grew(ok func(name string) bool) bool {
	for name, n := range u.Grew {
		if u.counted && n > 0 && ok(name) {
			return true
		}
	}
	return false
}

func (u truth) counter(name string) bool { return u.grew(func(s string) bool { return s == name }) }

// tracked says whether conntrack told of a connection's beginning while the request was made.
func (u truth) tracked(client netip.AddrPort) bool {
	for _, l := range u.began {
		if strings.Contains(l, " src="+client.Addr().String()+" ") && strings.Contains(l, fmt.Sprintf(" sport=%d ", client.Port())) {
			return true
		}
	}
	return false
}

// sent says whether the client's connection shows a packet of such flags, as the recorder
// writes them; on a device, if it is not empty.
func (u truth) sent(device, flags string) bool {
	for _, l := range u.ClientLeg {
		f := strings.Fields(l)
		if f[2] == flags && (device == "" || device == f[0]) {
			return true
		}
	}
	return false
}

// carried says whether the captures hold a packet by which the proxy's connection served the
// request: its SYN, or data since the request began.
func (u truth) carried() bool {
	for _, p := range u.packets {
		if p.Tuple.Src == u.own && !p.At.Before(u.first) && u.meanwhile(p.At) && (p.Flags&flow.SYN != 0 || p.Len > 0) {
			return true
		}
	}
	return false
}

// late is by how much conntrack(8) stamps an event after what it tells of.
const late = 20 * time.Millisecond

// meanwhile says whether something was while the request was made.
func (r recorded) meanwhile(at time.Time) bool {
	s := float64(at.UnixNano()) / 1e9
	return s >= r.Time.Start && s <= r.Time.End+late.Seconds()
}

// Why a step that could be seen was not. Absence alone never contradicts.
const (
	notKept    = "the captures hold no packet by which the proxy's connection carried the request: those of a pool were not kept"
	noneMade   = "Envoy answered by itself, and made no connection"
	ambiguous  = "no host, an open circuit and a refusing upstream look alike on the wire: only the log's flags or a counter tell them apart"
	ownOrNot   = "the status is the proxy's own or the endpoint's: only the log or a counter tell them apart"
	unanswered = "no packet shows the answer"
)

// word is what a step's word must be, and of one that was not observed why.
func (u truth) word(t flow.Trace, at confirm.Step) (confirm.Word, string) {
	leg := t.Legs[at.Leg]
	st := leg.Steps[at.Step]
	switch {
	case st.Verdict == flow.Unknown:
		return confirm.NotObservable, ""
	case at.Leg > 0:
		return u.upstream(leg, at)
	case st.Verdict == flow.Refused && st.Stage != flow.Socket && st.Stage != flow.Netfilter && st.Stage != flow.Route:
		return u.refused(t, st)
	}
	switch st.Stage {
	case flow.Socket:
		want := map[flow.Verdict]string{flow.Refused: "AR", flow.Delivered: "AS"}[st.Verdict]
		return inPackets(at.Step == 0 || u.sent("", want))
	case flow.Listener:
		return inPackets(u.sent("", "AS"))
	case flow.Wire:
		return inPackets(u.sent(leg.To.Out, "S"))
	case flow.Netfilter:
		if u.tracked(u.client) {
			return confirm.Confirmed, ""
		}
		return confirm.NotObservable, "" // conntrack is idle where there is no nat, and no rule translates
	case flow.Endpoint:
		if u.told("upstream_host") || u.own.IsValid() && (u.carried() || u.tracked(u.own)) {
			return confirm.Confirmed, ""
		}
		return confirm.NotObserved, u.without()
	case flow.Cluster:
		c := "cluster." + t.Outcome.Cluster + "."
		return inLog(u.told("upstream_cluster_raw") || u.counter(c+"upstream_rq_total") || u.counter(c+"upstream_cx_total"))
	case flow.Handoff:
		return inLog(u.told("listener_name") || u.counter("listener."+t.Outcome.Listener+".downstream_cx_total"))
	case flow.FilterChain:
		return inLog(u.told("filter_chain_name"))
	case flow.Route:
		if st.Verdict == flow.Continue {
			return inLog(t.Outcome.Route != "" && u.told("route_name"))
		}
		return u.refused(t, st)
	case flow.HTTPFilter, flow.NetworkFilter:
		if st.Verdict == flow.Delivered {
			return u.refused(t, st)
		}
	}
	return confirm.NotObservable, ""
}

func inPackets(ok bool) (confirm.Word, string) {
	if ok {
		return confirm.Confirmed, ""
	}
	return confirm.NotObserved, unanswered
}

func inLog(ok bool) (confirm.Word, string) {
	if ok {
		return confirm.Confirmed, ""
	}
	return confirm.NotObservable, ""
}

// without is why nothing shows the proxy's connection.
func (u truth) without() string {
	if !u.own.IsValid() {
		return noneMade
	}
	return notKept
}

// upstream is the word of a step of the proxy's connection: by conntrack if it began with the
// request, else by the packets that carried it. nat is asked for the first packet alone.
func (u truth) upstream(leg flow.Leg, at confirm.Step) (confirm.Word, string) {
	fresh := u.tracked(u.own)
	switch at.Stage {
	case flow.Socket, flow.Wire:
	case flow.Netfilter:
		if !fresh && u.carried() {
			return confirm.NotObservable, ""
		}
	default:
		return confirm.NotObservable, ""
	}
	if u.own.IsValid() && (fresh || u.carried()) {
		return confirm.Confirmed, ""
	}
	if at.Stage == flow.Socket && at.Step == 0 && u.told("upstream_local_address") { // the log names it, pooled or not
		return confirm.Confirmed, ""
	}
	return confirm.NotObserved, u.without()
}

// causes are the counters of why Envoy ends a request itself, by the flag of its log.
var causes = map[string][]string{
	"UH": {".upstream_cx_none_healthy"}, "UO": {".upstream_cx_overflow", ".upstream_rq_pending_overflow"},
	"NR": {".no_filter_chain_match", ".no_route"}, "DPE": {".downstream_cx_protocol_error"}, "RL": {".rate_limited"}, "URX": {".rate_limited", ".limited_connections"},
}

// refused is the word of the step at which Envoy ends the request, or answers it itself.
func (u truth) refused(t flow.Trace, st flow.Step) (confirm.Word, string) {
	if t.Caller.Flags != "" && u.told("response_flags") || u.grew(func(name string) bool {
		for _, c := range causes[t.Caller.Flags] {
			if strings.HasSuffix(name, c) {
				return true
			}
		}
		return false
	}) {
		return confirm.Confirmed, ""
	}
	switch {
	case t.Caller.Code == 0 || st.Stage == flow.Cluster || st.Stage == flow.Endpoint:
		return confirm.NotObserved, ambiguous
	case u.told("response_code_details"): // who gave the answer
		return confirm.Confirmed, ""
	}
	return confirm.NotObserved, ownOrNot
}

// packetsOf are what the captures of a recording hold.
func packetsOf(t *testing.T, files map[string][]byte) []flow.Observation {
	t.Helper()
	var out []flow.Observation
	for _, name := range []string{"observed/eth0.pcap", "observed/lo.pcap"} {
		p, _, err := capture.ReadPackets(files[name], strings.TrimSuffix(strings.TrimPrefix(name, "observed/"), ".pcap"), capture.Keep{Heads: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range p {
			p[i].Ref = name + " " + strconv.Itoa(i+1)
		}
		out = append(out, p...)
	}
	return out
}

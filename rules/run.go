package rules

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// run is one way through the pod: one answer to every choice.
type run struct {
	s   *Snapshot
	req flow.Request
	ch  *flow.Choices

	group  bool   // follow hosts by groups however few they are
	alikes alikes // shared by the runs of a trace

	legs    []flow.Leg
	passes  []pass
	hops    []hop // of the passes that went on
	verdict flow.Verdict
	outcome flow.Outcome
	caller  flow.Symptom
	sent    *flow.HTTP // by the first pass
	needs   []flow.Need
	again   bool // a failure that the proxy may mend by a try at another endpoint
}

// pass is one arrival at the proxy: the same again is a loop.
type pass struct {
	accept, orig netip.AddrPort
	listener     string
	proxied      bool // the connection was the proxy's own
}

// hop is what the caller of one pass sees where the connection that Envoy opens fails.
type hop struct {
	failed, broken flow.Symptom
	again          bool // Envoy tries again, and has more than one endpoint
}

// first follows the request's own connection.
func (r *run) first() {
	r.outcome.RouteIndex = -1
	if r.s.Rules == nil {
		r.withoutRules()
		return
	}
	p := netfilter.Packet{Dir: r.req.Dir, Src: r.req.Src, Dst: r.req.Dst, Proto: r.req.Proto, In: r.req.In}
	owner := flow.OwnerPeer
	if r.req.Dir == flow.Outbound {
		p.UID, p.GID, p.Mark, owner = r.req.UID, r.req.GID, r.req.Mark, flow.OwnerApp
	}
	r.leg(p, owner, r.said())
	r.named()
}

// said is what the caller says.
func (r *run) said() envoy.Said {
	return envoy.Said{Proxy: r.req.Proxy, TLS: r.req.TLS, HTTP: r.req.HTTP, Payload: r.req.Payload}
}

// withoutRules begins at Envoy: with a configuration and no rules, the listener that
// captures is taken for granted.
func (r *run) withoutRules() {
	if r.s.Envoy == nil {
		r.verdict = flow.Unknown
		return
	}
	accept, ok := r.s.Envoy.Capture(r.req.Dir, r.req.Dst)
	if !ok {
		accept = r.req.Dst
	}
	c := flow.Conn{Src: r.req.Src, Dst: r.req.Dst, Proto: r.req.Proto, UID: r.req.UID, GID: r.req.GID, Mark: r.req.Mark}
	to := c
	to.Dst = accept
	r.legs = append(r.legs, flow.Leg{From: c, To: to, Owner: flow.OwnerApp, Steps: []flow.Step{{
		Stage: flow.Socket, Subject: accept.String(), Verdict: flow.Continue, Reason: flow.Because(flow.WhyNoRules, accept.String()),
		Assumed: []flow.Assumption{{Reason: flow.Because(flow.WhyNoRules, accept.String()), Flag: "--iptables FILE"}},
	}}})
	r.named()
	r.proxy(envoy.Conn{Accept: accept, Orig: r.req.Dst, Src: r.req.Src, Proto: r.req.Proto}, r.said(), false)
}

// leg follows one connection through the kernel, and to whom it is delivered.
func (r *run) leg(p netfilter.Packet, owner flow.Owner, said envoy.Said) {
	if len(r.legs) == maxLegs {
		r.stop(flow.Step{Stage: flow.Socket, Verdict: flow.Unknown, Reason: flow.Because(flow.WhyTooManyLegs, strconv.Itoa(maxLegs))})
		return
	}
	p.Ref = legRef(len(r.legs) + 1)
	k := r.s.Rules.Walk(r.s.Host, p, r.ch)
	steps := append([]flow.Step{r.socketStep(k.From, owner)}, k.Steps...)
	r.legs = append(r.legs, flow.Leg{From: k.From, To: k.To, Owner: owner, Steps: steps})
	switch k.Fate {
	case netfilter.FateDropped:
		r.end(flow.Dropped, flow.Symptom{TCP: flow.TCPTimeout})
	case netfilter.FateRejected:
		r.end(flow.Refused, flow.Symptom{TCP: flow.TCPRefused})
	case netfilter.FateWire:
		r.step(flow.Step{Stage: flow.Wire, Subject: k.To.Out, Verdict: flow.Delivered, Reason: flow.Because(flow.WhyToWire, k.To.Out, k.To.Dst.String())})
		r.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK})
	case netfilter.FateForward:
		r.step(flow.Step{Stage: flow.Wire, Subject: k.To.Out, Verdict: flow.Delivered, Reason: flow.Because(flow.WhyForwarded, k.To.Out, k.To.Dst.String())})
		r.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK})
	case netfilter.FateLocal:
		r.local(k, owner, said)
	default:
		r.end(flow.Unknown, flow.Symptom{})
	}
}

func (r *run) socketStep(c flow.Conn, owner flow.Owner) flow.Step {
	st := flow.Step{Stage: flow.Socket, Verdict: flow.Continue}
	switch owner {
	case flow.OwnerPeer:
		st.Subject, st.Reason = c.Src.String(), flow.Because(flow.WhyPeerSocket, c.Src.String())
	case flow.OwnerProxy:
		st.Subject = "proxy uid " + utoa(c.UID)
		st.Reason, st.Assumed = flow.Because(flow.WhyAppSocket, c.Dst.String(), utoa(c.UID)), r.s.owner.assumed
	default:
		st.Subject, st.Reason = "uid "+utoa(c.UID), flow.Because(flow.WhyAppSocket, c.Dst.String(), utoa(c.UID))
	}
	return st
}

// local decides who takes a connection that the kernel delivers inside the pod: Envoy, a
// process of the pod, or nobody.
func (r *run) local(k netfilter.Result, owner flow.Owner, said envoy.Said) {
	at, orig := accepted(k)
	if name, ok := r.takenByZtunnel(k, at); ok {
		r.stop(flow.Step{Stage: flow.Listener, Subject: at.String(), Verdict: flow.Unknown, Reason: flow.Because(flow.WhyZtunnel, at.String(), name)})
		return
	}
	if r.takenByProxy(k) {
		if r.s.Envoy == nil {
			r.stop(flow.Step{Stage: flow.Listener, Subject: at.String(), Verdict: flow.Unknown, Reason: flow.Because(flow.WhyNoProxyConfig, at.String())})
			return
		}
		r.proxy(envoy.Conn{Accept: at, Orig: orig, Transparent: k.Transparent, Src: k.To.Src, Proto: k.To.Proto}, said, owner == flow.OwnerProxy)
		return
	}
	sock, open := r.s.Host.Listening(k.To.Proto, at)
	if open == flow.No {
		r.step(flow.Step{Stage: flow.Socket, Subject: at.String(), Verdict: flow.Refused, Reason: flow.Because(flow.WhyNothingListens, at.String())})
		r.end(flow.Refused, flow.Symptom{TCP: flow.TCPRefused})
		return
	}
	st := flow.Step{Stage: flow.Socket, Subject: at.String(), Verdict: flow.Delivered, Reason: flow.Because(flow.WhyToApp, at.String(), sock.Process)}
	if open == flow.Maybe {
		st.Assumed = []flow.Assumption{{Reason: flow.Because(flow.WhySocketsUnknown, at.String()), Flag: "--sockets FILE"}}
	}
	r.step(st)
	r.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK})
}

// accepted is the address of the socket that takes the connection, and where it was going.
// With TPROXY the packet's address stays, and is what the socket calls its own.
func accepted(k netfilter.Result) (at, orig netip.AddrPort) {
	if !k.Transparent {
		return k.To.Dst, k.OrigDst
	}
	if orig = k.OrigDst; !orig.IsValid() {
		orig = k.To.Dst
	}
	return k.Listener, orig
}

// hbone is the port of Istio's ambient tunnels (HTTP CONNECT over mutual TLS).
const hbone = 15008

// takenByZtunnel says whether Istio's node proxy takes the connection: the socket is its
// own, or it is the port of its tunnels and neither Envoy's nor another process's.
func (r *run) takenByZtunnel(k netfilter.Result, at netip.AddrPort) (process string, ok bool) {
	sock, open := r.s.Host.Listening(k.To.Proto, at)
	if open == flow.Yes && sock.Process != "" {
		return sock.Process, sock.Process == "ztunnel"
	}
	return "", at.Port() == hbone && k.To.Proto == flow.TCP && open != flow.No && (r.s.Envoy == nil || r.s.Envoy.Takes(at, k.To.Proto) == flow.No)
}

// takenByProxy says whether Envoy owns the socket that the kernel delivers to. Without a
// configuration, a redirection that something local listens for is the proxy's.
func (r *run) takenByProxy(k netfilter.Result) bool {
	at, _ := accepted(k)
	if r.s.Envoy != nil {
		switch r.s.Envoy.Takes(at, k.To.Proto) {
		case flow.Yes:
			return true
		case flow.No:
			return false
		}
	}
	if sock, open := r.s.Host.Listening(k.To.Proto, at); open == flow.Yes && sock.Process != "" {
		return sock.Process == "envoy"
	}
	return k.Transparent || k.To.Dst != k.From.Dst
}

// proxy follows the connection through Envoy, and then the one that Envoy opens.
func (r *run) proxy(c envoy.Conn, said envoy.Said, own bool) {
	here := pass{c.Accept, c.Orig, c.Listener, own}
	for _, p := range r.passes {
		if p == here {
			r.stop(flow.Step{Stage: flow.Listener, Subject: c.Accept.String(), Verdict: flow.Looped, Reason: flow.Because(flow.WhyLoop, c.Accept.String())})
			return
		}
	}
	r.passes = append(r.passes, here)
	c.Ref, c.Group = legRef(len(r.passes)), r.group
	c.Alike = r.alike(c, len(r.legs)+1)
	req := r.req
	req.Proxy, req.TLS, req.HTTP, req.Payload = said.Proxy, said.TLS, said.HTTP, said.Payload
	leg := &r.legs[len(r.legs)-1]
	c.Before = leg.Steps
	res := r.s.Envoy.Accept(c, &req, r.ch)
	leg.Steps = res.Steps
	r.needs = addNeeds(r.needs, res.Needs)
	nested := len(r.passes) > 1
	if !nested {
		r.outcome, r.caller, r.sent = res.Outcome, res.Caller, res.Upstream.HTTP
	}
	if res.Verdict != flow.Continue {
		if nested {
			r.end(res.Verdict, res.Caller)
		} else {
			r.verdict = res.Verdict
		}
		return
	}
	r.hops = append(r.hops, hop{res.Failed, res.Broken, res.Retried && r.drew(c.Ref+"endpoint")})
	r.upstream(c, res.Upstream)
}

// drew says whether this run has drawn one of several endpoints, by the choice's reference.
func (r *run) drew(ref string) bool {
	return slices.ContainsFunc(r.ch.Made(), func(m flow.Chosen) bool { return strings.HasPrefix(m.Choice.Ref, ref) && len(m.Choice.Options) > 1 })
}

// upstream follows the connection that Envoy opens.
func (r *run) upstream(c envoy.Conn, up envoy.Upstream) {
	said := envoy.Said{TLS: up.TLS, HTTP: up.HTTP}
	if up.Passed != nil {
		said = up.Passed.Under(up.TLS)
	}
	if up.Internal != "" {
		r.proxy(envoy.Conn{Listener: up.Internal, Orig: up.Orig, Src: c.Src, Proto: c.Proto}, said, true)
		return
	}
	if r.s.Rules == nil {
		r.end(flow.Delivered, flow.Symptom{TCP: flow.TCPOK})
		return
	}
	if !r.s.owner.known {
		st := &r.legs[len(r.legs)-1].Steps
		*st = append(*st, flow.Step{Stage: flow.Socket, Verdict: flow.Unknown, Reason: flow.Because(flow.WhyProxyUIDUnknown)})
		r.end(flow.Unknown, flow.Symptom{})
		return
	}
	r.leg(r.packet(c, up), flow.OwnerProxy, said)
}

// packet begins the connection that Envoy opens for c.
func (r *run) packet(c envoy.Conn, up envoy.Upstream) netfilter.Packet {
	o := r.s.owner
	p := netfilter.Packet{Dir: flow.Outbound, Dst: up.Addr, Proto: c.Proto, UID: o.uid, GID: o.gid, Mark: up.Mark}
	p.Src = netip.AddrPortFrom(up.Bind, 0)
	if up.OriginalSrc { // the address alone (source/extensions/filters/common/original_src/socket_option_factory.cc)
		p.Src, p.Borrowed = netip.AddrPortFrom(c.Src.Addr(), 0), true
	}
	return p
}

// legRef prefixes the references of the choices of leg n.
func legRef(n int) string {
	if n < 2 {
		return ""
	}
	return "leg " + strconv.Itoa(n) + " "
}

// step adds a step to the leg at hand.
func (r *run) step(st flow.Step) {
	leg := &r.legs[len(r.legs)-1]
	leg.Steps = append(leg.Steps, st)
}

// stop adds a last step, and ends with its verdict.
func (r *run) stop(st flow.Step) {
	if len(r.legs) > 0 {
		r.step(st)
	}
	r.end(st.Verdict, flow.Symptom{})
}

// end ends the run. Where the caller's own connection went on through the proxy, what it
// sees is what the proxy makes of the end of the last leg.
func (r *run) end(v flow.Verdict, last flow.Symptom) {
	r.verdict = v
	if len(r.passes) == 0 {
		r.caller = last
		if v == flow.Delivered && r.req.HTTP != nil {
			r.caller.Code = 200
		}
		return
	}
	switch {
	case v == flow.Delivered || v == flow.Unknown:
		if last.Code != 0 && r.req.HTTP != nil {
			r.caller.Code, r.caller.Location = last.Code, last.Location
		}
	case v == flow.Looped:
		r.caller = flow.Symptom{Flags: "UO", TCP: flow.TCPResetOrClosed}
	default:
		r.caller = r.upstreamFailed(last)
	}
	if v == flow.Delivered && r.caller.Code == 0 && r.caller.TCP == flow.TCPOK && r.req.HTTP != nil {
		r.caller.Code = 200
	}
	if v == flow.Dropped { // the caller was accepted: it is refused once the proxy's dial times out
		r.verdict = flow.Refused
	}
}

// upstreamFailed is what the caller sees when a later leg fails: each proxy on the way back
// answers for the connection that it opened. An HTTP answer is passed on.
func (r *run) upstreamFailed(last flow.Symptom) flow.Symptom {
	for i := len(r.hops) - 1; i >= 0; i-- {
		h := r.hops[i]
		switch last.TCP {
		case flow.TCPTimeout, flow.TCPRefused:
			r.again = r.again || h.again
			last = h.failed
		case flow.TCPResetOrClosed, flow.TCPReset, flow.TCPClosed:
			last = h.broken
		default:
			last = flow.Symptom{Code: last.Code, TCP: flow.TCPOK, Details: "via_upstream", Location: last.Location}
		}
	}
	return last
}

// variant is the run as a variant of the trace.
func (r *run) variant() flow.Variant {
	v := flow.Variant{Choices: r.ch.Made(), Legs: r.legs, Verdict: r.verdict, Outcome: r.outcome, Caller: r.caller, Upstream: r.sent, Needs: r.needs,
		Probability: 1, Computable: true}
	for _, c := range v.Choices {
		if c.Pinned {
			continue
		}
		o := c.Option()
		when := o.When
		if c.Choice.Kind == flow.Unmodelled {
			when = c.Choice.Ref + "=" + o.Value
		}
		if when != "" && v.When != "" {
			when = ", " + when
		}
		v.When += when
		var sum uint64
		for _, alt := range c.Choice.Options {
			sum += alt.Weight
		}
		if c.Choice.Kind != flow.Chance || sum == 0 {
			v.Computable = false
			continue
		}
		v.Probability *= float64(o.Weight) / float64(sum)
	}
	if r.again {
		v.When, v.Computable = strings.TrimPrefix(v.When+", further tries fail, too", ", "), false
	}
	return v
}

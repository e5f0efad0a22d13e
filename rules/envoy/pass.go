package envoy

import (
	"net/netip"
	"unicode/utf8"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// pass is one connection and its request on the way through Envoy: what is known of them,
// and the steps so far. It lives for one Accept.
type pass struct {
	cfg  *Config
	conn Conn
	req  *flow.Request
	ch   *flow.Choices
	res  Result

	// What the socket and the listener filters say (spec: %DOWNSTREAM_..._ADDRESS%).
	local    netip.AddrPort // destination; the original one once restored
	restored bool           // a listener filter restored the destination
	direct   netip.AddrPort // the socket's peer
	remote   netip.AddrPort // the same, or the source that a PROXY header claims
	// proxyTaken says that proxy_protocol has read the PROXY header off the socket.
	proxyTaken bool
	// transport is the detected transport protocol: "tls", "raw_buffer", "quic"; empty
	// before the listener filters ended. sni and alpn are what tls_inspector or
	// http_inspector saw, which is nothing where neither runs.
	transport, sni string
	alpn           []string

	listener     tree.Node // the listener that owns the connection, after hand-off
	listenerName string
	chain        tree.Node // its filter chain
	// downTLS is the TLS session that the chain's transport socket terminated; nil for
	// plain text and for TLS that is passed through.
	downTLS *flow.TLS
	// client is what is known of the certificate that the client presented there, and valid
	// whether it passed the chain's checks. Valid iff downTLS is set.
	client clientNames
	valid  flow.Answer

	// state is filter state by key, meta dynamic metadata by namespace, as far as literal
	// configuration sets them. A key whose value cannot be known holds no entry, and its
	// name stands in unsure.
	state  map[string]string
	meta   map[string]tree.Node
	unsure map[string]bool

	originalSrc bool // an original_src filter binds the upstream socket to the client's address
	mark        uint32
	depth       int  // aggregates already entered
	over        bool // the pass has ended
}

// ref is the reference of a choice of this pass.
func (p *pass) ref(name string) string { return p.conn.Ref + name }

// add appends a step.
func (p *pass) add(s flow.Step) { p.res.Steps = append(p.res.Steps, s) }

// last is the step added last; what it points at may be changed until the next add.
func (p *pass) last() *flow.Step {
	if len(p.res.Steps) == len(p.conn.Before) {
		p.res.Steps = append(p.res.Steps, flow.Step{})
	}
	return &p.res.Steps[len(p.res.Steps)-1]
}

// end sets where the pass ends. Verdict Continue is for the pass whose upstream is dialled.
func (p *pass) end(v flow.Verdict, caller flow.Symptom) {
	p.res.Verdict, p.res.Caller, p.over = v, caller, true
}

// stop ends the pass Unknown at a thing that meshtop does not model, with its raw text.
func (p *pass) stop(stage flow.Stage, subject string, why flow.Reason, n tree.Node) {
	p.add(flow.Step{Stage: stage, Subject: subject, Verdict: flow.Unknown, Reason: why, Evidence: evidence(n)})
	p.end(flow.Unknown, flow.Symptom{})
}

// need ends the pass Unknown at a part of the configuration that was not read.
func (p *pass) need(stage flow.Stage, part, name string) {
	p.res.Needs = append(p.res.Needs, flow.Need{Part: part, Name: name})
	p.add(flow.Step{Stage: stage, Subject: name, Verdict: flow.Unknown, Reason: flow.Because(flow.WhyNotRead, part, name)})
	p.end(flow.Unknown, flow.Symptom{})
}

// refuse ends the pass at a connection that Envoy closes; the step says why.
func (p *pass) refuse(s flow.Step, flags, details string) {
	s.Verdict = flow.Refused
	p.add(s)
	p.end(flow.Refused, flow.Symptom{TCP: flow.TCPResetOrClosed, Flags: flags, Details: details})
}

// opaque meets a thing that may do anything: the first variant takes it that it passes,
// the second one ends there. It says whether the pass goes on.
func (p *pass) opaque(stage flow.Stage, subject string, why flow.Reason, n tree.Node) bool {
	ref := p.ref(stage.String() + " " + subject)
	choice := flow.Choice{Ref: ref, Kind: flow.Unmodelled, Options: []flow.Option{{Value: "pass"}, {Value: "other", Stop: true}}}
	if p.ch.Take(choice) == 1 {
		p.stop(stage, subject, why, n)
		return false
	}
	p.add(flow.Step{Stage: stage, Subject: subject, Verdict: flow.Continue, Reason: why, Evidence: p.evidence(n),
		Assumed: []flow.Assumption{{Reason: flow.Because(flow.WhyAssumedPass, subject), Flag: "--pick " + quoteRef(ref) + "=pass"}}})
	return true
}

// evidenceBytes bounds the raw text in a step; Config.Raw gives all of it.
const evidenceBytes = 512

// evidence is where a value stands, with its text.
func evidence(nodes ...tree.Node) []flow.Evidence {
	var out []flow.Evidence
	for _, n := range nodes {
		if n.Kind() == tree.Missing {
			continue
		}
		if out == nil {
			out = make([]flow.Evidence, 0, len(nodes))
		}
		out = append(out, flow.Evidence{Source: n.Source(), Ref: reference(n), Text: shorten(n.Raw())})
	}
	return out
}

// shorten is raw text as far as a step shows it, cut between characters.
func shorten(raw []byte) string {
	if len(raw) <= evidenceBytes {
		return string(raw)
	}
	n := evidenceBytes
	for n > evidenceBytes-utf8.UTFMax && raw[n]&0xc0 == 0x80 {
		n--
	}
	var room [evidenceBytes + 3]byte
	return string(append(append(room[:0], raw[:n]...), "…"...))
}

// evidence is evidence, remembered.
func (p *pass) evidence(n tree.Node) []flow.Evidence {
	if n.Kind() == tree.Missing {
		return nil
	}
	key := memoKey[flow.Evidence]{n}
	if v, ok := p.cfg.cache.load(key); ok {
		return v.([]flow.Evidence)
	}
	e := evidence(n)
	return p.cfg.cache.store(key, e, int64(len(e[0].Text)+len(e[0].Ref)+64)).([]flow.Evidence)
}

// dumpPart is the part whose pointers need no prefix.
const dumpPart = "config_dump.json"

// reference is what Config.Raw takes: a JSON pointer, after the part's name and # for
// parts other than the dump.
func reference(n tree.Node) string {
	var room [256]byte
	b := room[:0]
	if s := n.Source(); s != dumpPart {
		b = append(append(b, s...), '#')
	}
	return string(n.AppendPointer(b))
}

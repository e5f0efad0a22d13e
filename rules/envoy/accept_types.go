package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// Conn is a connection as the kernel hands it to Envoy.
type Conn struct {
	Accept netip.AddrPort // where it was delivered, after NAT
	// Orig is what SO_ORIGINAL_DST answers; zero when it fails.
	Orig        netip.AddrPort
	Transparent bool // by TPROXY: the socket's own address is the original destination
	Src         netip.AddrPort
	Proto       flow.Proto
	// Listener names the listener instead of Accept, for internal listeners and for traces
	// that begin at Envoy; empty: found by Accept.
	Listener string
	// Ref prefixes the references of this pass's choices, as in netfilter.Packet.
	Ref string
	// Alike tells apart how connections fare once Envoy has opened them: those with equal
	// answers end alike. inside says that the pod itself takes it, so that what Envoy says on it
	// matters, too. It is asked where hosts are too many to be followed one by one; nil: all
	// fare alike.
	Alike func(Upstream) (key string, inside bool)
	// Group says to follow hosts by groups however few they are.
	Group bool
	// Before are steps that the result's follow, in one list. They are not changed.
	Before []flow.Step
}

// Upstream is the connection that Envoy opens for the request.
type Upstream struct {
	Addr netip.AddrPort // where it dials
	Bind netip.Addr     // source address it binds; zero: chosen by the kernel
	// OriginalSrc: it binds the client's address (original_src filter), with Mark.
	OriginalSrc bool
	Mark        uint32
	TLS         *flow.TLS  // what it presents; nil: plain text
	HTTP        *flow.HTTP // what the endpoint receives; nil: bytes are passed through
	// Passed is what the client says, where its bytes are passed through unread; nil: they are not.
	Passed   *Said
	Internal string // name of an internal listener that takes it; empty: a real connection
	// Orig is the original destination that the endpoint's metadata hands to an internal
	// listener; zero: none. Valid iff Internal is set.
	Orig netip.AddrPort
}

// Said is what is said on a connection, from its first byte.
type Said struct {
	Proxy   *flow.ProxyHeader
	TLS     *flow.TLS  // nil: plain text
	HTTP    *flow.HTTP // nil: Payload
	Payload []byte
}

// Under is what the other end of a TLS connection gets that carries s: what it decrypts is a
// request only where s is no layer below.
func (s Said) Under(tls *flow.TLS) Said {
	switch {
	case tls == nil:
		return s
	case s.Proxy != nil || s.TLS != nil:
		return Said{TLS: tls, Payload: []byte("\x16")}
	}
	return Said{TLS: tls, HTTP: s.HTTP, Payload: s.Payload}
}

// said is what the client still says, once listener and transport socket have had their part.
func (p *pass) said() *Said {
	s := &Said{HTTP: p.req.HTTP, Payload: p.req.Payload}
	if p.proxied() {
		s.Proxy = p.req.Proxy
	}
	if p.downTLS == nil {
		s.TLS = p.req.TLS
	}
	return s
}

// Result is what Envoy does with one connection and its request.
type Result struct {
	Steps []flow.Step // Conn.Before and what Envoy does
	// Verdict: Continue when Upstream is dialled; Delivered for an answer that Envoy is
	// configured to give (redirect, direct response); Refused, Looped or Unknown.
	Verdict  flow.Verdict
	Outcome  flow.Outcome
	Caller   flow.Symptom // as it is if the endpoint answers well
	Upstream Upstream     // valid iff Verdict is Continue
	// Failed is what the caller sees where the connection to the endpoint is not made, and
	// Broken where it is made and ends before an answer; code and flags are empty where they
	// cannot be told. Retried says that Envoy tries again, and maybe another endpoint,
	// before Failed. Valid iff Verdict is Continue.
	Failed, Broken flow.Symptom
	Retried        bool
	Needs          []flow.Need
}

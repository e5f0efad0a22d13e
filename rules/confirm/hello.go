package confirm

import (
	"encoding/binary"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// cursor reads what a TLS message holds. Past the end of what was kept it reads nothing, and
// says so.
type cursor struct {
	b   []byte
	cut bool
}

// take is the next n bytes, as far as they are there.
func (r *cursor) take(n int) []byte {
	if n > len(r.b) {
		n, r.cut = len(r.b), true
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// number is the next number of n bytes.
func (r *cursor) number(n int) int {
	out := 0
	for _, c := range r.take(n) {
		out = out<<8 | int(c)
	}
	return out
}

// handshake are the bytes of the handshake records that a stream begins with (RFC 8446, 5.1).
func handshake(stream []byte) []byte {
	var out []byte
	for r := (cursor{b: stream}); len(r.b) > 0 && r.b[0] == 22; {
		head := r.take(5)
		if len(head) < 5 {
			break
		}
		out = append(out, r.take(int(binary.BigEndian.Uint16(head[3:])))...)
	}
	return out
}

// greeting is what a ClientHello says: the name that it asks for, empty: none; and the protocols
// that it offers. Of what goes on past what was kept it is not known what it says.
type greeting struct {
	name   string
	alpn   []string
	named  bool // name is known
	offers bool // alpn is known
	cut    bool // the message goes on past what was kept
}

// Extensions of a ClientHello (RFC 6066, 3; RFC 7301, 3.1).
const extName, extALPN = 0, 16

// readHello reads a ClientHello; it says nothing where there is none (RFC 8446, 4.1.2).
func readHello(stream []byte) (g greeting) {
	r := cursor{b: handshake(stream)}
	if r.number(1) != 1 {
		return g
	}
	if size := r.number(3); size < len(r.b) {
		r.b = r.b[:size]
	}
	r.take(2 + 32)      // version and random
	r.take(r.number(1)) // session
	r.take(r.number(2)) // cipher suites
	r.take(r.number(1)) // compression methods
	if r.cut || len(r.b) == 0 {
		g.cut = r.cut || !wholeHello(stream)
		g.named, g.offers = !g.cut, !g.cut
		return g
	}
	rest, bad := r.number(2), false
	for rest > 0 && !bad {
		kind, size := r.number(2), r.number(2)
		body := cursor{b: r.take(size)}
		if rest -= 4 + size; r.cut {
			break
		}
		switch {
		case kind == extName && !g.named:
			g.name, g.named = body.hostName()
			bad = !g.named
		case kind == extALPN && !g.offers:
			g.alpn, g.offers = body.protocols()
			bad = !g.offers
		}
	}
	if g.cut = r.cut; !r.cut && rest == 0 && !bad {
		g.named, g.offers = true, true
	}
	return g
}

// hostName reads the server name extension; false: it is none.
func (r *cursor) hostName() (string, bool) {
	r.take(2) // the list's length: one name of each kind is all there can be
	if kind := r.number(1); kind != 0 {
		return "", false
	}
	b := r.take(r.number(2))
	return string(b), !r.cut
}

// protocols reads the list of the ALPN extension; false: it is none.
func (r *cursor) protocols() ([]string, bool) {
	var all []string
	for n := r.number(2); n > 0 && !r.cut; {
		p := r.take(r.number(1))
		all, n = append(all, string(p)), n-1-len(p)
	}
	return all, !r.cut
}

// String is what a ClientHello says in words.
func (g greeting) String() string {
	out := "SNI " + or(g.name, "none")
	if !g.named {
		out = "SNI not known"
	}
	switch {
	case len(g.alpn) > 0:
		out += ", ALPN " + strings.Join(g.alpn, ",")
	case g.offers:
		out += ", no ALPN"
	}
	return out
}

// hellos compares what the trace says of a ClientHello with what a connection's client wrote. What
// was cut off is said; a connection that was open before, and one that speaks no TLS, says nothing.
func (c *check) hellos(x *conn, name, alpn string) Step {
	inside := Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
	if x == nil || !x.fresh() || !x.heads().tls {
		return inside
	}
	g, p := x.heads().hello, x.wrote()
	want := greeting{name: name, named: true, offers: true}
	if alpn != "" {
		want.alpn = strings.Split(alpn, ",")
	}
	switch {
	case g.named && !strings.EqualFold(g.name, name), g.offers && strings.Join(g.alpn, ",") != alpn:
		return contradicted(p, flow.SeenHello, g.String(), want.String())
	case g.named && g.offers:
		return confirmed(p, flow.SeenHello, g.String(), g.String()) // case makes no difference
	case g.cut:
		return Step{Word: NotObservable, Why: flow.Because(flow.SeenHelloCut, g.String()), Evidence: evidence(p)}
	}
	return inside
}

// inspected is the word of what the proxy reads of the request's own ClientHello. A client that
// offers other protocols than the request names, such as curl's, is no other one for that: it is
// only said.
func (c *check) inspected(x *conn, name, alpn string) Step {
	st := c.hellos(x, name, alpn)
	if st.Word == Contradicted {
		st.Word = NotObservable
	}
	return st
}

// wrote is the first packet in which the client wrote something; nil: none was seen.
func (x *conn) wrote() *flow.Observation {
	for _, p := range x.packets {
		if x.own(p.Tuple.Src) && p.Len > 0 {
			return p
		}
	}
	return nil
}

// socketOf is the word of the transport socket to the endpoint: the ClientHello of the proxy's own
// connection shows what it says.
func (c *check) socketOf(l int, st flow.Step) Step {
	for _, f := range st.Facts {
		if f.Kind == flow.WhyTLSOffers && l+1 < len(c.legs) && c.pooled(l+1) == nil {
			return c.hellos(c.legs[l+1], st.Reason.Args[0], f.Args[0])
		}
	}
	return Step{Word: NotObservable, Why: flow.Because(flow.SeenInside)}
}

// wholeHello says whether a stream holds all of its first handshake message.
func wholeHello(stream []byte) bool {
	r := cursor{b: handshake(stream)}
	r.take(1)
	r.take(r.number(3))
	return !r.cut
}

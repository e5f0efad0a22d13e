package confirm

import (
	"bytes"

	"github.com/meshtop/meshtop/rules/flow"
)

// got are the packets with payload that the caller got since it asked. On a connection that was
// open before, or that carried other requests, only those after the request count.
func (c *check) got() []*flow.Observation {
	x := c.legs[0]
	if x == nil || !x.fresh() && c.asked == nil {
		return nil
	}
	var out []*flow.Observation
	for _, p := range x.packets {
		if x.own(p.Tuple.Dst) && p.Len > 0 && !p.At.Before(c.way.from) {
			out = append(out, p)
		}
	}
	return out
}

// answers are the packets that hold an answer to what was asked. A handshake of TLS is none, and
// what follows it cannot be told from it; of HTTP/2 only HEADERS and DATA are; and of HTTP/1 no
// interim answer but 101 is (RFC 9110, 15.2).
func (c *check) answers() []answered {
	got := c.got()
	switch h := c.trace.Request.HTTP; {
	case len(got) == 0 || c.secret():
		return nil
	case c.legs[0].heads().muxed || h != nil && h.Version == "2":
		return c.framed()
	}
	var out []answered
	for _, p := range got {
		if head, final := afterInterim(p); final {
			out = append(out, answered{p, head})
		}
	}
	return out
}

// answered is a packet with an answer, and what was kept of it from where that begins.
type answered struct {
	*flow.Observation
	head []byte
}

// sentCode is the status that a request which meshtop sent got; empty: none.
func (c *check) sentCode() string {
	if c.sent == nil || c.sent.Fields["code"] == "0" {
		return ""
	}
	return c.sent.Fields["code"]
}

// secret says whether the caller speaks TLS, behind which nothing can be read.
func (c *check) secret() bool { return c.trace.Request.TLS != nil || c.legs[0].heads().tls }

// afterInterim is the first answer in a packet that is not an interim one; false: it holds none
// that can be seen.
func afterInterim(p *flow.Observation) ([]byte, bool) {
	head := p.Head
	for len(head) >= 10 && bytes.HasPrefix(head, []byte("HTTP/1.")) && head[9] == '1' && !bytes.HasPrefix(head[9:], []byte("101")) {
		_, rest, _ := bytes.Cut(head, []byte("\r\n\r\n"))
		if len(rest) == 0 {
			return nil, false
		}
		head = rest
	}
	return head, true
}

// framed are the packets of HTTP/2 in which the head of an answer or a part of its body begins,
// up to the first byte that was not kept (RFC 9113, 4.1 and 6).
func (c *check) framed() []answered {
	x := c.legs[0]
	wrote := x.payloads(false)
	if len(wrote) == 0 || !x.fresh() {
		return nil // where a frame begins is not known
	}
	var out []answered
	stream, starts := contiguous(wrote)
	for at, f := range frames(stream, 0) {
		if p := packetAt(starts, at); (f.kind == frameHeaders || f.kind == frameData) && !p.At.Before(c.way.from) {
			out = append(out, answered{p, nil})
		}
	}
	return out
}

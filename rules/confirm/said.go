package confirm

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/meshtop/meshtop/rules/flow"
)

// ask is the head of a request as its client wrote it, as far as it was kept.
type ask struct {
	at                 *flow.Observation // the packet in which it begins
	method, path, host string
	headers            [][2]string
	// cut says that the head goes on past what was kept: what is last of it may be longer.
	cut cutAt
}

// cutAt says what of a head is the last that was kept.
type cutAt uint8

const (
	cutNowhere cutAt = iota
	cutPath
	cutHeaders // the headers from some one on are not known
)

// said is what a client wrote on a connection, as far as it can be read.
type said struct {
	asks []ask
	// whole says that there can be no other request on it: all that the client wrote was read.
	whole bool
	// more says that it wrote what may be other requests, and was not kept or not read.
	more  bool
	tls   bool
	hello greeting // valid iff tls
	muxed bool     // requests can be under way on it at once (HTTP/2)
	data  bool     // it wrote something
}

// heads reads what the client of a connection wrote.
func (x *conn) heads() *said {
	if x.said != nil {
		return x.said
	}
	s := &said{whole: true}
	x.said = s
	if slices.ContainsFunc(x.packets, func(p *flow.Observation) bool { return p.Thinned && x.own(p.Tuple.Src) }) {
		s.whole, s.more = false, true
	}
	wrote := x.payloads(true)
	if s.data = len(wrote) > 0; !s.data {
		return s
	}
	switch first := wrote[0].Head; {
	case bytes.HasPrefix(first, []byte(preface[:min(len(first), len(preface))])) && len(first) >= 3:
		s.h2(wrote)
	case len(first) > 1 && first[0] == 22 && first[1] == 3: // a TLS handshake record (RFC 8446, 5.1)
		s.tls, s.whole = true, false
		stream, starts := contiguous(wrote)
		s.hello = readHello(stream)
		last := starts[len(starts)-1].at // else what follows it was not seen
		s.hello.cut = s.hello.cut && len(last.Head) < last.Len
	case sealed(first):
		s.tls, s.whole = true, false
	default:
		s.h1(wrote)
	}
	return s
}

// sealed says whether bytes begin with a record of TLS's application data (RFC 8446, 5.1 and 5.2), as
// those do of a connection that was open before: no request of HTTP begins so.
func sealed(b []byte) bool {
	return len(b) >= 5 && b[0] == 23 && b[1] == 3 && b[2] <= 4 && int(b[3])<<8|int(b[4]) <= 1<<14+256
}

// payloads are the packets with payload of the client, or of the other end.
func (x *conn) payloads(client bool) []*flow.Observation {
	var out []*flow.Observation
	for _, p := range x.packets {
		if p.Len == 0 || p.Flags&flow.SYN != 0 || client && !x.own(p.Tuple.Src) || !client && !x.own(p.Tuple.Dst) {
			continue
		}
		sameBytes := func(q *flow.Observation) bool { return q.Seq == p.Seq && p.Seq != 0 }
		if !slices.ContainsFunc(out, sameBytes) { // else it was sent again, or seen on two devices
			out = append(out, p)
		}
	}
	return out
}

// h1 reads requests of HTTP/1: each packet that begins with a request line begins one. What
// follows its head is its body, as far as it has one; the rest is other requests.
func (s *said) h1(wrote []*flow.Observation) {
	left, known := 0, false // bytes of the body that are to come
	for i, p := range wrote {
		a, ok := readHead(p)
		switch {
		case ok:
			s.asks = append(s.asks, a)
			left, known = a.body(p)
		case i == 0 || len(p.Head) == 0:
			s.whole = false // not HTTP/1, or not kept
		default:
			left -= p.Len
		}
		if known && left < 0 {
			s.whole, s.more, known = false, true, false
		}
		if i > 0 && p.Seq != 0 && p.Seq != wrote[i-1].Seq+uint32(wrote[i-1].Len) {
			s.whole = false // something between them was not seen
		}
	}
}

// readHead reads a request line and what follows it (RFC 9112, 3 and 5).
func readHead(p *flow.Observation) (ask, bool) {
	line, rest, whole := strings.Cut(string(p.Head), "\r\n")
	method, target, ok := strings.Cut(line, " ")
	if !ok || !isToken(method) {
		return ask{}, false
	}
	a := ask{at: p, method: method}
	target, version, ends := strings.Cut(target, " ")
	switch {
	case whole && (!ends || !strings.HasPrefix(version, "HTTP/1.")):
		return ask{}, false
	case !whole && len(p.Head) >= p.Len:
		return ask{}, false // the line ends nowhere: no head of this packet
	case !ends:
		a.cut = cutPath
	case !whole:
		a.cut = cutHeaders
	}
	a.target(target)
	for whole && rest != "" {
		line, rest, whole = strings.Cut(rest, "\r\n")
		if line == "" && whole {
			return a, true
		}
		if name, value, ok := strings.Cut(line, ":"); ok && whole {
			a.header(name, strings.Trim(value, " \t"))
		}
	}
	if a.cut == cutNowhere {
		a.cut = cutHeaders
	}
	return a, true
}

// body is how many bytes of a request's body come after the packet that holds its head; less
// than none: more than the body is in that packet. False: the head does not tell, or what
// follows it is no HTTP (RFC 9112, 6.3; RFC 9110, 7.8 and 9.3.6).
func (a ask) body(p *flow.Observation) (left int, known bool) {
	if a.cut != cutNowhere || a.method == "CONNECT" {
		return 0, false
	}
	for _, kv := range a.headers {
		switch kv[0] {
		case "transfer-encoding", "upgrade":
			return 0, false
		case "content-length":
			n, err := strconv.Atoi(kv[1])
			if err != nil || n < 0 {
				return 0, false
			}
			left = n
		}
	}
	return left - (p.Len - bytes.Index(p.Head, []byte("\r\n\r\n")) - 4), true
}

// target takes a request line's target apart (RFC 9112, 3.2).
func (a *ask) target(t string) {
	a.path = t
	if a.method == "CONNECT" {
		a.path, a.host = "", t
		return
	}
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(t, scheme); ok {
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				i = len(rest)
			}
			a.host, a.path = rest[:i], or(rest[i:], "/")
		}
	}
}

func (a *ask) header(name, value string) {
	name = strings.ToLower(name)
	if name == "host" {
		a.host = or(a.host, value)
	}
	a.headers = append(a.headers, [2]string{name, value})
}

// isToken says whether a word can be a method (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != "" && len(s) < 32
}

// preface begins a connection of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frames of HTTP/2 and their flags (RFC 9113, 4.1, 6.1, 6.2 and 6.10).
const (
	frameHead                  = 9
	frameData                  = 0
	frameHeaders, frameMore    = 1, 9
	flagEndHeaders             = 0x4
	flagPadded, flagPrioritize = 0x8, 0x20
	maxTable                   = 64 << 10 // of hpack, whatever the peers agreed on
)

// h2 reads requests of HTTP/2, from the connection's beginning to the first byte that was not
// kept: what follows it cannot be read, since each head builds on those before (RFC 7541, 2.2).
func (s *said) h2(wrote []*flow.Observation) {
	s.muxed = true
	stream, starts := contiguous(wrote)
	last := wrote[len(wrote)-1]
	s.whole = s.whole && starts[len(starts)-1].at == last && len(last.Head) >= last.Len
	var a *ask
	d := hpack.NewDecoder(4096, func(f hpack.HeaderField) { a.field(f) })
	d.SetAllowedMaxDynamicTableSize(maxTable)
	end := len(preface)
	for at, f := range frames(stream, end) {
		end = at + frameHead + f.size
		if f.kind == frameHeaders {
			a = &ask{at: packetAt(starts, at)}
		}
		cut := len(f.body) < f.size
		if block, ok := f.fragment(cut); ok && a != nil {
			_, err := d.Write(block)
			if err == nil && !cut && f.flags&flagEndHeaders != 0 {
				err = d.Close()
			}
			switch {
			case err != nil:
				s.whole = false
				return
			case cut:
				a.cut = cutHeaders
			}
			if cut || f.flags&flagEndHeaders != 0 {
				s.asks = append(s.asks, *a)
				a = nil
			}
		}
	}
	s.whole = s.whole && end == len(stream)
}

// frame is one of HTTP/2.
type frame struct {
	kind, flags byte
	size        int
	body        []byte // what of it was kept
}

// frames are those of a stream from one on, each with where it begins, up to one that is cut off.
func frames(stream []byte, at int) iter.Seq2[int, frame] {
	return func(yield func(int, frame) bool) {
		for len(stream)-at >= frameHead {
			h := stream[at:]
			f := frame{kind: h[3], flags: h[4], size: int(h[0])<<16 | int(binary.BigEndian.Uint16(h[1:]))}
			f.body = h[frameHead:min(len(h), frameHead+f.size)]
			if !yield(at, f) {
				return
			}
			at += frameHead + f.size
		}
	}
}

// fragment is the part of a header block that a frame holds.
func (f frame) fragment(cut bool) ([]byte, bool) {
	body := f.body
	switch {
	case f.kind == frameMore:
		return body, true
	case f.kind != frameHeaders:
		return nil, false
	}
	pad := 0
	if f.flags&flagPadded != 0 {
		if len(body) < 1 {
			return nil, false
		}
		pad, body = int(body[0]), body[1:]
	}
	if f.flags&flagPrioritize != 0 {
		body = body[min(len(body), 5):]
	}
	if !cut {
		body = body[:max(0, len(body)-pad)]
	}
	return body, true
}

func (a *ask) field(f hpack.HeaderField) {
	switch f.Name {
	case ":method":
		a.method = f.Value
	case ":path":
		a.path = f.Value
	case ":authority":
		a.host = f.Value
	default:
		a.header(f.Name, f.Value)
	}
}

// start is where in a stream a packet's payload begins.
type start struct {
	at *flow.Observation
	n  int
}

// contiguous is what a client wrote up to the first byte that was not kept.
func contiguous(wrote []*flow.Observation) ([]byte, []start) {
	var stream []byte
	var starts []start
	for i, p := range wrote {
		if i > 0 && p.Seq != wrote[i-1].Seq+uint32(wrote[i-1].Len) {
			break
		}
		starts = append(starts, start{p, len(stream)})
		stream = append(stream, p.Head...)
		if len(p.Head) < p.Len {
			break
		}
	}
	return stream, starts
}

func packetAt(starts []start, n int) *flow.Observation {
	at := starts[0].at
	for _, s := range starts {
		if s.n <= n {
			at = s.at
		}
	}
	return at
}

// fits says whether a head is that of the request: its method, path and host, and the headers
// that the request names.
func (a ask) fits(h *flow.HTTP) flow.Answer {
	path := or(h.Path, "/")
	if h.Exact {
		path = h.Path
	}
	if a.method == "CONNECT" {
		path = ""
	}
	switch {
	case a.method != "" && a.method != or(h.Method, "GET"):
		return flow.No
	case a.cut == cutPath:
		return flow.Is(strings.HasPrefix(path, a.path)).And(flow.Maybe)
	case a.path != path && (a.path != "" || a.cut == cutNowhere):
		return flow.No
	case a.method == "":
		return flow.Maybe
	}
	out := flow.Yes
	if h.Authority != "" {
		out = a.says(a.host, h.Authority)
	}
	for _, kv := range h.Headers {
		if !ofCurl(kv) {
			out = out.And(a.has(kv[0], kv[1]))
		}
	}
	return out
}

// ofCurl says whether a header is one that curl adds: a request that was given as a curl command
// is not only curl's.
func ofCurl(kv [2]string) bool {
	switch strings.ToLower(kv[0]) {
	case "user-agent":
		return strings.HasPrefix(kv[1], "curl/")
	case "accept":
		return kv[1] == "*/*"
	}
	return false
}

func (a ask) says(got, want string) flow.Answer {
	if got == "" && a.cut != cutNowhere {
		return flow.Maybe
	}
	return flow.Is(strings.EqualFold(got, want))
}

// has says whether a header is among those of a head.
func (a ask) has(name, value string) flow.Answer {
	name = strings.ToLower(name)
	for _, kv := range a.headers {
		if kv[0] == name && kv[1] == strings.Trim(value, " \t") {
			return flow.Yes
		}
	}
	if a.cut != cutNowhere || name == "host" {
		return flow.Maybe
	}
	return flow.No
}

package confirm

import "encoding/binary"

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

// serverName reads the name that a ClientHello asks for; empty: none. It is not known where the
// message goes on past what was kept, and where it is no ClientHello (RFC 8446, 4.1.2, and RFC
// 6066, 3).
func serverName(stream []byte) (name string, known bool) {
	r := cursor{b: handshake(stream)}
	if r.number(1) != 1 {
		return "", false
	}
	if size := r.number(3); size < len(r.b) {
		r.b = r.b[:size]
	}
	r.take(2 + 32)      // version and random
	r.take(r.number(1)) // session
	r.take(r.number(2)) // cipher suites
	r.take(r.number(1)) // compression methods
	if r.cut || len(r.b) == 0 {
		return "", !r.cut && wholeHello(stream)
	}
	rest := r.number(2)
	for rest > 0 && !r.cut {
		kind, size := r.number(2), r.number(2)
		body := cursor{b: r.take(size)}
		rest -= 4 + size
		if kind != 0 || r.cut {
			continue
		}
		body.take(2) // the list's length: one name of each kind is all there can be
		if kind := body.number(1); kind != 0 {
			return "", false
		}
		name := body.take(body.number(2))
		return string(name), !body.cut
	}
	return "", !r.cut && rest == 0
}

// wholeHello says whether a stream holds all of its first handshake message.
func wholeHello(stream []byte) bool {
	r := cursor{b: handshake(stream)}
	r.take(1)
	r.take(r.number(3))
	return !r.cut
}

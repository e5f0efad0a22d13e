package confirm

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// Whatever a client writes and however it is cut into packets, what is read of it lies in what
// was kept, and is the same when it was kept whole in one packet or in two.
func FuzzHeads(f *testing.F) {
	for _, s := range []string{cart, other, hello, "GET http://svc/x HTTP/1.1\r\n\r\n", "CONNECT svc:443 HTTP/1.1\r\nHost: svc:443\r\n\r\n", overH2(f, "GET", "/cart", "svc")} {
		f.Add([]byte(s), uint16(0), uint16(len(s)))
		f.Add([]byte(s), uint16(30), uint16(len(s)))
		f.Add([]byte(s), uint16(len(s)), uint16(40))
	}
	f.Fuzz(func(t *testing.T, payload []byte, at, kept uint16) {
		part := func(seq int, b []byte, keep int) *flow.Observation {
			o := pkt(seq, "lo", app, trap, flow.ACK|flow.PSH, len(b))
			o.Seq, o.Head = uint32(1000+seq), b[:min(len(b), keep)]
			return &o
		}
		read := func(packets ...*flow.Observation) *said {
			x := &conn{client: app}
			for _, p := range packets {
				if p.Len > 0 {
					x.packets = append(x.packets, p)
				}
			}
			return x.heads()
		}
		n := min(int(at), len(payload))
		read(part(0, payload[:n], int(kept)), part(n, payload[n:], int(kept)))
		whole := read(part(0, payload, len(payload)))
		if two := read(part(0, payload[:n], n), part(n, payload[n:], len(payload))); whole.muxed && two.muxed && len(two.asks) != len(whole.asks) {
			t.Errorf("%q: %d requests in one packet, %d in two", payload, len(whole.asks), len(two.asks))
		}
		for _, a := range read(part(0, payload, int(kept))).asks {
			h := &flow.HTTP{Method: a.method, Path: a.path, Authority: a.host}
			if a.cut == cutNowhere && a.method != "" && a.path != "" && a.fits(h) != flow.Yes {
				t.Errorf("%q: %+v is not itself", payload, a)
			}
		}
	})
}

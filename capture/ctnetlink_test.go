package capture

import (
	"encoding/binary"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// An event is of TCP or UDP and has both ends, whatever the bytes are.
func FuzzEvent(f *testing.F) {
	attr := func(kind uint16, b ...byte) []byte {
		out := binary.NativeEndian.AppendUint16(nil, uint16(nlAlign+len(b)))
		out = append(binary.NativeEndian.AppendUint16(out, kind), b...)
		return append(out, make([]byte, -len(out)&3)...)
	}
	ip := append(attr(ctaV4Src, 127, 0, 0, 1), attr(ctaV4Dst, 127, 0, 0, 2)...)
	proto := append(append(attr(ctaProtoNum, 6), attr(ctaSrcPort, 1, 2)...), attr(ctaDstPort, 0, 80)...)
	tuple := attr(ctaOrig, append(attr(ctaIP, ip...), attr(ctaProto, proto...)...)...)
	body := append(make([]byte, nfHeader), tuple...)
	head := binary.NativeEndian.AppendUint32(nil, uint32(nlHeader+len(body)))
	head = binary.NativeEndian.AppendUint16(head, subsysCT<<8)
	seed := append(append(head, make([]byte, nlHeader-len(head))...), body...)
	f.Add(seed)
	f.Add(append(seed[:len(seed)-3], seed...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for m := range messages(b) {
			var o flow.Observation
			if m.event(&o) && (!o.Tuple.Src.IsValid() || !o.Tuple.Dst.IsValid() || o.Event == "" || o.Tuple.Proto != flow.TCP && o.Tuple.Proto != flow.UDP) {
				t.Errorf("%+v", o)
			}
		}
	})
}

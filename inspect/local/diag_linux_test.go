package local

import (
	"bytes"
	"testing"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/rules/flow"
)

// sample is a message as the kernel sends it: an IPv6 socket that listens on port 80 for
// both families, with a mark of attributes behind it.
func sample() []byte {
	b := make([]byte, capture.DiagSize)
	b[0], b[1] = 10, stateListen
	b[5] = 80
	b[64], b[65] = 0x39, 0x05                           // uid 1337
	return append(b, 5, 0, attrSKV6Only, 0, 0, 0, 0, 0, // v6only: no
		6, 0, attrSockOpt, 0, optTransparent, 0, 0, 0)
}

func TestDiagMessage(t *testing.T) {
	s, ok := diagMessage(sample(), flow.TCP)
	if !ok || s.local.Port() != 80 || s.uid != 1337 || !s.dual || !s.transparent || s.text(s.local) != "*:80" {
		t.Errorf("%+v", s)
	}
	only := sample()
	only[capture.DiagSize+4] = 1
	if s, _ := diagMessage(only, flow.TCP); s.dual || s.text(s.local) != "[::]:80" {
		t.Errorf("v6 only: %+v", s)
	}
	if _, ok := diagMessage(sample()[:capture.DiagSize-1], flow.TCP); ok {
		t.Error("a message that is too short was taken")
	}
}

// What the kernel, or something in its place, sends never stops the reader, and each row
// stays one line.
func FuzzDiagMessage(f *testing.F) {
	f.Add(sample())
	f.Add(sample()[:capture.DiagSize+3])
	f.Add(append(sample(), 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := diagMessage(b, flow.UDP)
		if !ok {
			return
		}
		if text := socketText([]socket{s}); bytes.Count(text, []byte("\n")) != 2 {
			t.Errorf("%q", text)
		}
	})
}

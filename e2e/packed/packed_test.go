package packed

import "testing"

// What is not packed, or cut, is an error and no empty text.
func TestOpen(t *testing.T) {
	whole := []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\x04\x00\x9e\xa2\x48\xd6\x02\x00\x00\x00") // "ha", by gzip(1)
	if got, err := Open(whole); err != nil || string(got) != "ha" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range [][]byte{nil, []byte("ha"), whole[:len(whole)-1], whole[:12]} {
		if got, err := Open(bad); err == nil {
			t.Errorf("%q opens as %q", bad, got)
		}
	}
}

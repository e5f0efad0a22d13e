package capture

import (
	"bytes"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/meshtop/meshtop/capture/pcapng"
)

// pcapOf is a file of one packet.
func pcapOf(t testing.TB, link layers.LinkType, data []byte, length int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(data), Length: length}, data); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A packet is read behind whatever header its device put before it.
func TestReadPacketsLinks(t *testing.T) {
	p := tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / ")
	for _, c := range []struct {
		link   layers.LinkType
		before []byte
	}{
		{layers.LinkTypeRaw, nil}, {layers.LinkTypeNull, make([]byte, 4)}, {layers.LinkTypeLinuxSLL, make([]byte, 16)}, {layers.LinkTypeLinuxSLL2, make([]byte, 20)},
		{layers.LinkTypeEthernet, append(make([]byte, 12), 8, 0)},
		{layers.LinkTypeEthernet, append(make([]byte, 12), 0x81, 0, 0, 7, 8, 0)}, // a VLAN's
	} {
		data := append(append([]byte(nil), c.before...), p...)
		got, loss, err := ReadPackets(pcapOf(t, c.link, data, len(data)), "eth0", Keep{Heads: true})
		if err != nil || len(got) != 1 || string(got[0].Head) != "GET / " || got[0].Whole != len(p) || got[0].Device != "eth0" || loss.Seen != 1 {
			t.Errorf("%v behind %d bytes: %+v, %+v, %v", c.link, len(c.before), got, loss, err)
		}
	}
}

func FuzzReadPackets(f *testing.F) {
	p := tcp("10.0.0.1:1000", "10.0.0.2:80", 0x18, "GET / ")
	f.Add(pcapOf(f, layers.LinkTypeRaw, p, len(p)))
	f.Add(pcapOf(f, layers.LinkTypeEthernet, append(make([]byte, 14), p...), 2000))
	var b bytes.Buffer
	w, err := pcapng.NewWriter(&b, "meshtop", "")
	if err != nil {
		f.Fatal(err)
	}
	n, err := w.AddInterface(pcapng.Interface{Name: "lo", Link: pcapng.Raw})
	if err != nil {
		f.Fatal(err)
	}
	if err := w.Packet(n, time.Unix(1, 0), p, len(p), "the step"); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		seen, _, _ := ReadPackets(b, "eth0", Keep{Heads: true, Raw: true})
		for _, o := range seen {
			if o.Len < 0 || len(o.Head) > o.Len || len(o.Head) > len(o.Raw) {
				t.Errorf("%+v", o)
			}
		}
	})
}

package pcapng

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/meshtop/meshtop/e2e/power"
)

// syn is an IPv4 SYN 10.0.0.1:1000 > 10.0.0.2:80 without checksums.
var syn = []byte{0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0x03, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0}

func sample(t *testing.T, w io.Writer) {
	t.Helper()
	p, err := NewWriter(w, "meshtop test", "a trace")
	must(t, err)
	lo, err := p.AddInterface(Interface{Name: "lo", Link: Raw, Snaplen: 256, Filter: "tcp port 80"})
	must(t, err)
	eth, err := p.AddInterface(Interface{Name: "eth0", Link: Raw})
	must(t, err)
	at := time.Unix(1795400789, 42147123)
	must(t, p.Names([]Name{{netip.MustParseAddr("10.0.0.2"), "svc.mesh"}, {netip.MustParseAddr("fd00::1"), "six.mesh"}}))
	must(t, p.Packet(lo, at, syn, len(syn), "step 2: ip nat OUTPUT 2 → :15001"))
	must(t, p.Packet(eth, at.Add(time.Millisecond), syn[:39], 1500, "")) // odd length, cut
	must(t, p.Statistics(lo, at.Add(time.Second), 41, 3))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Another reader finds the packets, devices, times and lengths.
func TestReadBack(t *testing.T) {
	var b bytes.Buffer
	sample(t, &b)
	r, err := pcapgo.NewNgReader(&b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	must(t, err)
	data, ci, err := r.ReadPacketData()
	must(t, err)
	if !bytes.Equal(data, syn) || ci.Timestamp.UnixNano() != 1795400789042147123 || ci.Length != len(syn) {
		t.Errorf("first packet: %d bytes at %v", len(data), ci.Timestamp)
	}
	data, ci, err = r.ReadPacketData()
	must(t, err)
	if len(data) != 39 || ci.Length != 1500 || ci.InterfaceIndex != 1 {
		t.Errorf("second packet: %d bytes of %d on %d", len(data), ci.Length, ci.InterfaceIndex)
	}
	if _, _, err = r.ReadPacketData(); err != io.EOF {
		t.Errorf("after the last packet: %v", err)
	}
	lo, err := r.Interface(0)
	must(t, err)
	if lo.Name != "lo" || lo.Statistics.PacketsReceived != 41 || lo.Statistics.PacketsDropped != 3 {
		t.Errorf("interface 0: %+v", lo)
	}
}

// tshark reads comments, drops and names.
func TestTshark(t *testing.T) {
	power.Tools(t, "tshark", "capinfos")
	path := filepath.Join(t.TempDir(), "x.pcapng")
	f, err := os.Create(path)
	must(t, err)
	sample(t, f)
	must(t, f.Close())
	tshark := func(args ...string) string {
		out, err := exec.Command("tshark", append([]string{"-r", path}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tshark %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := tshark("-T", "fields", "-e", "frame.comment", "-e", "frame.interface_name"); !strings.Contains(got, "step 2: ip nat OUTPUT 2 → :15001\tlo") {
		t.Errorf("comment: %q", got)
	}
	if got := tshark("-N", "n"); !strings.Contains(got, "svc.mesh") {
		t.Errorf("names: %q", got)
	}
	out, err := exec.Command("capinfos", path).CombinedOutput()
	must(t, err)
	if !strings.Contains(string(out), "Number of stat entries = 1") || !strings.Contains(string(out), "resolved IPv6 addresses in file: 1") {
		t.Errorf("capinfos finds no statistics or names:\n%s", out)
	}
}

// A packet of an undeclared device, or one longer than it says, is refused.
func TestRefuses(t *testing.T) {
	p, err := NewWriter(io.Discard, "x", "")
	must(t, err)
	if p.Packet(0, time.Time{}, syn, len(syn), "") == nil {
		t.Error("no interface was declared")
	}
	_, err = p.AddInterface(Interface{Name: "lo", Link: Raw})
	must(t, err)
	if p.Packet(0, time.Time{}, syn, 3, "") == nil {
		t.Error("more kept than there was")
	}
	must(t, p.Packet(0, time.Unix(1, 0), syn, len(syn), strings.Repeat("ä", 70000)))
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return f.left, errors.New("disk full")
	}
	f.left -= len(b)
	return len(b), nil
}

// After a failed write nothing more is written: the file stays readable up to there.
func TestWriteFails(t *testing.T) {
	w := &full{left: 200}
	p, err := NewWriter(w, "x", "")
	must(t, err)
	_, err = p.AddInterface(Interface{Name: "lo", Link: Raw})
	must(t, err)
	for range 3 {
		err = p.Packet(0, time.Unix(1, 0), syn, len(syn), strings.Repeat("c", 100))
	}
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("err %v", err)
	}
}

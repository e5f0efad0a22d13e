package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/meshtop/meshtop/rules/flow"
)

// Keep says what a reader of packets keeps of them beside their headers.
type Keep struct {
	Heads bool // the beginning of payloads
	Raw   bool // the packets as they are: whole with Heads, else their headers
}

// ReadPackets reads a pcap or pcapng file; device names the packets of a pcap, which holds
// no name. It returns what could be read beside an error.
func ReadPackets(file []byte, device string, keep Keep) ([]flow.Observation, flow.Loss, error) {
	if len(file) >= 4 && binary.LittleEndian.Uint32(file) == 0x0A0D0D0A {
		return readNg(file, keep)
	}
	r, err := pcapgo.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, flow.Loss{}, fmt.Errorf("capture of %s: %w", device, err)
	}
	d := &decoder{heads: keep.Heads, raw: keep.Raw}
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			out := d.take().seen
			return out, flow.Loss{Seen: uint64(len(out))}, nil
		}
		if err != nil {
			out := d.take().seen
			return out, flow.Loss{Seen: uint64(len(out))}, fmt.Errorf("capture of %s: packet %d: %w", device, d.n+1, err)
		}
		addPacket(d, data, ci, r.LinkType(), device)
	}
}

func readNg(file []byte, keep Keep) ([]flow.Observation, flow.Loss, error) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, flow.Loss{}, fmt.Errorf("capture: %w", err)
	}
	d := &decoder{heads: keep.Heads, raw: keep.Raw}
	for {
		data, ci, rerr := r.ReadPacketData()
		if rerr != nil {
			out := d.take().seen
			loss := flow.Loss{Seen: uint64(len(out))}
			for i := range r.NInterfaces() {
				if f, err := r.Interface(i); err == nil && f.Statistics.PacketsDropped != pcapgo.NgNoValue64 {
					loss.Dropped += f.Statistics.PacketsDropped
				}
			}
			if rerr == io.EOF {
				return out, loss, nil
			}
			return out, loss, fmt.Errorf("capture: packet %d: %w", d.n+1, rerr)
		}
		f, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			return d.take().seen, flow.Loss{}, fmt.Errorf("capture: packet %d: %w", d.n+1, err)
		}
		addPacket(d, data, ci, f.LinkType, f.Name)
	}
}

// addPacket decodes a packet from its IP header on. An Ethernet header's last two bytes are
// the kind of what follows it, and a VLAN's tag follows it.
func addPacket(d *decoder, data []byte, ci gopacket.CaptureInfo, link layers.LinkType, device string) {
	skip := 0
	switch link {
	case layers.LinkTypeEthernet:
		skip = 14
	case layers.LinkTypeLinuxSLL:
		skip = 16
	case layers.LinkTypeLinuxSLL2:
		skip = 20
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		skip = 4
	}
	if len(data) < skip {
		return
	}
	d.observe(&Packet{At: ci.Timestamp, Device: device, Data: data[skip:], Len: ci.Length - skip})
}

// ReadAccessLog gives the lines of a recorded access log: each as it is, and with the fields of
// the JSON object that it is, if it is one (Envoy's json_format), named as the log has them.
func ReadAccessLog(text []byte) []flow.Observation {
	var out []flow.Observation
	for n, line := range bytes.Split(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		o := flow.Observation{Kind: flow.SeenAccessLog, Ref: fmt.Sprintf("access.log line %d", n+1), Line: string(line)}
		var fields map[string]any
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.UseNumber()
		if dec.Decode(&fields) == nil {
			o.Fields = map[string]string{}
		}
		for k, v := range fields {
			if v != nil {
				o.Fields[k] = fmt.Sprint(v)
			}
		}
		if at, err := time.Parse(time.RFC3339Nano, o.Fields["start_time"]); err == nil {
			o.At = at
		}
		out = append(out, o)
	}
	return out
}

package capture

import (
	"net/netip"
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/meshtop/meshtop/rules/flow"
)

// decoder turns packets into observations. It reuses its layers: one goroutine.
type decoder struct {
	v4, v6  *gopacket.DecodingLayerParser
	ip4     layers.IPv4
	ip6     layers.IPv6
	tcp     layers.TCP
	udp     layers.UDP
	payload gopacket.Payload
	found   []gopacket.LayerType
	n       int
	keep    bool // payload heads are kept
	raw     bool // whole packets are kept
}

func newDecoder(keepHeads bool) *decoder {
	d := &decoder{keep: keepHeads}
	d.v4 = gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &d.ip4, &d.tcp, &d.udp, &d.payload)
	d.v6 = gopacket.NewDecodingLayerParser(layers.LayerTypeIPv6, &d.ip6, &d.tcp, &d.udp, &d.payload)
	d.v4.IgnoreUnsupported, d.v6.IgnoreUnsupported = true, true
	return d
}

// observe decodes one packet; ok is false for one that holds no TCP or UDP header.
func (d *decoder) observe(p Packet) (o flow.Observation, ok bool) {
	d.n++
	if len(p.Data) == 0 {
		return o, false
	}
	o = flow.Observation{Kind: flow.SeenPacket, At: p.At, Device: p.Device, Ref: "packet " + strconv.Itoa(d.n)}
	var src, dst netip.Addr
	header := 0
	parser := d.v4
	if p.Data[0]>>4 == 6 {
		parser = d.v6
	}
	// A packet cut at the snaplen ends in a decoding error after the layers that fitted.
	_ = parser.DecodeLayers(p.Data, &d.found)
	transport := false
	for _, l := range d.found {
		switch l {
		case layers.LayerTypeIPv4:
			src, _ = netip.AddrFromSlice(d.ip4.SrcIP)
			dst, _ = netip.AddrFromSlice(d.ip4.DstIP)
			header = int(d.ip4.IHL) * 4
		case layers.LayerTypeIPv6:
			src, _ = netip.AddrFromSlice(d.ip6.SrcIP)
			dst, _ = netip.AddrFromSlice(d.ip6.DstIP)
			header = 40
		case layers.LayerTypeTCP:
			transport = true
			d.fromTCP(&o, src, dst, p.Len-header)
		case layers.LayerTypeUDP:
			transport = true
			o.Tuple = flow.Tuple{Src: netip.AddrPortFrom(src, uint16(d.udp.SrcPort)), Dst: netip.AddrPortFrom(dst, uint16(d.udp.DstPort)), Proto: flow.UDP}
			o.Len = max(0, p.Len-header-8)
			o.Head = d.head(d.udp.Payload)
		}
	}
	o.Whole = p.Len
	if d.raw {
		o.Raw = append([]byte(nil), p.Data...)
	}
	return o, transport
}

func (d *decoder) fromTCP(o *flow.Observation, src, dst netip.Addr, rest int) {
	t := &d.tcp
	o.Tuple = flow.Tuple{Src: netip.AddrPortFrom(src, uint16(t.SrcPort)), Dst: netip.AddrPortFrom(dst, uint16(t.DstPort)), Proto: flow.TCP}
	o.Seq, o.Ack = t.Seq, t.Ack
	for _, f := range []struct {
		on  bool
		bit flow.TCPFlags
	}{{t.FIN, flow.FIN}, {t.SYN, flow.SYN}, {t.RST, flow.RST}, {t.PSH, flow.PSH}, {t.ACK, flow.ACK}} {
		if f.on {
			o.Flags |= f.bit
		}
	}
	o.Len = max(0, rest-int(t.DataOffset)*4)
	o.Head = d.head(t.Payload)
}

// head copies the payload that was kept, if heads are asked for: the layers' memory is the
// ring's.
func (d *decoder) head(b []byte) []byte {
	if !d.keep || len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// Package pcapng writes capture files that carry a comment on each packet, the names of
// addresses, and what was dropped (IETF draft-ietf-opsawg-pcapng, sections 4.1 to 4.6).
package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// LinkType says what a packet's first byte is (the registry of link types).
type LinkType uint16

const (
	Ethernet LinkType = 1
	Raw      LinkType = 101 // begins with the IPv4 or IPv6 header
)

// Block types (section 10.1).
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
)

// Options (section 3.5 and those of each block).
const (
	optEnd         = 0
	optComment     = 1
	optHardware    = 2 // shb_hardware
	optOS          = 3 // shb_os
	optApplication = 4 // shb_userappl
	optName        = 2 // if_name
	optTSResol     = 9 // if_tsresol
	optFilter      = 11
	optReceived    = 4 // isb_ifrecv
	optDropped     = 5 // isb_ifdrop
)

// maxComment bounds a comment, so that its length fits an option.
const maxComment = 0xfff0

// Writer writes one section. It is for one goroutine.
type Writer struct {
	w          io.Writer
	buf        []byte
	interfaces int
	err        error
}

// Interface is a device that packets come from.
type Interface struct {
	Name    string
	Link    LinkType
	Snaplen uint32 // bytes kept of each packet; 0: all
	Filter  string // in words; empty: none
}

// NewWriter begins a section; application is the program's name and version.
func NewWriter(w io.Writer, application, comment string) (*Writer, error) {
	p := &Writer{w: w}
	b := p.begin(blockSection)
	b = binary.LittleEndian.AppendUint32(b, 0x1A2B3C4D)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // length not given
	b = option(b, optApplication, application)
	b = option(b, optComment, comment)
	return p, p.end(b)
}

// AddInterface declares a device and returns its number.
func (p *Writer) AddInterface(i Interface) (int, error) {
	b := p.begin(blockInterface)
	b = binary.LittleEndian.AppendUint16(b, uint16(i.Link))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, i.Snaplen)
	b = option(b, optName, i.Name)
	b = optionBytes(b, optTSResol, []byte{9}) // nanoseconds
	if i.Filter != "" {
		b = optionBytes(b, optFilter, append([]byte{0}, cut(i.Filter)...))
	}
	p.interfaces++
	return p.interfaces - 1, p.end(b)
}

// Packet writes one packet of interface n: data is what was kept of length bytes.
func (p *Writer) Packet(n int, at time.Time, data []byte, length int, comment string) error {
	if n < 0 || n >= p.interfaces {
		return fmt.Errorf("pcapng: packet of interface %d, of which %d are declared", n, p.interfaces)
	}
	if length < len(data) {
		return fmt.Errorf("pcapng: packet of %d bytes with %d kept", length, len(data))
	}
	b := p.begin(blockPacket)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = stamp(b, at)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	b = pad(append(b, data...))
	b = option(b, optComment, comment)
	return p.end(b)
}

// Names writes the names of addresses; those without a name are left out.
func (p *Writer) Names(names []Name) error {
	b := p.begin(blockNames)
	for _, n := range names {
		kind, addr := uint16(1), n.Addr.Unmap().AsSlice()
		if len(addr) == 16 {
			kind = 2
		}
		if len(addr) == 0 || n.Name == "" {
			continue
		}
		value := append(append([]byte(nil), addr...), cut(n.Name)...)
		value = append(value, 0)
		b = binary.LittleEndian.AppendUint16(b, kind)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		b = pad(append(b, value...))
	}
	b = binary.LittleEndian.AppendUint32(b, 0) // nrb_record_end
	return p.end(b)
}

// Name is an address with its name.
type Name struct {
	Addr netip.Addr
	Name string
}

// Statistics writes what interface n received and dropped.
func (p *Writer) Statistics(n int, at time.Time, received, dropped uint64) error {
	if n < 0 || n >= p.interfaces {
		return fmt.Errorf("pcapng: statistics of interface %d, of which %d are declared", n, p.interfaces)
	}
	b := p.begin(blockStatistics)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = stamp(b, at)
	b = optionBytes(b, optReceived, binary.LittleEndian.AppendUint64(nil, received))
	b = optionBytes(b, optDropped, binary.LittleEndian.AppendUint64(nil, dropped))
	return p.end(b)
}

// begin starts a block; its length is filled in by end.
func (p *Writer) begin(kind uint32) []byte {
	b := binary.LittleEndian.AppendUint32(p.buf[:0], kind)
	return append(b, 0, 0, 0, 0)
}

// end closes a block and writes it. After a failed write every later one fails too: the
// file would hold half a block in its middle.
func (p *Writer) end(b []byte) error {
	if p.err != nil {
		return p.err
	}
	kind := binary.LittleEndian.Uint32(b)
	if kind != blockNames { // the options of a name block may be absent, and here they are
		b = binary.LittleEndian.AppendUint32(b, optEnd)
	}
	n := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], n)
	b = binary.LittleEndian.AppendUint32(b, n)
	p.buf = b
	if _, err := p.w.Write(b); err != nil {
		p.err = err
	}
	return p.err
}

func stamp(b []byte, at time.Time) []byte {
	ns := uint64(at.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(ns))
}

func option(b []byte, code uint16, text string) []byte {
	if text == "" {
		return b
	}
	return optionBytes(b, code, cut(text))
}

func optionBytes(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

// cut bounds a text, at the end of a character (options are UTF-8).
func cut(s string) []byte {
	if len(s) <= maxComment {
		return []byte(s)
	}
	n := maxComment
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return []byte(s[:n])
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

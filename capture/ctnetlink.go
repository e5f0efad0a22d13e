package capture

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/flow"
)

// A message of ctnetlink (linux/netlink.h, linux/netfilter/nfnetlink.h and
// nfnetlink_conntrack.h): a header of netlink, one of nfnetlink, and attributes.
const (
	nlHeader, nfHeader = 16, 4
	nlAlign            = 4
	subsysCT           = 1 // NFNL_SUBSYS_CTNETLINK, the type's high byte
	ctNew, ctDelete    = 0, 2
	nlExcl, nlCreate   = 0x200, 0x400 // flags that only a new entry has
	attrKind           = 0x3fff       // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

	ctaOrig, ctaReply, ctaProtoInfo, ctaID = 1, 2, 4, 12
	ctaIP, ctaProto                        = 1, 2
	ctaV4Src, ctaV4Dst, ctaV6Src, ctaV6Dst = 1, 2, 3, 4
	ctaProtoNum, ctaSrcPort, ctaDstPort    = 1, 2, 3
	ctaInfoTCP, ctaTCPState                = 1, 1
)

// message is one of netlink's.
type message struct {
	kind, flags uint16
	body        []byte // behind netlink's header
}

// messages are those of a datagram, up to one that is cut off.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= nlHeader {
			size := binary.NativeEndian.Uint32(b)
			if size < nlHeader || uint64(size) > uint64(len(b)) {
				return
			}
			m := message{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), b[nlHeader:size]}
			if b = after(b, int(size)); !yield(m) {
				return
			}
		}
	}
}

// attributes are those of a message or an attribute, up to one that is cut off.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= nlAlign {
			size := int(binary.NativeEndian.Uint16(b))
			if size < nlAlign || size > len(b) {
				return
			}
			kind, body := binary.NativeEndian.Uint16(b[2:])&attrKind, b[nlAlign:size]
			if b = after(b, size); !yield(kind, body) {
				return
			}
		}
	}
}

// after is what follows so many bytes and what fills them up.
func after(b []byte, size int) []byte {
	return b[min(len(b), (size+nlAlign-1)/nlAlign*nlAlign):]
}

// event reads an event of a flow of TCP or UDP; false: it is none. Its time and Ref are the
// caller's.
func (m message) event(o *flow.Observation) bool {
	switch {
	case m.kind == subsysCT<<8|ctNew && m.flags&(nlCreate|nlExcl) != 0:
		o.Event = "NEW"
	case m.kind == subsysCT<<8|ctNew:
		o.Event = "UPDATE"
	case m.kind == subsysCT<<8|ctDelete:
		o.Event = "DESTROY"
	default:
		return false
	}
	if len(m.body) < nfHeader {
		return false
	}
	o.Kind = flow.SeenConntrack
	for kind, b := range attributes(m.body[nfHeader:]) {
		switch kind {
		case ctaOrig:
			o.Tuple = tupleOf(b)
		case ctaReply:
			o.Reply = tupleOf(b)
		case ctaID:
			if len(b) >= 4 {
				o.ConntrackID = binary.BigEndian.Uint32(b)
			}
		case ctaProtoInfo:
			o.State = stateOf(b)
		}
	}
	p := o.Tuple.Proto
	return (p == flow.TCP || p == flow.UDP) && o.Tuple.Src.IsValid() && o.Tuple.Dst.IsValid()
}

func tupleOf(b []byte) (t flow.Tuple) {
	var src, dst netip.Addr
	var ports [2]uint16
	for kind, b := range attributes(b) {
		switch kind {
		case ctaIP:
			for kind, b := range attributes(b) {
				switch kind {
				case ctaV4Src, ctaV6Src:
					src, _ = netip.AddrFromSlice(b)
				case ctaV4Dst, ctaV6Dst:
					dst, _ = netip.AddrFromSlice(b)
				}
			}
		case ctaProto:
			for kind, b := range attributes(b) {
				switch {
				case kind == ctaProtoNum && len(b) >= 1:
					t.Proto = flow.Proto(b[0])
				case (kind == ctaSrcPort || kind == ctaDstPort) && len(b) >= 2:
					ports[kind-ctaSrcPort] = binary.BigEndian.Uint16(b)
				}
			}
		}
	}
	t.Src, t.Dst = netip.AddrPortFrom(src.Unmap(), ports[0]), netip.AddrPortFrom(dst.Unmap(), ports[1])
	return t
}

// stateOf is the TCP state in CTA_PROTOINFO; empty: there is none.
func stateOf(b []byte) string {
	for kind, b := range attributes(b) {
		if kind != ctaInfoTCP {
			continue
		}
		for kind, b := range attributes(b) {
			if kind == ctaTCPState && len(b) >= 1 {
				return tcpState(b[0])
			}
		}
	}
	return ""
}

// tcpState is the name that conntrack(8) prints (enum tcp_conntrack,
// linux/netfilter/nf_conntrack_tcp.h).
func tcpState(n uint8) string {
	names := [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

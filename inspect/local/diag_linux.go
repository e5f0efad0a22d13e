package local

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

// Numbers of sock_diag(7): include/uapi/linux/inet_diag.h.
const (
	attrSKV6Only   = 11 // INET_DIAG_SKV6ONLY
	attrSockOpt    = 22 // INET_DIAG_SOCKOPT: struct inet_diag_sockopt
	optTransparent = 1 << 5
)

// diagnose reads the TCP and UDP sockets of a namespace. It needs no power.
func diagnose(space *netns.Space) ([]socket, error) {
	var all []socket
	err := space.Do(func() error {
		fd, err := capture.OpenDiag()
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		devices, err := deviceNames()
		if err != nil {
			return err
		}
		for _, proto := range []flow.Proto{flow.TCP, flow.UDP} {
			for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
				some, err := dumpSockets(fd, family, proto, devices)
				if err != nil {
					return fmt.Errorf("%s: %w", proto, err)
				}
				all = append(all, some...)
			}
		}
		return nil
	})
	return all, err
}

// deviceNames are the devices of the namespace that this thread is in, by number.
func deviceNames() (map[uint32]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := map[uint32]string{}
	for _, d := range all {
		names[uint32(d.Index)] = d.Name
	}
	return names, nil
}

// maxSockets bounds the table: a namespace with more is not a pod.
const maxSockets = 1 << 20

// dumpSockets asks for all sockets of one family and protocol, and reads the answer.
func dumpSockets(fd int, family uint8, proto flow.Proto, devices map[uint32]string) ([]socket, error) {
	var out []socket
	err := capture.DumpSockets(fd, family, proto, capture.AllStates, func(b []byte) error {
		if s, ok := diagMessage(b, proto); ok {
			s.device = devices[s.index]
			out = append(out, s)
		}
		if len(out) > maxSockets {
			return fmt.Errorf("more than %d sockets", maxSockets)
		}
		return nil
	})
	return out, err
}

// diagMessage reads a struct inet_diag_msg and the attributes behind it.
func diagMessage(b []byte, proto flow.Proto) (socket, bool) {
	if len(b) < capture.DiagSize {
		return socket{}, false
	}
	ne := binary.NativeEndian
	s := socket{proto: proto, state: b[1], v6: b[0] == syscall.AF_INET6}
	s.dual = s.v6 // the attribute takes it back; kernels before 4.10 do not send it
	s.local = diagAddr(b[8:], binary.BigEndian.Uint16(b[4:]), s.v6)
	s.peer = diagAddr(b[24:], binary.BigEndian.Uint16(b[6:]), s.v6)
	s.index = ne.Uint32(b[40:])
	s.recvQ, s.sendQ, s.uid, s.inode = ne.Uint32(b[56:]), ne.Uint32(b[60:]), ne.Uint32(b[64:]), ne.Uint32(b[68:])
	for rest := b[capture.DiagSize:]; len(rest) >= 4; {
		n, kind := int(ne.Uint16(rest)), ne.Uint16(rest[2:])
		if n < 4 || n > len(rest) {
			break
		}
		value := rest[4:n]
		switch {
		case kind == attrSKV6Only && len(value) >= 1:
			s.dual = value[0] == 0
		case kind == attrSockOpt && len(value) >= 1:
			s.options, s.transparent = true, value[0]&optTransparent != 0
		}
		rest = rest[min((n+3)&^3, len(rest)):]
	}
	return s, true
}

func diagAddr(b []byte, port uint16, v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
}

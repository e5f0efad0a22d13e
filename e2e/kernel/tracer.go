package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// tracer hears what the kernel says of a traced packet: nf_tables' rules by
// NFNLGRP_NFTRACE (net/netfilter/nf_tables_trace.c), legacy rules by the log
// that a traced packet gets in ip_tables (net/ipv4/netfilter/ip_tables.c,
// trace_packet), sent to nfnetlink_log group 0.
type tracer struct{ nft, log int }

// traceTable switches tracing on before every other hook, and ends every way with a chain
// whose only event says how the packet looks when all other hooks have seen it.
const traceTable = "meshtop-trace"

const traceRules = `table inet meshtop-trace {
 chain pre { type filter hook prerouting priority -400; tcp flags & (fin|syn|rst|ack) == syn meta nftrace set 1
  meta l4proto udp meta nftrace set 1
 }
 chain out { type filter hook output priority -400; tcp flags & (fin|syn|rst|ack) == syn meta nftrace set 1
  meta l4proto udp meta nftrace set 1
 }
 chain end-in { type filter hook input priority 1000; }
 chain end-out { type filter hook postrouting priority 1000; }
}
`

func (l *Lab) openTracer() error {
	l.tracer = &tracer{-1, -1}
	return l.pod.do(l.tracer.open)
}

// open opens both sockets; the thread is in the namespace.
func (t *tracer) open() error {
	for _, fd := range []*int{&t.nft, &t.log} {
		var err error
		if *fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		if err := unix.SetsockoptInt(*fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		if err := unix.Bind(*fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(t.nft, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTRACE); err != nil {
		return fmt.Errorf("join the trace group: %w", err)
	}
	return bindLog(t.log)
}

// bindLog makes nfnetlink_log the logger of both families in this namespace, and group 0,
// where traces go, ours, each message sent at once (net/netfilter/nfnetlink_log.c).
func bindLog(fd int) error {
	const (
		cfgCmd, cfgMode, cfgThresh = 1, 2, 5 // NFULA_CFG_CMD, _MODE, _QTHRESH
		cmdBind, cmdPFBind         = 1, 3    // NFULNL_CFG_CMD_BIND, _PF_BIND
		copyPacket                 = 2       // NFULNL_COPY_PACKET
	)
	for _, m := range []struct {
		family byte
		attr   []byte
	}{
		{unix.AF_INET, attr(cfgCmd, cmdPFBind)},
		{unix.AF_INET6, attr(cfgCmd, cmdPFBind)},
		{unix.AF_UNSPEC, attr(cfgCmd, cmdBind)},
		{unix.AF_UNSPEC, attr(cfgMode, 0, 0, 0, 128, copyPacket, 0)},
		{unix.AF_UNSPEC, attr(cfgThresh, 0, 0, 0, 1)},
	} {
		if err := ask(fd, unix.NFNL_SUBSYS_ULOG<<8|1, append([]byte{m.family, 0, 0, 0}, m.attr...)); err != nil {
			return fmt.Errorf("bind the packet log: %w", err)
		}
	}
	return nil
}

// ask sends one netlink request and reads its acknowledgement.
func ask(fd int, kind uint16, body []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...)
	if err := unix.Sendto(fd, append(b, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		ms, err := receive(fd, 0)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if m.kind == unix.NLMSG_ERROR && len(m.body) >= 4 {
				if e := int32(binary.NativeEndian.Uint32(m.body)); e != 0 {
					return unix.Errno(-e)
				}
				return nil
			}
		}
	}
}

type message struct {
	kind uint16
	body []byte
}

// receive reads one datagram of netlink messages.
func receive(fd, flags int) ([]message, error) {
	buf := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(fd, buf, flags)
	if err != nil {
		return nil, err
	}
	var out []message
	for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			break
		}
		out = append(out, message{binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size]})
		b = b[min((size+3)&^3, len(b)):]
	}
	return out, nil
}

// drain reads all events that wait. A full socket is an error: events were lost.
func (t *tracer) drain(ix index) ([]Event, error) {
	var out []Event
	for _, s := range []struct {
		fd    int
		parse func(message, index) (Event, bool)
	}{{t.log, logEvent}, {t.nft, nftEvent}} {
		for {
			ms, err := receive(s.fd, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read the trace: %w", err)
			}
			for _, m := range ms {
				if e, ok := s.parse(m, ix); ok {
					out = append(out, e)
				}
			}
		}
	}
	return out, nil
}

func (t *tracer) close() {
	if t != nil {
		closeAll([]int{t.nft, t.log})
		t.nft, t.log = -1, -1
	}
}

// nftEvent reads NFT_MSG_TRACE (linux/netfilter/nf_tables.h, enum nft_trace_attributes).
func nftEvent(m message, ix index) (Event, bool) {
	if m.kind != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE || len(m.body) < 4 {
		return Event{}, false
	}
	a := attrs(m.body[4:])
	e := Event{Family: familyName(m.body[0]), Table: text(a[unix.NFTA_TRACE_TABLE]), Chain: text(a[unix.NFTA_TRACE_CHAIN])}
	e.Src, e.Dst = header(a[unix.NFTA_TRACE_NETWORK_HEADER], a[unix.NFTA_TRACE_TRANSPORT_HEADER])
	e.In, e.Out, e.Mark = be32(a[unix.NFTA_TRACE_IIF]), be32(a[unix.NFTA_TRACE_OIF]), be32(a[unix.NFTA_TRACE_MARK])
	switch be32(a[unix.NFTA_TRACE_TYPE]) {
	case unix.NFT_TRACETYPE_RULE:
		h := a[unix.NFTA_TRACE_RULE_HANDLE]
		if len(h) == 8 {
			e.Rule = ix.number(e.Family, e.Table, e.Chain, binary.BigEndian.Uint64(h))
		}
		e.Verdict = int32(be32(attrs(a[unix.NFTA_TRACE_VERDICT])[unix.NFTA_VERDICT_CODE]))
	case unix.NFT_TRACETYPE_POLICY:
		e.Policy = true
		e.Verdict = int32(be32(a[unix.NFTA_TRACE_POLICY]))
	default:
		return Event{}, false // a return at the end of a chain says nothing new
	}
	return e, true
}

func familyName(f byte) string {
	switch f {
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_INET:
		return "inet"
	}
	return fmt.Sprint("family ", f)
}

// logEvent reads NFULNL_MSG_PACKET whose prefix is "TRACE: TABLE:CHAIN:KIND:NUMBER ".
// The kernel calls a rule "policy" or "return" too when it is unconditional, so the number
// of the chain's rules decides.
func logEvent(m message, ix index) (Event, bool) {
	const hdr, mark, iif, oif, payload, prefix = 1, 2, 4, 5, 9, 10 // NFULA_*
	if m.kind != unix.NFNL_SUBSYS_ULOG<<8 || len(m.body) < 4 {
		return Event{}, false
	}
	a := attrs(m.body[4:])
	p, ok := strings.CutPrefix(text(a[prefix]), "TRACE: ")
	f := strings.Split(strings.TrimSpace(p), ":")
	if !ok || len(f) < 4 {
		return Event{}, false
	}
	e := Event{Legacy: true, Family: familyName(m.body[0]), Table: f[0], Chain: strings.Join(f[1:len(f)-2], ":")}
	e.Mark, e.In, e.Out = be32(a[mark]), be32(a[iif]), be32(a[oif])
	if b := a[payload]; len(b) > 0 {
		n := 40
		if b[0]>>4 == 4 {
			n = int(b[0]&15) * 4
		}
		e.Src, e.Dst = header(b, b[min(n, len(b)):])
	}
	fmt.Sscan(f[len(f)-1], &e.Rule)
	if e.Rule > ix.legacy[e.Family+" "+e.Table+" "+e.Chain] {
		if f[len(f)-2] != "policy" {
			return Event{}, false
		}
		e.Rule, e.Policy = 0, true
	}
	return e, true
}

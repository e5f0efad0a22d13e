package netfilter

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/flow"
)

// hook is a place in the kernel's path (include/uapi/linux/netfilter.h, nf_inet_hooks).
type hook uint8

const (
	prerouting hook = iota
	input
	forward
	output
	postrouting
	hooks
)

var hookNames = [hooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// String is the name of the hook's iptables chain.
func (h hook) String() string {
	if h < hooks {
		return hookNames[h]
	}
	return ""
}

// Protocols that the evaluator looks into (IANA).
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// TCP header flags (RFC 9293).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
)

// owner says which socket a packet has (skb->sk).
type owner uint8

const (
	noSocket     owner = iota // from the wire, or come out of a device
	kernelSocket              // the kernel's own: a socket that no file holds
	fileSocket                // a process's
)

// tuple is what conntrack knows a direction by.
type tuple struct {
	src, dst     ip
	sport, dport uint16
}

// connState is the conntrack entry that a packet carries.
type connState uint8

const (
	noConn    connState = iota // not looked at (yet)
	untracked                  // notrack took effect
	template                   // raw rules gave it a zone; conntrack will make it new
	newConn                    // the first packet of a connection
)

// conn is a packet's conntrack entry. Valid beyond state and zone iff state is newConn
// (of a template, only mark).
type conn struct {
	state              connState
	orig               tuple // as first seen
	mark               uint32
	zoneOrig, zoneRepl uint16
	zoneFromMark       bool
	// markUnknown: a rule's template is one for all packets, and keeps the mark that
	// CONNMARK gave it for an earlier one.
	markUnknown      bool
	dnat, snat       bool // IPS_DST_NAT, IPS_SRC_NAT: the mapping changed something
	dstDone, srcDone bool // nat ran for this side
	confirmed        bool
}

// packet is the state that rules look at and change.
type packet struct {
	tuple
	v6         bool
	srcUnknown bool // addresses were not read: src is not known
	srcAway    bool // valid iff srcUnknown: it is another host's address, of IPv4 and not of 127.0.0.0/8
	proto      uint8
	tcpFlags   uint8 // valid iff proto is TCP
	hook       hook
	in, out    string // of the hook; empty: none
	sock       owner
	uid, gid   uint32 // valid iff sock is fileSocket
	mark       uint32
	ct         conn
	// assigned: TPROXY bound the packet to a listener at this address and port.
	assigned netip.AddrPort
	listener Socket // valid iff assigned is
	host     *Host
}

func (p *packet) srcPort() netip.AddrPort { return netip.AddrPortFrom(p.src.addr(p.v6), p.sport) }
func (p *packet) dstPort() netip.AddrPort { return netip.AddrPortFrom(p.dst.addr(p.v6), p.dport) }

// hasPorts says whether the first four bytes of the payload are ports.
func (p *packet) hasPorts() bool {
	switch p.proto {
	case protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		return true
	}
	return false
}

// reply is the reply direction as NAT has made it so far.
func (p *packet) reply() tuple {
	return tuple{src: p.dst, dst: p.src, sport: p.dport, dport: p.sport}
}

// direction is one direction of the connection. A template, which raw rules put in its
// place, has no addresses (nf_ct_tmpl_alloc).
func (p *packet) direction(reply bool) tuple {
	switch {
	case p.ct.state != newConn:
		return tuple{}
	case reply:
		return p.reply()
	}
	return p.ct.orig
}

// connProto is the connection's protocol; a template has none.
func (p *packet) connProto() uint8 {
	if p.ct.state != newConn {
		return 0
	}
	return p.proto
}

// conn is the packet as a trace shows it.
func (p *packet) conn() flow.Conn {
	c := flow.Conn{Src: p.srcPort(), Dst: p.dstPort(), Proto: flow.Proto(p.proto), In: p.in, Out: p.out, Mark: p.mark}
	if p.sock == fileSocket {
		c.UID, c.GID = p.uid, p.gid
	}
	return c
}

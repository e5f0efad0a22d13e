package enforce

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/ti-mo/conntrack"
)

// directions tells a connection that came into the pod from one that left it. The socket does
// not: a server that drains has closed its listener, and what it accepted lives on.
type directions struct {
	cameIn      map[[2]netip.AddrPort]bool // by local and far end, as conntrack saw it begin
	first, last uint16                     // the ports that the kernel draws for who connects
}

// directions reads what conntrack and the namespace know. It runs inside the namespace. Where
// there is no conntrack, only the ports tell.
func (e *Enforcer) directions() (*directions, error) {
	d := &directions{cameIn: map[[2]netip.AddrPort]bool{}}
	const path = "/proc/sys/net/ipv4/ip_local_port_range" // of IPv6 too
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read which ports are drawn for connections: %w", err)
	}
	if _, err := fmt.Sscan(string(text), &d.first, &d.last); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c, err := e.tracked()
	if err != nil {
		return d, nil
	}
	defer c.Close()
	all, err := c.Dump(nil)
	if err != nil {
		return d, nil
	}
	for i := range all {
		d.add(&all[i])
	}
	return d, nil
}

// liberal is IP_CT_TCP_FLAG_BE_LIBERAL (linux/netfilter/nf_conntrack_tcp.h) in the first byte of
// struct nf_ct_tcp_flags. Conntrack sets it for both sides of a connection that it did not see
// begin (tcp_new in nf_conntrack_proto_tcp.c): of such a one it knows who spoke first since, and
// not who began.
const liberal = 0x08 << 8

// add notes a connection by its ends as a socket of the pod has them. Of what came in, the answer
// leaves from the socket's end, whatever address the client had asked for.
func (d *directions) add(f *conntrack.Flow) {
	tcp := f.ProtoInfo.TCP
	if tcp == nil || tcp.OriginalFlags&liberal != 0 && tcp.ReplyFlags&liberal != 0 {
		return
	}
	r := f.TupleReply
	answer := [2]netip.AddrPort{netip.AddrPortFrom(r.IP.SourceAddress, r.Proto.SourcePort), netip.AddrPortFrom(r.IP.DestinationAddress, r.Proto.DestinationPort)}
	d.cameIn[origin(f)] = false
	d.cameIn[answer] = true
}

// inbound says whether the pod's socket was accepted. Where conntrack did not see the connection
// begin, one whose port is listened on was, or whose port nobody draws who connects.
func (d *directions) inbound(c conn, listening map[uint16]bool) bool {
	if in, known := d.cameIn[[2]netip.AddrPort{c.local, c.far}]; known {
		return in
	}
	port := c.local.Port()
	return listening[port] || port < d.first || port > d.last
}

package enforce

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// tracked opens conntrack inside the namespace.
func (e *Enforcer) tracked() (*conntrack.Conn, error) {
	var c *conntrack.Conn
	err := e.space.Do(func() error {
		var err error
		c, err = conntrack.Dial(nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return c, nil
}

// births hears of every connection that conntrack begins to track.
type births struct{ conn *netlink.Conn }

// conntrackNew is NFNLGRP_CONNTRACK_NEW (linux/netfilter/nfnetlink.h).
const conntrackNew = 1

// listen begins to listen: the kernel keeps what comes from here on.
func (e *Enforcer) listen() (*births, error) {
	b := &births{}
	err := e.space.Do(func() error {
		var err error
		b.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open conntrack's events: %w", err)
	}
	if err := b.conn.JoinGroup(conntrackNew); err != nil {
		return nil, errors.Join(fmt.Errorf("open conntrack's events: %w", err), b.conn.Close())
	}
	return b, nil
}

// of is the connection between two ends, which has begun by now.
func (b *births) of(src, dst netip.AddrPort) (conntrack.Flow, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(quick)); err != nil {
		return conntrack.Flow{}, err
	}
	for {
		messages, err := b.conn.Receive()
		if err != nil {
			return conntrack.Flow{}, fmt.Errorf("conntrack told of no such connection: %w", err)
		}
		for _, m := range messages {
			var ev conntrack.Event
			if ev.Unmarshal(m) == nil && ev.Flow != nil && origin(ev.Flow) == [2]netip.AddrPort{src, dst} {
				return *ev.Flow, nil
			}
		}
	}
}

// origin are the ends that a connection was begun with.
func origin(f *conntrack.Flow) [2]netip.AddrPort {
	t := f.TupleOrig
	return [2]netip.AddrPort{netip.AddrPortFrom(t.IP.SourceAddress, t.Proto.SourcePort), netip.AddrPortFrom(t.IP.DestinationAddress, t.Proto.DestinationPort)}
}

// unmangled says whether conntrack has the socket's connection to dst with dst as the other
// end: nothing translated it to the proxy. Of a connection that was refused only its birth
// tells, since its entry is gone with it.
func (e *Enforcer) unmangled(fd int, dst netip.AddrPort, b *births) (bool, error) {
	at, err := unix.Getsockname(fd)
	if err != nil {
		return false, err
	}
	var src netip.AddrPort
	switch a := at.(type) {
	case *unix.SockaddrInet4:
		src = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		src = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	f, err := b.of(src, dst)
	if err != nil {
		return false, err
	}
	return f.TupleReply.IP.SourceAddress == dst.Addr() && f.TupleReply.Proto.SourcePort == dst.Port(), nil
}

// TCP states of conntrack whose connection is over (enum tcp_conntrack).
const (
	trackTimeWait = 7
	trackClose    = 8
)

// forget deletes the entries of connections that are over and whose port might be used
// anew: the next connection of the same two ends would go the way that the entry tells.
// Entries of connections that live are never touched.
func (e *Enforcer) forget(over func(conntrack.Flow) bool) (int, error) {
	c, err := e.tracked()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	all, err := c.Dump(nil)
	if err != nil {
		return 0, fmt.Errorf("list conntrack: %w", err)
	}
	n := 0
	for _, f := range all {
		tcp := f.ProtoInfo.TCP
		if tcp == nil || tcp.State != trackTimeWait && tcp.State != trackClose || !over(f) {
			continue
		}
		if err := c.Delete(f); err != nil && !errors.Is(err, unix.ENOENT) {
			return n, fmt.Errorf("delete a dead entry of conntrack: %w", err)
		}
		n++
	}
	return n, nil
}

// captured are dead connections that were redirected to the proxy.
func captured(capture []uint16) func(conntrack.Flow) bool {
	return func(f conntrack.Flow) bool {
		return slices.Contains(capture, f.TupleReply.Proto.SourcePort) && f.TupleReply.IP.SourceAddress != f.TupleOrig.IP.DestinationAddress
	}
}

// wentAround are dead connections that the policy let around the proxy.
func wentAround(c flow.Change) func(conntrack.Flow) bool {
	return func(f conntrack.Flow) bool {
		dst := netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress, f.TupleOrig.Proto.DestinationPort)
		return f.TupleReply.IP.SourceAddress == dst.Addr() && f.TupleReply.Proto.SourcePort == dst.Port() && opens(c, dst)
	}
}

// opens says whether allow-all lets a destination around the proxy.
func opens(c flow.Change, dst netip.AddrPort) bool {
	return c.Kind == flow.AllowAll && (c.All || covers(c.Open, dst)) && !covers(c.Except, dst)
}

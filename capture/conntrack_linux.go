package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"

	"github.com/meshtop/meshtop/rules/flow"
)

// tracker listens for conntrack events (nfnetlink, NFNLGRP_CONNTRACK_*).
type tracker struct {
	conn   *conntrack.Conn
	events chan conntrack.Event
	errs   chan error
	once   sync.Once
}

// openTracker listens in the calling thread's network namespace. It needs CAP_NET_ADMIN
// there. Events come only while some rule of the namespace uses conntrack.
func openTracker() (*tracker, error) {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("conntrack events: %w", err)
	}
	t := &tracker{conn: c, events: make(chan conntrack.Event, 1024)}
	// The kernel drops events when the socket's buffer is full, and says so by ENOBUFS.
	_ = c.SetReadBuffer(8 << 20)
	t.errs, err = c.Listen(t.events, 1, []netfilter.NetlinkGroup{netfilter.GroupCTNew, netfilter.GroupCTUpdate, netfilter.GroupCTDestroy})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("conntrack events (needs CAP_NET_ADMIN): %w", err), c.Close())
	}
	return t, nil
}

func (t *tracker) close() error {
	var err error
	t.once.Do(func() { err = t.conn.Close() })
	return err
}

// observeEvent is an event as an observation; ok is false for one that concerns no TCP or
// UDP flow.
func observeEvent(e conntrack.Event, at time.Time) (o flow.Observation, ok bool) {
	f := e.Flow
	if f == nil {
		return o, false
	}
	proto := flow.Proto(f.TupleOrig.Proto.Protocol)
	if proto != flow.TCP && proto != flow.UDP {
		return o, false
	}
	o = flow.Observation{Kind: flow.SeenConntrack, At: at, Ref: "conntrack id " + strconv.FormatUint(uint64(f.ID), 10), ConntrackID: f.ID,
		Tuple: tupleOf(f.TupleOrig), Reply: tupleOf(f.TupleReply)}
	switch e.Type {
	case conntrack.EventNew:
		o.Event = "NEW"
	case conntrack.EventUpdate:
		o.Event = "UPDATE"
	case conntrack.EventDestroy:
		o.Event = "DESTROY"
	default:
		return o, false
	}
	if f.ProtoInfo.TCP != nil {
		o.State = tcpState(f.ProtoInfo.TCP.State)
	}
	return o, true
}

func tupleOf(t conntrack.Tuple) flow.Tuple {
	return flow.Tuple{
		Src: netip.AddrPortFrom(t.IP.SourceAddress.Unmap(), t.Proto.SourcePort),
		Dst: netip.AddrPortFrom(t.IP.DestinationAddress.Unmap(), t.Proto.DestinationPort), Proto: flow.Proto(t.Proto.Protocol)}
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

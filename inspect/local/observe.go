package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/inspect/probe"
	"github.com/meshtop/meshtop/rules/flow"
)

// Send makes one real request from inside the namespace, as the uid and gid that it asks
// for. Where this process may not take them, it is made as this process's own, and Sent
// says so: an owner's rule may treat that one differently.
func (p *Pod) Send(ctx context.Context, r flow.Request) (inspect.Sent, error) {
	if r.Dir == flow.Inbound {
		return inspect.Sent{}, fmt.Errorf("%s: send: an inbound request comes from outside: %w", p.name, inspect.ErrReadOnly)
	}
	var own bool
	res, err := probe.Do(ctx, func(ctx context.Context, src, dst netip.AddrPort, proto flow.Proto) (net.Conn, error) {
		var conn net.Conn
		d := net.Dialer{LocalAddr: localAddr(src, proto), Control: marked(r.Mark)}
		dial := func() error {
			var err error
			conn, err = d.DialContext(ctx, proto.String(), dst.String())
			return err
		}
		err := p.space.DoAs(r.UID, r.GID, dial)
		if conn == nil && errors.Is(err, netns.ErrNoPower) {
			own = true
			err = p.space.Do(dial)
		}
		return conn, err
	}, r)
	if err != nil {
		err = fmt.Errorf("%s: send: %w", p.name, err)
	}
	s := inspect.Sent{Symptom: res.Symptom, Local: res.Local, Took: res.Took, Note: res.Note}
	if own {
		s.Own, s.UID, s.GID = true, uint32(os.Geteuid()), uint32(os.Getegid())
	}
	return s, err
}

// localAddr is the source that a request asks for; nil: the kernel chooses.
func localAddr(src netip.AddrPort, proto flow.Proto) net.Addr {
	switch {
	case !src.Addr().IsValid() || src.Addr().IsUnspecified() && src.Port() == 0:
		return nil
	case proto == flow.UDP:
		return net.UDPAddrFromAddrPort(src)
	}
	return net.TCPAddrFromAddrPort(src)
}

package local

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/probe"
	"github.com/meshtop/meshtop/rules/flow"
)

// Send makes one real request from inside the namespace, as the uid and gid that it asks
// for. Where this process may not take them, the request is not sent: the rules could
// treat it differently.
func (p *Pod) Send(ctx context.Context, r flow.Request) (inspect.Sent, error) {
	if r.Dir == flow.Inbound {
		return inspect.Sent{}, fmt.Errorf("%s: send: an inbound request comes from outside: %w", p.name, inspect.ErrReadOnly)
	}
	res, err := probe.Do(ctx, func(ctx context.Context, src, dst netip.AddrPort, proto flow.Proto) (net.Conn, error) {
		var conn net.Conn
		err := p.space.DoAs(r.UID, r.GID, func() error {
			d := net.Dialer{}
			if src.Addr().IsValid() && !src.Addr().IsUnspecified() {
				d.LocalAddr = net.TCPAddrFromAddrPort(src)
			}
			var err error
			conn, err = d.DialContext(ctx, proto.String(), dst.String())
			return err
		})
		return conn, err
	}, r)
	if err != nil {
		err = fmt.Errorf("%s: send: %w", p.name, err)
	}
	return inspect.Sent(res), err
}

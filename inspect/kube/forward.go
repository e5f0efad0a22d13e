package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect/admin"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forwarded is the pod by a port-forward: Envoy's half.
func (c *cluster) forwarded(o *v1.Pod) *lesser {
	e := &envoy{dial: c.forward(o), at: admins(o)}
	return &lesser{cluster: c, object: o, way: "by port-forward", brings: "Envoy's half and nothing of the kernel's", close: e.close, read: func(ctx context.Context, l *look) {
		l.lack(kernelParts, outside("a port-forward"))
		e.read(ctx, l)
	}}
}

// forward opens connections to ports of the pod's loopback, each by a port-forward of its own,
// and listens nowhere: a listening port would be open to every user of this machine. By
// WebSocket, else by SPDY, as exec.
func (c *cluster) forward(o *v1.Pod) admin.Dialer {
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		dialer, err := c.forwarder(o)
		if err != nil {
			return nil, err
		}
		type dialed struct {
			conn net.Conn
			err  error
		}
		done := make(chan dialed, 1)
		go func() {
			conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
			if err != nil {
				done <- dialed{nil, err}
				return
			}
			tunnel, err := newTunnel(conn, to)
			done <- dialed{tunnel, err}
		}()
		select {
		case d := <-done:
			if d.err != nil {
				return nil, fmt.Errorf("port-forward: %w", d.err)
			}
			return d.conn, nil
		case <-ctx.Done():
			go func() { // client-go's dialers know no context
				if d := <-done; d.err == nil {
					_ = d.conn.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

func (c *cluster) forwarder(o *v1.Pod) (httpstream.Dialer, error) {
	core, err := c.api.client(pods.group)
	if err != nil {
		return nil, err
	}
	url := core.Post().Resource(pods.plural).Namespace(o.Namespace).Name(o.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.api.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.api.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(socket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// tunnel is one forwarded connection. Whether anybody listens is told on a stream of its own,
// after the connection seems to stand.
type tunnel struct {
	httpstream.Stream // of the bytes
	conn              httpstream.Connection
	to                netip.AddrPort
	told              chan struct{} // closed when why is set
	why               error         // what the other side said; nil: nothing
	once              sync.Once
}

func newTunnel(conn httpstream.Connection, to netip.AddrPort) (net.Conn, error) {
	h := http.Header{}
	h.Set(v1.StreamType, v1.StreamTypeError)
	h.Set(v1.PortHeader, strconv.Itoa(int(to.Port())))
	h.Set(v1.PortForwardRequestIDHeader, "0")
	said, err := conn.CreateStream(h)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = said.Close() // nothing is written to it
	h.Set(v1.StreamType, v1.StreamTypeData)
	data, err := conn.CreateStream(h)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	t := &tunnel{Stream: data, conn: conn, to: to, told: make(chan struct{})}
	go func() {
		defer close(t.told)
		text, err := io.ReadAll(io.LimitReader(said, 4096))
		if len(text) > 0 {
			t.why = errors.New(refusal(to, string(text)))
			_ = conn.Close() // a read that waits ends
		} else if err != nil {
			t.why = err
		}
	}()
	return t, nil
}

// refusal is what kubelet said of a port, without the names of sandboxes.
func refusal(to netip.AddrPort, text string) string {
	if strings.Contains(text, "connection refused") {
		return fmt.Sprintf("connection refused: nothing listens on port %d of the pod's loopback", to.Port())
	}
	return joinLines([]string{strings.TrimSpace(text)})
}

// Read reads what comes; where it ends, the reason that the other side gave.
func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.Stream.Read(b)
	if err == nil {
		return n, nil
	}
	select {
	case <-t.told:
		if t.why != nil {
			return n, t.why
		}
	case <-time.After(leave):
	}
	return n, err
}

// Close ends the connection; it may be called twice.
func (t *tunnel) Close() error {
	t.once.Do(func() { _ = t.conn.Close() })
	return nil
}

// LocalAddr says that the near end is no address of this machine.
func (t *tunnel) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }

// RemoteAddr is the place in the pod.
func (t *tunnel) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(t.to) }

// SetDeadline does nothing: who waits has a context.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }

package confirm

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// fromPort makes a GET from a port of the pod's that may have been used before.
func fromPort(ctx context.Context, l *lab.Lab, port uint16, dst netip.AddrPort) (inspect.Sent, error) {
	reuse := func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return err
	}
	own := netip.AddrPortFrom(netip.MustParseAddr(lab.PodAddr), port)
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(own), Control: reuse}
	var conn net.Conn
	err := l.PodSpace().DoAs(1000, 1000, func() error {
		var err error
		conn, err = d.DialContext(ctx, "tcp", dst.String())
		return err
	})
	if err != nil {
		return inspect.Sent{}, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: " + dst.Addr().String() + "\r\n\r\n")); err != nil {
		return inspect.Sent{}, err
	}
	a, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return inspect.Sent{}, err
	}
	return inspect.Sent{Symptom: flow.Symptom{Code: a.StatusCode, TCP: flow.TCPOK}, Local: own}, a.Body.Close()
}

// Two destinations are dialled from one port, and both are redirected to one listener: the
// kernel gives the second connection another port there, and it is confirmed all the same.
func TestPortUsedTwice(t *testing.T) {
	r := raise(t, lab.Options{Scene: "mesh"}, local.Options{})
	ctx := context.Background()
	if _, err := fromPort(ctx, r.lab, 28000, netip.MustParseAddrPort("203.0.113.10:80")); err != nil {
		t.Fatal(err)
	}
	svc := caseOf(t, r, "svc").Request
	_, rep, err := session.Confirm(ctx, r.pod, r.reading, svc, session.ConfirmOptions{Send: true,
		Sender: func(ctx context.Context, q flow.Request) (inspect.Sent, error) {
			return fromPort(ctx, r.lab, 28000, q.Dst)
		}})
	if err != nil {
		t.Fatal(err)
	}
	if wrong := unseen(rep, len(rep.Steps)); rep.Word != confirm.Confirmed || len(wrong) > 0 {
		t.Errorf("%v, %q\n%s", rep.Word, wrong, render.ReportText(rep))
	}
}

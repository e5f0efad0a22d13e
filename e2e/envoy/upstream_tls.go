package envoy

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Ports on which the upstream server speaks more than HTTP/1: what a client begins with
// decides. Elsewhere these bytes are only bytes, as cases with raw payloads need them.
const (
	tlsPort = "18443" // TLS is terminated, whatever its name and protocols
	h2Port  = "18081" // HTTP/2 with prior knowledge
)

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// begin terminates TLS where the port is for it and the client begins so.
func (p *peer) begin(pair tls.Certificate) error {
	if p.port() != tlsPort {
		return nil
	}
	if err := p.more(func(b []byte) bool { return len(b) > 0 }); err != nil || p.buf[0] != 22 {
		return err
	}
	hello := new(TLS)
	t := tls.Server(&held{p.Conn, p.buf}, &tls.Config{NextProtos: []string{"h2", "http/1.1"}, ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{pair},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			hello.SNI, hello.ALPN = h.ServerName, h.SupportedProtos
			if slices.Contains(h.SupportedProtos, "h2") || slices.Contains(h.SupportedProtos, "http/1.1") {
				return nil, nil
			}
			return &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{pair}}, nil // any protocol will do
		}})
	if err := t.Handshake(); err != nil {
		return err
	}
	hello.Cert = len(t.ConnectionState().PeerCertificates) > 0
	p.Conn, p.buf, p.hello = t, nil, hello
	return nil
}

func (p *peer) port() string {
	_, port, _ := net.SplitHostPort(p.LocalAddr().String())
	return port
}

// held is a connection of which some bytes were read already.
type held struct {
	net.Conn
	first []byte
}

func (h *held) Read(b []byte) (int, error) {
	if len(h.first) > 0 {
		n := copy(b, h.first)
		h.first = h.first[n:]
		return n, nil
	}
	return h.Conn.Read(b)
}

// speaksH2 says whether the client begins with HTTP/2 where that is spoken.
func (p *peer) speaksH2() bool {
	if p.port() != h2Port && p.hello == nil {
		return false
	}
	n := func(b []byte) int { return min(len(b), len(h2Preface)) }
	p.more(func(b []byte) bool {
		return !strings.HasPrefix(h2Preface, string(b[:n(b)])) || len(b) >= len(h2Preface)
	})
	return bytes.HasPrefix(p.buf, []byte(h2Preface))
}

// serveH2 answers the requests of an HTTP/2 connection until it ends.
func (p *peer) serveH2() {
	s := http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		e := p.echo(UpstreamSide{Method: r.Method, Target: r.RequestURI, Host: r.Host, Version: "2"})
		for name, values := range r.Header {
			for _, v := range values {
				e.Req.Headers = append(e.Req.Headers, [2]string{strings.ToLower(name), v})
			}
		}
		slices.SortStableFunc(e.Req.Headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		b, _ := json.Marshal(e)
		w.Header().Set("x-eo-addr", e.Addr)
		w.Header().Set(echoHeader, e.header())
		w.Header().Set("content-length", strconv.Itoa(len(b)))
		w.Write(b)
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Serve(&single{conn: &held{p.Conn, p.buf}, ended: make(chan struct{})})
}

// single is a listener of one connection; it ends with that.
type single struct {
	conn  net.Conn
	taken bool
	ended chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return &closing{Conn: l.conn, ended: l.ended}, nil
	}
	<-l.ended
	return nil, io.EOF
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

// closing tells when it is closed.
type closing struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

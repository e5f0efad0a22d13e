package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect/netns"
)

// place is one server: where it listens and what it is.
type place struct {
	kind string // http, tls, echo, banner, udp
	name string // what it says it is
	addr string
}

// outside are the services; inPod is the app. The app's [fd00:..]:80 is a socket of its own,
// so that 0.0.0.0:80 and it are two.
var outside = []place{
	{"http", "svc", "10.107.42.16:80"}, {"http", "svc8080", "10.107.42.16:8080"}, {"http", "svc15001", "10.107.42.16:15001"},
	{"http", "v1", "10.107.42.21:80"}, {"http", "v2", "10.107.42.22:80"}, {"http", "auth", "10.107.42.30:9000"},
	{"http", "baidu", "203.0.113.10:80"}, {"http", "baidu15001", "203.0.113.10:15001"}, {"http", "svc6", "[fd00:107::16]:80"},
	{"tls", "secure", "10.0.0.9:443"}, {"echo", "echo", "10.107.42.16:7000"}, {"banner", "banner", "10.107.42.16:7001"},
	{"udp", "udp", "10.107.42.16:7002"},
}

var inPod = []place{
	{"http", "app", "0.0.0.0:80"}, {"http", "app8081", "0.0.0.0:8081"}, {"http", "app6", "[fd00:244:1::7]:80"}, {"http", "applo", "127.0.0.1:8082"},
}

// servers are what listens, and who serves it.
type servers struct {
	open []io.Closer
	wg   sync.WaitGroup
}

// serve opens the sockets of both sides: the services as root, the app as its own user.
func (l *Lab) serve() error {
	if err := l.servers.start(l.out, 0, outside); err != nil {
		return err
	}
	return l.servers.start(l.pod, AppUID, inPod)
}

func (s *servers) start(space *netns.Space, uid uint32, places []place) error {
	for _, p := range places {
		var ln net.Listener
		var pc net.PacketConn
		err := space.DoAs(uid, uid, func() error {
			var err error
			if p.kind == "udp" {
				pc, err = net.ListenPacket("udp4", p.addr)
				return err
			}
			network := "tcp4"
			if strings.HasPrefix(p.addr, "[") {
				network = "tcp6"
			}
			ln, err = net.Listen(network, p.addr)
			return err
		})
		if err != nil {
			return err
		}
		if pc != nil {
			s.run(pc, func() { echoUDP(pc) })
			continue
		}
		if err := s.listen(p, ln); err != nil {
			return err
		}
	}
	return nil
}

func (s *servers) listen(p place, ln net.Listener) error {
	switch p.kind {
	case "tls":
		conf, err := certificate()
		if err != nil {
			ln.Close()
			return err
		}
		ln = tls.NewListener(ln, conf)
		fallthrough
	case "http":
		srv := &http.Server{Handler: answer(p.name), ErrorLog: log.New(io.Discard, "", 0)}
		// One connection for each request: an Envoy that kept one would make no second leg.
		srv.SetKeepAlivesEnabled(false)
		s.run(srv, func() { srv.Serve(ln) })
	case "echo":
		s.run(ln, func() { each(ln, func(c net.Conn) { io.Copy(c, c) }) })
	case "banner":
		s.run(ln, func() {
			each(ln, func(c net.Conn) {
				io.WriteString(c, "220 hello\r\n")
				io.Copy(io.Discard, c)
			})
		})
	}
	return nil
}

func (s *servers) run(c io.Closer, serve func()) {
	s.open = append(s.open, c)
	s.wg.Go(serve)
}

// close closes every socket, and waits for who served it.
func (s *servers) close() error {
	var errs []error
	for _, c := range s.open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.open = nil
	s.wg.Wait()
	return errors.Join(errs...)
}

// each serves connections until the listener closes, and then closes those still open.
func each(ln net.Listener, serve func(net.Conn)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	for {
		c, err := ln.Accept()
		if err != nil {
			break
		}
		mu.Lock()
		open[c] = true
		mu.Unlock()
		wg.Go(func() {
			serve(c)
			mu.Lock()
			delete(open, c)
			mu.Unlock()
			c.Close()
		})
	}
	mu.Lock()
	for c := range open {
		c.Close()
	}
	mu.Unlock()
	wg.Wait()
}

func echoUDP(pc net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		pc.WriteTo(buf[:n], from)
	}
}

// Seen is what an HTTP server of the lab saw of a request: it answers with it.
type Seen struct {
	Server  string      `json:"server"` // which one
	At      string      `json:"at"`     // its end of the connection
	Peer    string      `json:"peer"`   // the other end
	Method  string      `json:"method"`
	Host    string      `json:"host"`
	Path    string      `json:"path"` // as it came, with query
	Headers http.Header `json:"headers"`
}

// answer says who it is and what it saw. /status/N answers N; the authorization service
// lets only the good token pass.
func answer(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		code := 200
		if name == "auth" && r.Header.Get("authorization") != "Bearer good" {
			code = 403
		}
		if rest, ok := strings.CutPrefix(r.URL.Path, "/status/"); ok {
			if n, err := strconv.Atoi(rest); err == nil && n >= 200 && n < 600 {
				code = n
			}
		}
		at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		body, _ := json.Marshal(Seen{name, at.String(), r.RemoteAddr, r.Method, r.Host, r.RequestURI, r.Header})
		w.Header().Set("content-type", "application/json")
		w.Header().Set("x-server", name)
		w.WriteHeader(code)
		w.Write(body)
	})
}

// certificate makes one for secure.lab, signed by itself.
func certificate() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "secure.lab"}, DNSNames: []string{"secure.lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

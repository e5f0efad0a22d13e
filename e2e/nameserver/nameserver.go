// Package nameserver is a small name server for tests: real questions over real sockets, and
// answers from a table.
package nameserver

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone are the names that it knows, in lower case with the dot at their end. Each has addresses,
// or one name that it is an alias of.
type Zone map[string][]string

// Server answers until it is closed.
type Server struct {
	zone    Zone
	cut     bool // datagrams are answered as cut off
	closers []io.Closer
	all     sync.WaitGroup

	mu    sync.Mutex
	asked []string
}

// Serve answers on these sockets. Where it has a stream's, datagrams are answered as cut off.
func Serve(zone Zone, datagrams net.PacketConn, streams net.Listener) *Server {
	s := &Server{zone: zone, cut: streams != nil, closers: []io.Closer{datagrams}}
	s.all.Go(func() { s.datagrams(datagrams) })
	if streams != nil {
		s.closers = append(s.closers, streams)
		s.all.Go(func() { s.streams(streams) })
	}
	return s
}

// Asked are the questions so far, such as "A web.shop.svc.".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Close ends it and waits for it.
func (s *Server) Close() {
	for _, c := range s.closers {
		_ = c.Close()
	}
	s.all.Wait()
}

func (s *Server) datagrams(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := s.answer(buf[:n], s.cut); out != nil {
			stray := slices.Clone(out)
			stray[0], stray[3] = stray[0]^0xff, stray[3]&0xf0|2 // of another question, with a failure: it must be passed over
			_, _ = c.WriteTo(stray, from)
			_, _ = c.WriteTo(out, from)
		}
	}
}

func (s *Server) streams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err == nil {
			raw := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, raw); err == nil {
				out := s.answer(raw, false)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}
		_ = c.Close()
	}
}

func (s *Server) answer(raw []byte, cut bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(raw) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	s.mu.Lock()
	s.asked = append(s.asked, strings.TrimPrefix(q.Type.String(), "Type")+" "+q.Name.String())
	s.mu.Unlock()
	m.Response, m.Truncated, m.Additionals = true, cut, nil
	if !cut {
		s.fill(&m, q.Name.String(), q.Type)
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (s *Server) fill(m *dnsmessage.Message, name string, kind dnsmessage.Type) {
	known, ok := s.zone[strings.ToLower(name)]
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	head := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}
	for _, v := range known {
		a, err := netip.ParseAddr(v)
		switch {
		case v == "broken":
			m.RCode = dnsmessage.RCodeServerFailure
		case err != nil:
			s.fill(m, v, kind)
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(v)}})
		case a.Is4() && kind == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && kind == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
}

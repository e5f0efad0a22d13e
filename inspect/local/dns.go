package local

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// ask sends one question and takes its answer (RFC 1035, 4.2; a stream has the length in front).
// What is no answer to it is passed over, as every resolver does.
func ask(ctx context.Context, conn net.Conn, stream bool, q dnsmessage.Question) (*dnsmessage.Message, error) {
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	id := uint16(rand.Uint32())
	b := dnsmessage.NewBuilder(make([]byte, 2, 514), dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return nil, err
	}
	out, err := b.Finish()
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(out, uint16(len(out)-2))
	if !stream {
		out = out[2:]
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	for {
		raw, err := message(conn, stream)
		if err != nil {
			return nil, err
		}
		var m dnsmessage.Message
		err = m.Unpack(raw)
		switch {
		case err == nil && m.Response && m.ID == id && len(m.Questions) == 1 && sameQuestion(m.Questions[0], q):
			return &m, nil
		case stream:
			return nil, errors.Join(errors.New("what it sends is no answer to the question"), err)
		}
	}
}

// message reads one message.
func message(conn net.Conn, stream bool) ([]byte, error) {
	if !stream {
		buf := make([]byte, 1<<16)
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, raw)
	return raw, err
}

func sameQuestion(a, b dnsmessage.Question) bool {
	return a.Type == b.Type && a.Class == b.Class && sameName(a.Name, b.Name)
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// mostAddrs bounds what is kept of an answer; a Service without an address of its own can have
// thousands of pods.
const mostAddrs = 256

// follow takes the addresses of an answer, along its aliases: servers give them in any order.
func follow(m *dnsmessage.Message, name dnsmessage.Name, kind dnsmessage.Type) answered {
	for range len(m.Answers) {
		next := name
		for _, r := range m.Answers {
			if c, ok := r.Body.(*dnsmessage.CNAMEResource); ok && sameName(r.Header.Name, name) {
				next = c.CNAME
			}
		}
		if sameName(next, name) {
			break
		}
		name = next
	}
	out := answered{name: name.String()}
	for _, r := range m.Answers {
		if r.Header.Type != kind || !sameName(r.Header.Name, name) || len(out.addrs) == mostAddrs {
			continue
		}
		switch a := r.Body.(type) {
		case *dnsmessage.AResource:
			out.addrs = append(out.addrs, netip.AddrFrom4(a.A))
		case *dnsmessage.AAAAResource:
			out.addrs = append(out.addrs, netip.AddrFrom16(a.AAAA))
		}
	}
	return out
}

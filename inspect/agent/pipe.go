package agent

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is a stream as a net.Conn. Its deadlines do nothing: what ends it is Close.
type pipe struct {
	io.ReadWriteCloser
	once  sync.Once
	done  chan struct{} // closed when the stream is
	heard atomic.Int64  // when something was read, in Unix nanoseconds
	// Why it ended, and for how long nothing had been read then. Valid once done is closed.
	err    error
	silent time.Duration
}

func newPipe(rw io.ReadWriteCloser) *pipe {
	p := &pipe{ReadWriteCloser: rw, done: make(chan struct{})}
	p.heard.Store(time.Now().UnixNano())
	return p
}

// Read reads; the end of the stream is remembered, so that it can be told why it ended.
func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	if err != nil {
		p.end(err)
	}
	p.heard.Store(time.Now().UnixNano())
	return n, err
}

// Write writes. Where it fails the stream is over, and why is the stream's to tell: "write on a
// closed pipe" is only how it is noticed first.
func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Write(b)
	if err != nil {
		p.end(err)
	}
	return n, err
}

// errClosed is how a stream ends that this end closes, or that HTTP/2 gives up.
var errClosed = errors.New("closed by this end")

// Close closes the stream; it may be called twice.
func (p *pipe) Close() error {
	p.end(errClosed)
	return nil
}

func (p *pipe) end(why error) {
	p.once.Do(func() {
		p.err, p.silent = why, time.Since(time.Unix(0, p.heard.Load()))
		_ = p.ReadWriteCloser.Close() // the stream's own error is the one that is told
		close(p.done)
	})
}

// LocalAddr names this end.
func (p *pipe) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr names the other end.
func (p *pipe) RemoteAddr() net.Addr { return pipeAddr{} }

// SetDeadline does nothing: pipes have none.
func (p *pipe) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (p *pipe) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

// Network is "pipe".
func (pipeAddr) Network() string { return "pipe" }

// String is "pipe".
func (pipeAddr) String() string { return "pipe" }

// one is a listener that accepts one connection, and then waits until that one has ended.
type one struct {
	conn *pipe
	once sync.Once
}

// Accept gives the connection once.
func (l *one) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.conn.done
	return nil, net.ErrClosed
}

// Close ends the connection.
func (l *one) Close() error { return l.conn.Close() }

// Addr names the stream.
func (l *one) Addr() net.Addr { return pipeAddr{} }

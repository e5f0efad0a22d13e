package xds

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshtop/meshtop/e2e/lab/lab"
)

// appUID is a user that the pod's rules capture.
const appUID = 1000

// began is one connection: when its client asked for it, when it was over, and whether anything
// came back.
type began struct {
	at, over time.Time
	through  bool
}

// pounder opens one connection after another from inside the pod, as fast as it goes.
type pounder struct {
	stop  context.CancelFunc
	wg    sync.WaitGroup
	count atomic.Int64
	mu    sync.Mutex
	all   []began
}

// pound starts a few clients for each destination.
func pound(l *lab.Lab, dsts ...string) *pounder {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pounder{stop: cancel}
	for _, dst := range dsts {
		for range 3 {
			p.wg.Go(func() {
				// One thread that is in the pod and is the app's user opens them all.
				l.PodSpace().DoAs(appUID, appUID, func() error {
					p.run(ctx, netip.MustParseAddrPort(dst))
					return nil
				})
			})
		}
	}
	return p
}

func (p *pounder) run(ctx context.Context, dst netip.AddrPort) {
	for ctx.Err() == nil {
		b := began{at: time.Now()}
		b.through = through(dst)
		b.over = time.Now()
		p.mu.Lock()
		p.all = append(p.all, b)
		p.mu.Unlock()
		p.count.Add(1)
	}
}

// through opens a connection, asks, and says whether a byte came back.
func through(dst netip.AddrPort) bool {
	conn, err := net.DialTimeout("tcp4", dst.String(), 5*time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT, which would use up the ports
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	conn.Write([]byte("GET / HTTP/1.1\r\nHost: pound\r\nConnection: close\r\n\r\n"))
	n, _ := conn.Read(make([]byte, 1))
	return n > 0
}

// more waits until so many more connections have begun and ended.
func (p *pounder) more(n int64) {
	for want := p.count.Load() + n; p.count.Load() < want; {
		time.Sleep(time.Millisecond)
	}
}

// end stops the pounding, and gives every connection.
func (p *pounder) end() []began {
	p.stop()
	p.wg.Wait()
	return p.all
}

// between counts the connections of a span, and those of them that went through. One that began
// in it and was not over at its end may have met the next change: its client can have been kept
// waiting before it dialled.
func between(all []began, from, to time.Time) (n, through int) {
	for _, b := range all {
		if b.at.After(from) && b.over.Before(to) {
			n++
			if b.through {
				through++
			}
		}
	}
	return n, through
}

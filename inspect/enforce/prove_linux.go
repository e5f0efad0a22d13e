package enforce

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/rules/flow"
)

// Where probes go: addresses that documents use and nobody has (RFC 5737, RFC 3849), and the
// port of the discard service.
var testNets = []netip.AddrPort{
	netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9),
	netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}), 9),
}

// What a probe got.
const (
	gotRefused = "refused"
	gotNoRoute = "no route"
	gotThrough = "connected"
	gotNothing = "no answer"
)

// probe is one connection that is tried as a user.
type probe struct {
	dst      netip.AddrPort
	uid, gid uint32
	udp      bool
	untried  string // why it is not to be sent; empty: it is
}

func (p probe) String() string {
	proto := ""
	if p.udp {
		proto = "udp "
	}
	return fmt.Sprintf("probe %s%s as uid %d", proto, p.dst, p.uid)
}

// socket opens a socket of the probe's user in the namespace.
func (p probe) socket(s *netns.Space, kind int) (fd int, err error) {
	family := unix.AF_INET
	if p.dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	err = s.DoAs(p.uid, p.gid, func() error {
		var err error
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil && kind == unix.SOCK_STREAM {
		// It ends with a reset: a proxy that took it drops it at once.
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return fd, err
}

func (p probe) connect(fd int) error {
	if p.dst.Addr().Is4() {
		return unix.Connect(fd, &unix.SockaddrInet4{Port: int(p.dst.Port()), Addr: p.dst.Addr().As4()})
	}
	return unix.Connect(fd, &unix.SockaddrInet6{Port: int(p.dst.Port()), Addr: p.dst.Addr().As16()})
}

// absent says whether the namespace has no way to the probe's address at all: a UDP socket
// that connects looks a route up and sends nothing.
func (p probe) absent(s *netns.Space) (bool, error) {
	fd, err := p.socket(s, unix.SOCK_DGRAM)
	if err == nil {
		err = p.connect(fd)
		unix.Close(fd)
	}
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENETDOWN):
		return true, nil
	}
	return false, err
}

// send tries the connection and says what came of it within some time. seen, if not nil, is
// called with the socket once its first packet has gone, or was refused.
func (p probe) send(s *netns.Space, within time.Duration, seen func(fd int)) (string, error) {
	kind := unix.SOCK_STREAM
	if p.udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := p.socket(s, kind)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	err = p.connect(fd)
	if p.udp && err == nil {
		_, err = unix.Write(fd, []byte("meshtop"))
	}
	if seen != nil {
		seen(fd)
	}
	if errors.Is(err, unix.EINPROGRESS) || p.udp && err == nil {
		if err = await(fd, p.udp, within); err == nil && p.udp {
			return gotNothing, nil
		}
	}
	switch {
	case err == nil:
		return gotThrough, nil
	case errors.Is(err, unix.ECONNREFUSED), p.udp && (errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)):
		return gotRefused, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return gotNothing, nil
	}
	return err.Error(), nil
}

// await waits until a connection is made or has failed; of a UDP socket, for an error.
func await(fd int, udp bool, within time.Duration) error {
	end := time.Now().Add(within)
	events := int16(unix.POLLOUT)
	if udp {
		events = unix.POLLIN
	}
	for {
		left := time.Until(end)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n > 0 {
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err == nil && code != 0 {
				err = unix.Errno(code)
			}
			return err
		}
	}
}

// stranger is a user that is none of the proxy's: nobody, or the next one.
func stranger(of []uint32) uint32 {
	for id := uint32(65534); ; id-- {
		if !slices.Contains(of, id) {
			return id
		}
	}
}

// prove sends what the policy is to stop, or to let around the proxy, and looks at the
// counters of its rules.
func (e *Enforcer) prove(k *kernel, f *found, p *flow.Policy) {
	if p.State == flow.StateExpired {
		return
	}
	c := p.Change
	proven, failed, gone := 0, false, true
	for _, pr := range e.probes(c) {
		proof, ok := e.proveOne(k, f, pr, c)
		gone = gone && proof.Result == gotNoRoute
		p.Proof = append(p.Proof, proof)
		switch {
		case proof.Holds:
			proven++
		case !ok:
			failed = true
			because(p, "not proven: %s: %s", proof.What, proof.Result)
		}
	}
	switch {
	case proven > 0 || failed:
	case gone:
		because(p, "not proven: no probe has a route")
	default:
		because(p, "not proven: no probe could be tried")
	}
	if proven > 0 && !failed {
		p.State = flow.StateApplied
	}
	if now, err := k.read(); err == nil && now != nil && now.stamp.key == f.stamp.key {
		if p.Expires = now.expires; c.Kind == flow.BlockAll {
			p.Refused = now.refused
		}
		if now.expired() {
			p.State = flow.StateExpired
			because(p, "its time was over before it was proven")
		}
	}
}

// quick is how long a probe may wait: what the kernel refuses comes back at once.
const quick = 200 * time.Millisecond

// proveOne sends one probe. ok is true where it proves nothing and nothing is wrong.
func (e *Enforcer) proveOne(k *kernel, f *found, pr probe, c flow.Change) (proof flow.Proof, ok bool) {
	start := time.Now()
	proof.What = pr.String()
	defer func() { proof.Took = time.Since(start) }()
	if pr.untried != "" {
		proof.Result = "not tried: " + pr.untried
		return proof, true
	}
	gone, err := pr.absent(e.space)
	switch {
	case err != nil:
		proof.Result = "it could not be sent: " + err.Error()
		return proof, false
	case gone:
		proof.Result = gotNoRoute
		return proof, true
	}
	before, err := k.counted(f)
	if err != nil {
		proof.Result = err.Error()
		return proof, false
	}
	direct, lost := false, error(nil)
	var seen func(int)
	if c.Kind == flow.AllowAll {
		var b *births
		if b, lost = e.listen(); lost == nil {
			defer b.conn.Close()
			seen = func(fd int) { direct, lost = e.unmangled(fd, pr.dst, b) }
		}
	}
	proof.Result, err = pr.send(e.space, quick, seen)
	if err != nil {
		proof.Result = "it could not be sent: " + err.Error()
		return proof, false
	}
	after, err := k.counted(f)
	switch {
	case err != nil:
		proof.Result += ", and " + err.Error()
	case after == before:
		proof.Result += ", and no rule of ours counted it"
	case c.Kind == flow.BlockAll:
		proof.Holds = proof.Result == gotRefused
	case lost != nil:
		proof.Result += ", and conntrack cannot tell whether it went around the proxy: " + lost.Error()
	case !direct:
		proof.Result += ", and conntrack has it translated to another destination"
	default:
		proof.Result += ", around the proxy"
		proof.Holds = true
	}
	return proof, false
}

// counted is what the rules of the table counted so far.
func (k *kernel) counted(f *found) (uint64, error) {
	now, err := k.read()
	switch {
	case err != nil:
		return 0, err
	case now == nil || now.stamp.key != f.stamp.key:
		return 0, errors.New("the table was removed meanwhile")
	case now.wrong != "":
		return 0, errors.New(now.wrong)
	}
	return now.refused, nil
}

func covers(holes []flow.Hole, dst netip.AddrPort) bool {
	return slices.ContainsFunc(holes, func(h flow.Hole) bool {
		return h.Prefix.Contains(dst.Addr()) && (h.Port == 0 || h.Port == dst.Port())
	})
}

// proveOpen shows what a probe gets once nothing of ours is left.
func (e *Enforcer) proveOpen(c flow.Change, p *flow.Policy) {
	pr := probe{dst: testNets[0], uid: stranger(c.ProxyUIDs), gid: stranger(c.ProxyGIDs)}
	start := time.Now()
	proof := flow.Proof{What: pr.String()}
	switch gone, err := pr.absent(e.space); {
	case err != nil:
		proof.Result = "it could not be sent: " + err.Error()
	case gone:
		proof.Result = gotNoRoute
	default:
		if proof.Result, err = pr.send(e.space, quick, nil); err != nil {
			proof.Result = "it could not be sent: " + err.Error()
		}
		proof.Holds = err == nil && proof.Result != gotRefused
		if proof.Result == gotRefused {
			proof.Result += ", and not by us"
		}
	}
	proof.Took = time.Since(start)
	p.Proof = append(p.Proof, proof)
}

// proveClosed proves limits of Envoy's: a probe that is redirected to it is accepted and
// closed at once, and Envoy counts it. A family that the plan does not call covered need not be;
// of one that it does, or says nothing about, a probe that fails leaves the state unknown.
func (e *Enforcer) proveClosed(c flow.Change, p *flow.Policy, counted func() bool) {
	uid, gid := stranger(c.ProxyUIDs), stranger(c.ProxyGIDs)
	proven, failed := 0, false
	for _, dst := range testNets {
		proof, gone := e.closedOne(probe{dst: dst, uid: uid, gid: gid}, counted)
		if !proof.Holds && uncovered(c, dst) {
			continue
		}
		p.Proof = append(p.Proof, proof)
		switch {
		case proof.Holds:
			proven++
		case !gone:
			failed = true
			because(p, "not proven: %s: %s", proof.What, proof.Result)
		}
	}
	switch {
	case failed:
	case proven > 0:
		p.State = flow.StateApplied
	default:
		because(p, "not proven: no probe is redirected to Envoy")
	}
}

// uncovered says whether the plan lists the family of an address among what it does not cover.
func uncovered(c flow.Change, dst netip.AddrPort) bool {
	what := "tcp4"
	if dst.Addr().Is6() {
		what = "tcp6"
	}
	return slices.ContainsFunc(c.NotCovered, func(r flow.Reach) bool { return r.What == what })
}

// spread is how long Envoy's workers may take to hear of a limit: its main thread answers
// first.
const spread = time.Second

// closedOne tries until Envoy has closed a probe for its limit. gone: there is no route.
func (e *Enforcer) closedOne(pr probe, counted func() bool) (proof flow.Proof, gone bool) {
	start := time.Now()
	proof.What = pr.String()
	defer func() { proof.Took = time.Since(start) }()
	for {
		gone, err := pr.absent(e.space)
		ended := false
		switch {
		case err != nil:
		case gone:
			proof.Result = gotNoRoute
			return proof, true
		default:
			proof.Result, err = pr.send(e.space, quick, func(fd int) { ended = closes(fd, quick) })
		}
		switch {
		case err != nil:
			proof.Result = "it could not be sent: " + err.Error()
			return proof, false
		case !ended && proof.Result != gotThrough:
			return proof, false // nothing redirects it to Envoy
		case !ended:
			proof.Result += ", and not closed by Envoy"
		case counted():
			proof.Result, proof.Holds = "closed by Envoy", true
			return proof, false
		default:
			proof.Result = "closed, and no listener of Envoy's counted it"
		}
		if time.Since(start) > spread {
			return proof, false
		}
	}
}

// closes says whether the other end closes or resets the connection within some time.
func closes(fd int, within time.Duration) bool {
	if await(fd, false, within) != nil {
		return false
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(within.Milliseconds()))
	if err != nil || n == 0 {
		return false
	}
	got, err := unix.Read(fd, make([]byte, 1))
	return got == 0 && err == nil || errors.Is(err, unix.ECONNRESET)
}

package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/meshtop/meshtop/rules/flow"
)

// Ring reads packets of one device from memory that the kernel fills (packet(7),
// Documentation/networking/packet_mmap.rst, TPACKET_V3). It is for one goroutine; Wake
// may be called from another.
type Ring struct {
	device string
	fd     int
	file   *os.File // the same, known to the runtime's poller
	raw    syscall.RawConn
	mem    []byte
	opt    RingOptions
	block  uint32 // the one to read next
	left   uint32 // packets of it that were not read yet
	at     uint32 // offset in mem of the next packet's header
	read   uint64 // packets so far
	failed error  // what the socket said
	kicked bool   // the reader knows that it was woken

	seen, spilled atomic.Uint64 // packets that were handed over, or could not be any more
	until         atomic.Uint64 // one more than the packets after which reading ends; 0: it goes on

	mu         sync.Mutex
	came, lost uint64 // packets that passed the filter, and those of them that found no room
	frozen     uint64 // how often the ring was full
	closed     bool
}

// ErrWoken is what reading returns after Wake.
var ErrWoken = errors.New("capture: woken")

// errDown says that a device went down or is gone. The ring can be read on: what it holds is
// still there, and more comes when the device is up again.
var errDown = errors.New("the device went down")

// OpenRing opens a ring on a device of the calling thread's network namespace, from where
// the socket may be used anywhere. The filter is attached before the socket is bound, so
// that nothing unwanted is read before it. On lo each packet would come twice, going out
// and coming in: the first is left out.
func OpenRing(device string, f Filter, opt RingOptions) (*Ring, error) {
	opt = opt.defaults()
	iface, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("capture on %q: %w", device, err)
	}
	prog, err := f.Program(opt.Snaplen)
	if err != nil {
		return nil, err
	}
	// Protocol 0: the socket receives nothing until it is bound to one.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %q: packet socket (needs CAP_NET_RAW): %w", device, err)
	}
	r := &Ring{device: device, fd: fd, file: os.NewFile(uintptr(fd), "packets of "+device), opt: opt}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.setup(prog, iface); err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %q: %w", device, err), r.Close())
	}
	return r, nil
}

func (r *Ring) setup(prog []bpf.RawInstruction, iface *net.Interface) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("PACKET_VERSION", err)
	}
	if iface.Flags&net.FlagLoopback != 0 {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1); err != nil {
			return os.NewSyscallError("PACKET_IGNORE_OUTGOING", err)
		}
	}
	if err := attach(r.fd, prog); err != nil {
		return err
	}
	const frame = 2048
	req := unix.TpacketReq3{
		Block_size: r.opt.BlockSize, Block_nr: r.opt.Blocks,
		Frame_size: frame, Frame_nr: r.opt.BlockSize / frame * r.opt.Blocks,
		Retire_blk_tov: uint32(max(1, r.opt.Timeout.Milliseconds())),
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return os.NewSyscallError("PACKET_RX_RING", err)
	}
	mem, err := unix.Mmap(r.fd, 0, int(r.opt.BlockSize*r.opt.Blocks), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.mem = mem
	all := uint16(unix.ETH_P_ALL)
	to := &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: iface.Index}
	return os.NewSyscallError("bind", unix.Bind(r.fd, to))
}

// packetIgnoreOutgoing is PACKET_IGNORE_OUTGOING (linux/if_packet.h, since Linux 4.20).
const packetIgnoreOutgoing = 23

// fill decodes the packets that are there, at most batchSize; it waits while there is none.
// ErrWoken after Wake, when every packet that had come by then was returned.
func (r *Ring) fill(d *decoder) (batch, error) {
	var p Packet
	for {
		if until := r.until.Load(); until != 0 && r.read >= until-1 {
			return batch{}, ErrWoken
		}
		for len(d.room.seen) < batchSize {
			ok, err := r.more(&p)
			if err != nil {
				return d.take(), err
			}
			if !ok {
				break
			}
			d.observe(&p)
		}
		if len(d.room.seen) > 0 {
			return d.take(), nil
		}
		if err := r.wait(); err != nil {
			return batch{}, err
		}
	}
}

// more returns a packet if there is one already.
func (r *Ring) more(p *Packet) (bool, error) {
	for r.left == 0 {
		if ready, err := r.nextBlock(); !ready {
			return false, err
		}
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.at]))
	*p = Packet{At: time.Unix(int64(h.Sec), int64(h.Nsec)), Device: r.device, Len: int(h.Len),
		Data: r.mem[r.at+uint32(h.Net):][:h.Snaplen:h.Snaplen]}
	r.read++
	r.left--
	if r.left > 0 {
		r.at += h.Next_offset
	}
	return true, nil
}

// nextBlock gives the block that was read back to the kernel and takes the next one, if
// the kernel has filled it.
func (r *Ring) nextBlock() (bool, error) {
	if r.at != 0 { // the block at hand was read to its end
		// Everything was read before the kernel may write here again.
		atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
		r.block, r.at = (r.block+1)%r.opt.Blocks, 0
	}
	if !r.ready() {
		return false, nil
	}
	h := r.header()
	first := h.Offset_to_first_pkt
	if first < uint32(unsafe.Sizeof(*h)) || first >= r.opt.BlockSize {
		return false, fmt.Errorf("capture on %q: block %d begins at %d", r.device, r.block, first)
	}
	r.left, r.at = h.Num_pkts, r.block*r.opt.BlockSize+first
	return true, nil
}

// ready says whether the kernel has handed over the block at hand.
func (r *Ring) ready() bool {
	return atomic.LoadUint32(&r.header().Block_status)&unix.TP_STATUS_USER != 0
}

// header is that of the block at hand. The kernel's struct tpacket_block_desc is a version
// and an offset, then struct tpacket_hdr_v1.
func (r *Ring) header() *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.mem[r.block*r.opt.BlockSize+8]))
}

// lastBlock is how long the end waits for a block that the kernel is still filling. It comes
// when its time is over, which is much sooner.
const lastBlock = 5 * time.Second

// wait waits until the kernel hands a block over. It waits in the runtime's poller: for a
// thread that waits in poll(2) itself the runtime looks every 20 µs whether it is back, which
// costs more than all the rest.
func (r *Ring) wait() error {
	err := r.raw.Read(func(uintptr) bool { return r.ready() || r.erred() })
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !r.kicked:
		r.kicked = true
		return r.file.SetReadDeadline(time.Now().Add(lastBlock))
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.spilled.Add(r.until.Load() - 1 - r.read)
		return ErrWoken
	case err != nil:
		return fmt.Errorf("capture on %q: %w", r.device, err)
	}
	err, r.failed = r.failed, nil
	return err
}

// erred asks the socket for an error, which is told once.
func (r *Ring) erred() bool {
	e, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		r.failed = fmt.Errorf("capture on %q: %w", r.device, os.NewSyscallError("SO_ERROR", err))
	case e == int(unix.ENETDOWN):
		r.failed = fmt.Errorf("capture on %q: %w", r.device, errDown)
	case e != 0:
		r.failed = fmt.Errorf("capture on %q: %w", r.device, unix.Errno(e))
	}
	return r.failed != nil
}

// Wake makes reading end with ErrWoken after the packets that have come so far.
func (r *Ring) Wake() error {
	if err := r.count(); err != nil {
		return err
	}
	r.mu.Lock()
	first := r.until.CompareAndSwap(0, r.came-r.lost+1)
	r.mu.Unlock()
	if !first {
		return nil
	}
	return r.file.SetReadDeadline(time.Unix(0, 1)) // long over
}

// count adds the kernel's counters up, which begin anew with each question.
func (r *Ring) count() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed { // its number may be another socket's by now
		return nil
	}
	st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return os.NewSyscallError("PACKET_STATISTICS", err)
	}
	r.came += uint64(st.Packets) // those that found no room are among them
	r.lost += uint64(st.Drops)
	r.frozen += uint64(st.Freeze_q_cnt)
	return nil
}

// Stats are the packets that were handed over and those that were not: the ring had no room
// for them, or they never came. It holds what was last known if the kernel cannot be asked.
func (r *Ring) Stats() flow.DeviceLoss {
	_ = r.count()
	r.mu.Lock()
	defer r.mu.Unlock()
	return flow.DeviceLoss{Name: r.device, Seen: r.seen.Load(), Dropped: r.lost + r.spilled.Load(), Frozen: r.frozen}
}

// Close frees the ring. It may be called twice, but not while it is read.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	if r.mem != nil {
		errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(r.mem)))
		r.mem = nil
	}
	if r.file != nil {
		errs = append(errs, r.file.Close())
		r.file = nil
	}
	return errors.Join(errs...)
}

package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring reads packets of one device from memory that the kernel fills (packet(7),
// Documentation/networking/packet_mmap.rst, TPACKET_V3). It is for one goroutine; Wake
// and Close may be called from another.
type Ring struct {
	device string
	fd     int
	wake   int // eventfd: a read returns at once
	mem    []byte
	opt    RingOptions
	block  uint32 // the one to read next
	left   uint32 // packets of it that were not read yet
	at     uint32 // offset in mem of the next packet's header
	lost   uint64
	seen   atomic.Uint64
}

// ErrWoken is what Next returns after Wake.
var ErrWoken = errors.New("capture: woken")

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
	r := &Ring{device: device, fd: fd, wake: -1, opt: opt}
	if err := r.setup(prog2kernel(prog), iface); err != nil {
		return nil, errors.Join(fmt.Errorf("capture on %q: %w", device, err), r.Close())
	}
	return r, nil
}

func (r *Ring) setup(prog []unix.SockFilter, iface *net.Interface) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("PACKET_VERSION", err)
	}
	if iface.Flags&net.FlagLoopback != 0 {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1); err != nil {
			return os.NewSyscallError("PACKET_IGNORE_OUTGOING", err)
		}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return os.NewSyscallError("SO_ATTACH_FILTER", err)
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
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	all := uint16(unix.ETH_P_ALL)
	to := &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: iface.Index}
	return os.NewSyscallError("bind", unix.Bind(r.fd, to))
}

// packetIgnoreOutgoing is PACKET_IGNORE_OUTGOING (linux/if_packet.h, since Linux 4.20).
const packetIgnoreOutgoing = 23

// Next waits for a packet. Its Data is valid until the next call. ErrWoken after Wake,
// when every packet that had arrived was returned.
func (r *Ring) Next() (Packet, error) {
	for r.left == 0 {
		ready, err := r.nextBlock()
		if err != nil {
			return Packet{}, err
		}
		if !ready {
			if err := r.wait(); err != nil {
				return Packet{}, err
			}
		}
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.mem[r.at]))
	p := Packet{
		At: time.Unix(int64(h.Sec), int64(h.Nsec)), Device: r.device, Len: int(h.Len),
		Data:    r.mem[r.at+uint32(h.Net):][:h.Snaplen],
		Partial: h.Status&unix.TP_STATUS_CSUMNOTREADY != 0,
	}
	r.left--
	if r.left > 0 {
		r.at += h.Next_offset
	}
	r.seen.Add(1)
	return p, nil
}

// nextBlock gives the block that was read back to the kernel and takes the next one, if
// the kernel has filled it.
func (r *Ring) nextBlock() (bool, error) {
	if r.at != 0 { // the block at hand was read to its end
		// Everything was read before the kernel may write here again.
		atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
		r.block, r.at = (r.block+1)%r.opt.Blocks, 0
	}
	h := r.header()
	if atomic.LoadUint32(&h.Block_status)&unix.TP_STATUS_USER == 0 {
		return false, nil
	}
	first := h.Offset_to_first_pkt
	if first < uint32(unsafe.Sizeof(*h)) || first >= r.opt.BlockSize {
		return false, fmt.Errorf("capture on %q: block %d begins at %d", r.device, r.block, first)
	}
	r.left, r.at = h.Num_pkts, r.block*r.opt.BlockSize+first
	return true, nil
}

// header is that of the block at hand. The kernel's struct tpacket_block_desc is a version
// and an offset, then struct tpacket_hdr_v1.
func (r *Ring) header() *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.mem[r.block*r.opt.BlockSize+8]))
}

func (r *Ring) wait() error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN | unix.POLLERR}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return ErrWoken
		case fds[0].Revents&unix.POLLERR != 0:
			e, _ := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if e == int(unix.ENETDOWN) {
				return fmt.Errorf("capture on %q: the device went down", r.device)
			}
			return fmt.Errorf("capture on %q: %w", r.device, unix.Errno(e))
		}
		return nil
	}
}

// Wake makes Next return ErrWoken.
func (r *Ring) Wake() error {
	one := [8]byte{7: 1}
	if r.wake < 0 {
		return nil
	}
	_, err := unix.Write(r.wake, one[:])
	if err == unix.EAGAIN {
		return nil
	}
	return os.NewSyscallError("eventfd", err)
}

// Stats are the packets that passed the filter and those that the ring had no room for,
// since it was opened. The kernel's counters begin anew with each question, so they are
// added up here: one goroutine at a time may ask.
func (r *Ring) Stats() (seen, dropped uint64, err error) {
	st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return r.seen.Load(), r.lost, os.NewSyscallError("PACKET_STATISTICS", err)
	}
	r.lost += uint64(st.Drops)
	return r.seen.Load(), r.lost, nil
}

// Close frees the ring. It may be called twice, but not while Next runs.
func (r *Ring) Close() error {
	var errs []error
	if r.mem != nil {
		errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(r.mem)))
		r.mem = nil
	}
	for _, fd := range []*int{&r.fd, &r.wake} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

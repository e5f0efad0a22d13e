package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/meshtop/meshtop/inspect/netns"
)

// Numbers of nf_tables over netlink (include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h).
const (
	netlinkNetfilter = 12
	subsysNFT        = 10 << 8
	msgGetTable      = 1
	msgGetChain      = 4
	msgGetRule       = 7
	msgGetGen        = 16
	flagDumpIntr     = 0x10 // NLM_F_DUMP_INTR: what is listed changed meanwhile
)

var (
	errFew     = errors.New("few rules")
	errChanged = errors.New("the rules changed while they were read")
)

// nftDump reads the rules of iptables-nft straight from the kernel.
type nftDump struct {
	fd    int
	buf   []byte
	limit int
	least int
	rules int
	big   *bigRules
}

// readBig reads the rules of a namespace that has at least so many. An error means that the tools have
// to be asked.
func readBig(space *netns.Space, limit, least int) (*bigRules, error) {
	d := &nftDump{buf: make([]byte, 64<<10), limit: limit, least: least, big: &bigRules{text: map[uint8][]byte{}}}
	err := space.Do(func() error {
		var err error
		if d.fd, err = syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkNetfilter); err != nil {
			return err
		}
		defer syscall.Close(d.fd)
		if err := syscall.SetsockoptTimeval(d.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 5}); err != nil {
			return err
		}
		return d.read()
	})
	return d.big, err
}

func (d *nftDump) read() error {
	before, err := d.generation()
	if err != nil {
		return err
	}
	if err := d.list(msgGetTable, 0, nil, d.big.table); err != nil {
		return err
	}
	if err := d.list(msgGetChain, 0, nil, d.big.chain); err != nil {
		return err
	}
	for _, f := range [...]uint8{syscall.AF_INET, syscall.AF_INET6} {
		if err := d.family(f); err != nil {
			return err
		}
	}
	if d.rules < d.least {
		return errFew
	}
	after, err := d.generation()
	if err == nil && after != before {
		err = errChanged
	}
	return err
}

// family writes the tables of one family as iptables-nft-save does.
func (d *nftDump) family(f uint8) error {
	out := []byte{}
	r := nftRule{v6: f == syscall.AF_INET6}
	for _, t := range d.big.tables {
		if t.family != f || !t.iptables() {
			continue
		}
		out = t.head(out)
		name := append([]byte(t.name), 0)
		err := d.list(msgGetRule, f, attribute(attrTable, name), func(_ uint8, b []byte) error {
			a := attrs(b)
			if string(a[attrTable]) != string(name) {
				return nil
			}
			if d.rules++; len(out) > d.limit {
				return errNotKnown
			}
			var err error
			out, err = r.line(out, cString(a[attrChain]), a[attrExprs])
			return err
		})
		if err != nil {
			return err
		}
		out = append(out, "COMMIT\n"...)
	}
	d.big.text[f] = out
	return nil
}

// attribute is one attribute of a request.
func attribute(kind uint16, value []byte) []byte {
	b := make([]byte, 4, 4+len(value)+3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (d *nftDump) request(message uint16, flags uint16, family uint8, body []byte) error {
	ne := binary.NativeEndian
	req := make([]byte, 20, 20+len(body)) // nlmsghdr, nfgenmsg
	req = append(req, body...)
	ne.PutUint32(req, uint32(len(req)))
	ne.PutUint16(req[4:], subsysNFT|message)
	ne.PutUint16(req[6:], syscall.NLM_F_REQUEST|flags)
	req[16] = family
	return syscall.Sendto(d.fd, req, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK})
}

// generation is the number that grows with each change of the rules.
func (d *nftDump) generation() (gen uint32, err error) {
	if err := d.request(msgGetGen, 0, 0, nil); err != nil {
		return 0, err
	}
	_, err = d.messages(func(_ uint8, b []byte) error {
		gen = be32(attrs(b)[1])
		return nil
	})
	return gen, err
}

// list asks for all objects of a kind.
func (d *nftDump) list(message uint16, family uint8, body []byte, f func(family uint8, attrs []byte) error) error {
	if err := d.request(message, syscall.NLM_F_DUMP, family, body); err != nil {
		return err
	}
	for {
		if done, err := d.messages(f); done || err != nil {
			return err
		}
	}
}

// messages reads what the kernel sends at once.
func (d *nftDump) messages(f func(family uint8, attrs []byte) error) (done bool, err error) {
	ne := binary.NativeEndian
	n, _, err := syscall.Recvfrom(d.fd, d.buf, 0)
	for errors.Is(err, syscall.EINTR) {
		n, _, err = syscall.Recvfrom(d.fd, d.buf, 0)
	}
	if err != nil {
		return false, err
	}
	for b := d.buf[:n]; len(b) >= 16; {
		size := int(ne.Uint32(b))
		if size < 16 || size > len(b) {
			return false, fmt.Errorf("a message of %d bytes in %d", size, len(b))
		}
		switch kind := ne.Uint16(b[4:]); {
		case ne.Uint16(b[6:])&flagDumpIntr != 0:
			return false, errChanged
		case kind == syscall.NLMSG_DONE:
			return true, nil
		case kind == syscall.NLMSG_ERROR:
			return false, errors.New("nf_tables refuses to list")
		case kind>>8 == subsysNFT>>8 && size >= 20:
			if err := f(b[16], b[20:size]); err != nil {
				return false, err
			}
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false, nil
}

package local

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Rules of iptables-nft come from the kernel as expressions of nf_tables
// (include/uapi/linux/netfilter/nf_tables.h). iptables-nft-save writes them as the options
// that made them; so does nftRule, for those that large sets are made of. Another one is
// errNotKnown, and then the tool is asked.

// errNotKnown: only iptables-nft-save can write this rule.
var errNotKnown = errors.New("an expression that only iptables-nft-save can write")

// Attributes of a rule and its expressions.
const (
	attrTable, attrChain, attrHandle, attrExprs = 1, 2, 3, 4
	attrExprName, attrExprData                  = 1, 2
)

// nested calls f for each attribute of a message (include/uapi/linux/netlink.h).
func nested(b []byte, f func(kind uint16, value []byte)) {
	ne := binary.NativeEndian
	for len(b) >= 4 {
		n := int(ne.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		f(ne.Uint16(b[2:])&0x3fff, b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// attrs are the attributes of a message by their number.
func attrs(b []byte) (out [8][]byte) {
	nested(b, func(kind uint16, value []byte) {
		if int(kind) < len(out) {
			out[kind] = value
		}
	})
	return out
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func be32(b []byte) uint32 {
	if len(b) != 4 {
		return 0xffffffff
	}
	return binary.BigEndian.Uint32(b)
}

// nftRule writes one rule. It is used again for each.
type nftRule struct {
	v6            bool
	loaded        held // what the next comparison is about
	src, dst      string
	in, out       string
	proto         string
	matches       []byte
	last          string // the match whose options end matches
	target        []byte
	packets, size uint64
	err           error
}

// held is what a register holds.
type held struct {
	what   byte // m: meta, n: network header, t: transport header; 0: nothing
	at     uint32
	length uint32
	mask   []byte
}

// line appends "[packets:bytes] -A CHAIN ..." with its line break.
func (r *nftRule) line(into []byte, chain string, exprs []byte) ([]byte, error) {
	*r = nftRule{v6: r.v6, matches: r.matches[:0], target: r.target[:0]}
	nested(exprs, func(_ uint16, elem []byte) {
		if r.err == nil {
			a := attrs(elem)
			r.expression(cString(a[attrExprName]), a[attrExprData])
		}
	})
	if r.err != nil || r.loaded.what != 0 {
		return into, errNotKnown
	}
	into = append(into, '[')
	into = strconv.AppendUint(into, r.packets, 10)
	into = append(into, ':')
	into = strconv.AppendUint(into, r.size, 10)
	into = append(into, "] -A "...)
	into = append(into, chain...)
	for _, s := range [...]string{r.src, r.dst, r.in, r.out, r.proto} {
		into = append(into, s...)
	}
	into = append(into, r.matches...)
	into = append(into, r.target...)
	return append(into, '\n'), nil
}

func (r *nftRule) unknown() { r.err = errNotKnown }

func (r *nftRule) expression(name string, data []byte) {
	if len(r.target) > 0 { // nothing stands behind a target
		r.unknown()
		return
	}
	a := attrs(data)
	switch name {
	case "counter":
		if len(a[1]) != 8 || len(a[2]) != 8 {
			r.unknown()
			return
		}
		r.size, r.packets = binary.BigEndian.Uint64(a[1]), binary.BigEndian.Uint64(a[2])
	case "meta":
		if !r.load(a[3]) { // NFTA_META_SREG: it writes
			return
		}
		r.loaded = held{what: 'm', at: be32(a[2])}
	case "payload":
		if !r.load(a[5]) { // NFTA_PAYLOAD_SREG
			return
		}
		r.loaded = held{what: "?nt?"[be32(a[2])&3], at: be32(a[3]), length: be32(a[4])}
	case "bitwise":
		if len(a[4]) == 0 || r.loaded.what == 0 || strings.Trim(string(dataOf(a[5])), "\x00") != "" || be32(a[6]) != 0 && a[6] != nil {
			r.unknown()
			return
		}
		r.loaded.mask = dataOf(a[4])
	case "cmp":
		r.compare(be32(a[2]), dataOf(a[3]), nil)
	case "range":
		r.compare(be32(a[2]), dataOf(a[3]), dataOf(a[4]))
	case "immediate":
		r.verdict(attrs(attrs(a[2])[2]))
	case "match":
		r.match(cString(a[1]), be32(a[2]), a[3])
	case "target":
		r.act(cString(a[1]), be32(a[2]), a[3])
	default:
		r.unknown()
	}
}

// load says that an expression only reads, and that what was read before it was compared:
// a rule of nft's own may do otherwise.
func (r *nftRule) load(writes []byte) bool {
	if writes != nil || r.loaded.what != 0 {
		r.unknown()
		return false
	}
	return true
}

// dataOf is the value in an attribute of kind nft_data_attributes.
func dataOf(b []byte) []byte { return attrs(b)[1] }

// not is the ! before an option; op is nft_cmp_ops or nft_range_ops, of which only equal
// and unequal are iptables'.
func (r *nftRule) not(op uint32) string {
	switch op {
	case 0:
		return ""
	case 1:
		return " !"
	}
	r.unknown()
	return ""
}

// compare is a comparison of what was loaded, with a value or, if to is not nil, a range.
func (r *nftRule) compare(op uint32, value, to []byte) {
	l := r.loaded
	r.loaded = held{}
	not := r.not(op)
	switch {
	case l.what == 't' && l.mask == nil && len(value) == 2 && l.length == 2 && (l.at == 0 || l.at == 2):
		r.port(l.at, not, value, to)
	case to != nil:
		r.unknown()
	case l.what == 'n':
		r.address(l, not, value)
	case l.what != 'm' || l.at != 3 && l.mask != nil:
		r.unknown()
	case l.at == 3 && len(value) == 4:
		r.mark(l, not, value)
	case l.at == 6 && r.in == "":
		r.in = not + " -i " + r.device(value)
	case l.at == 7 && r.out == "":
		r.out = not + " -o " + r.device(value)
	case l.at == 16 && len(value) == 1 && r.proto == "":
		if names := (map[byte]string{6: "tcp", 17: "udp", 132: "sctp"}); names[value[0]] != "" {
			r.proto = not + " -p " + names[value[0]]
			return
		}
		r.unknown()
	default:
		r.unknown()
	}
}

// device is a device's name; one without its end stands for all that begin so.
func (r *nftRule) device(b []byte) string {
	s := cString(b)
	// "INVAL/D" is how iptables-nft says "! -i +", and a + at the end would be read as one.
	if s == "" || strings.Contains(s, "/") || strings.HasSuffix(s, "+") || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\'' || c == '\\' }) {
		r.unknown()
	}
	if len(s) == len(b) {
		return s + "+"
	}
	return s
}

// address is -s or -d; a prefix of whole bytes is compared by these bytes alone.
func (r *nftRule) address(l held, not string, value []byte) {
	size, src, dst := 4, uint32(12), uint32(16)
	if r.v6 {
		size, src, dst = 16, 8, 24
	}
	bits := 8 * len(value)
	if len(value) == 0 || len(value) > size || int(l.length) != len(value) {
		r.unknown()
		return
	}
	if l.mask != nil {
		n, ok := prefix(l.mask)
		if !ok || len(l.mask) != len(value) || outside(value, l.mask) {
			r.unknown()
			return
		}
		bits = n
	}
	full := make([]byte, size)
	copy(full, value)
	a, _ := netip.AddrFromSlice(full)
	text := a.String() + "/" + strconv.Itoa(bits)
	switch {
	case l.at == src && r.src == "":
		r.src = not + " -s " + text
	case l.at == dst && r.dst == "":
		r.dst = not + " -d " + text
	default:
		r.unknown()
	}
}

// outside says that a value has bits that its mask has not: then nothing is equal to it.
func outside(value, mask []byte) bool {
	for i := range value {
		if value[i]&^mask[i] != 0 {
			return true
		}
	}
	return false
}

// prefix is the length of a mask whose bits stand together.
func prefix(mask []byte) (n int, ok bool) {
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return 0, false
		}
	}
	return n, true
}

// port is --sport or --dport, which stand behind the protocol's own match.
func (r *nftRule) port(at uint32, not string, value, to []byte) {
	proto, plain := strings.CutPrefix(r.proto, " -p ")
	if !plain || len(to) != 0 && len(to) != 2 {
		r.unknown()
		return
	}
	name := " --sport "
	if at == 2 {
		name = " --dport "
	}
	if r.last != proto {
		r.begin(proto)
	}
	r.matches = append(append(r.matches, not...), name...)
	from := binary.BigEndian.Uint16(value)
	r.matches = strconv.AppendUint(r.matches, uint64(from), 10)
	if to != nil {
		r.matches = strconv.AppendUint(append(r.matches, ':'), uint64(binary.BigEndian.Uint16(to)), 10)
	}
}

func (r *nftRule) begin(match string) {
	r.last = match
	r.matches = append(append(r.matches, " -m "...), match...)
}

// mark is -m mark.
func (r *nftRule) mark(l held, not string, value []byte) {
	ne := binary.NativeEndian
	r.begin("mark")
	r.matches = append(append(append(r.matches, not...), " --mark 0x"...), strconv.FormatUint(uint64(ne.Uint32(value)), 16)...)
	if len(l.mask) == 4 && ne.Uint32(l.mask) != 0xffffffff {
		r.matches = append(append(r.matches, "/0x"...), strconv.FormatUint(uint64(ne.Uint32(l.mask)), 16)...)
	}
}

// verdict is a target without options (enum nft_verdicts, linux/netfilter.h).
func (r *nftRule) verdict(a [8][]byte) {
	chain := cString(a[2])
	switch int32(be32(a[1])) {
	case 0:
		r.target = append(r.target, " -j DROP"...)
	case 1:
		r.target = append(r.target, " -j ACCEPT"...)
	case -3:
		r.target = append(append(r.target, " -j "...), chain...)
	case -4:
		r.target = append(append(r.target, " -g "...), chain...)
	case -5:
		r.target = append(r.target, " -j RETURN"...)
	default:
		r.unknown()
	}
	if strings.ContainsAny(chain, " \t\n\"'\\") {
		r.unknown()
	}
}

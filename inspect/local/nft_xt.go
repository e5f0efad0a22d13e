package local

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// match writes a match of xtables from the kernel's structure of it
// (include/uapi/linux/netfilter/xt_*.h).
func (r *nftRule) match(name string, rev uint32, info []byte) {
	ne := binary.NativeEndian
	switch {
	case name == "comment" && rev == 0 && len(info) >= 256:
		r.begin(name)
		r.word(" --comment", cString(info[:256]))
	case name == "owner" && rev == 1 && len(info) >= 18:
		r.owner(info)
	case name == "statistic" && rev == 0 && len(info) >= 8 && ne.Uint32(info) == 0: // random, not negated
		r.begin(name)
		share := float64(ne.Uint32(info[4:])) / (1 << 31)
		r.matches = append(r.matches, " --mode random --probability "+strconv.FormatFloat(share, 'f', 11, 64)...)
	case name == "addrtype" && rev == 1 && len(info) >= 8:
		r.addrtype(ne.Uint16(info), ne.Uint16(info[2:]), ne.Uint32(info[4:]))
	case name == "conntrack" && rev == 3 && len(info) >= 156 && ne.Uint16(info[146:]) == 1: // only --ctstate
		r.states(ne.Uint16(info[150:]), ne.Uint16(info[148:])&1 != 0)
	default:
		r.unknown()
	}
}

// word writes an argument as xtables_save_string does: in quotes unless it is plain.
func (r *nftRule) word(option, s string) {
	r.matches = append(append(r.matches, option...), ' ')
	plain := s != ""
	for i := 0; i < len(s); i++ {
		c := s[i]
		plain = plain && (c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		if c < ' ' || c == 0x7f { // would break the line
			r.unknown()
		}
	}
	if plain {
		r.matches = append(r.matches, s...)
		return
	}
	r.matches = append(r.matches, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' || s[i] == '\'' {
			r.matches = append(r.matches, '\\')
		}
		r.matches = append(r.matches, s[i])
	}
	r.matches = append(r.matches, '"')
}

func (r *nftRule) owner(info []byte) {
	ne := binary.NativeEndian
	set, inverted := info[16], info[17]
	if set&^3 != 0 || set == 0 {
		r.unknown()
		return
	}
	r.begin("owner")
	for i, option := range [...]string{" --uid-owner ", " --gid-owner "} {
		if set>>i&1 == 0 {
			continue
		}
		if inverted>>i&1 != 0 {
			r.matches = append(r.matches, " !"...)
		}
		from, to := ne.Uint32(info[8*i:]), ne.Uint32(info[8*i+4:])
		r.matches = strconv.AppendUint(append(r.matches, option...), uint64(from), 10)
		if to != from {
			r.matches = strconv.AppendUint(append(r.matches, '-'), uint64(to), 10)
		}
	}
}

// addrtype is the usual "--dst-type LOCAL" and "--src-type LOCAL".
func (r *nftRule) addrtype(src, dst uint16, flags uint32) {
	const local = 1 << 2
	if src|dst != local || src != 0 && dst != 0 || flags&^3 != 0 {
		r.unknown()
		return
	}
	option, inverted := " --dst-type LOCAL", flags&2 != 0
	if src != 0 {
		option, inverted = " --src-type LOCAL", flags&1 != 0
	}
	r.begin("addrtype")
	if inverted {
		r.matches = append(r.matches, " !"...)
	}
	r.matches = append(r.matches, option...)
}

func (r *nftRule) states(bits uint16, inverted bool) {
	var words []string
	for _, s := range [...]struct {
		bit  uint16
		word string
	}{{1, "INVALID"}, {8, "NEW"}, {4, "RELATED"}, {2, "ESTABLISHED"}, {256, "UNTRACKED"}, {64, "SNAT"}, {128, "DNAT"}} {
		if bits&s.bit != 0 {
			words = append(words, s.word)
			bits &^= s.bit
		}
	}
	if bits != 0 || len(words) == 0 {
		r.unknown()
		return
	}
	r.begin("conntrack")
	if inverted {
		r.matches = append(r.matches, " !"...)
	}
	r.matches = append(append(r.matches, " --ctstate "...), strings.Join(words, ",")...)
}

// act writes a target of xtables.
func (r *nftRule) act(name string, rev uint32, info []byte) {
	ne := binary.NativeEndian
	switch {
	case (name == "REDIRECT" || name == "MASQUERADE") && rev == 0:
		flags, from, to, ok := r.oldRange(info)
		r.translate(name, " --to-ports ", flags, netip.Addr{}, from, to, ok)
	case name == "DNAT" && rev == 2 && len(info) >= 40:
		flags := ne.Uint32(info)
		a, same := netip.AddrFrom4([4]byte(info[4:8])), string(info[4:8]) == string(info[20:24])
		if r.v6 {
			a, same = netip.AddrFrom16([16]byte(info[4:20])), string(info[4:20]) == string(info[20:36])
		}
		r.translate(name, " --to-destination ", flags, a, binary.BigEndian.Uint16(info[36:]), binary.BigEndian.Uint16(info[38:]), same && flags&1 != 0)
	case name == "MARK" && rev == 2 && len(info) >= 8:
		r.target = append(r.target, " -j MARK --set-xmark 0x"+strconv.FormatUint(uint64(ne.Uint32(info)), 16)+"/0x"+strconv.FormatUint(uint64(ne.Uint32(info[4:])), 16)...)
	case name == "REJECT" && rev == 0 && len(info) >= 4 && !r.v6 && ne.Uint32(info) == 3:
		r.target = append(r.target, " -j REJECT --reject-with icmp-port-unreachable"...)
	default:
		r.unknown()
	}
}

// oldRange reads nf_nat_ipv4_multi_range_compat or, of IPv6, nf_nat_range.
func (r *nftRule) oldRange(info []byte) (flags uint32, from, to uint16, ok bool) {
	ne, be := binary.NativeEndian, binary.BigEndian
	if r.v6 {
		if len(info) < 40 {
			return 0, 0, 0, false
		}
		return ne.Uint32(info), be.Uint16(info[36:]), be.Uint16(info[38:]), true
	}
	if len(info) < 20 || ne.Uint32(info) != 1 {
		return 0, 0, 0, false
	}
	return ne.Uint32(info[4:]), be.Uint16(info[16:]), be.Uint16(info[18:]), true
}

// translate writes a translation; flags are NF_NAT_RANGE_* (nf_nat.h): 1 addresses, 2
// ports, 16 --random-fully.
func (r *nftRule) translate(name, option string, flags uint32, a netip.Addr, from, to uint16, ok bool) {
	fully := flags&16 != 0
	if flags &^= 16; !ok || flags&^3 != 0 || flags&1 != 0 && !a.IsValid() {
		r.unknown()
		return
	}
	r.target = append(append(r.target, " -j "...), name...)
	if flags != 0 {
		r.target = append(r.target, option...)
	}
	ports := ""
	if flags&2 != 0 {
		ports = strconv.Itoa(int(from))
		if to != from {
			ports += "-" + strconv.Itoa(int(to))
		}
	}
	switch {
	case flags&1 != 0 && ports == "":
		r.target = append(r.target, a.String()...)
	case flags&1 != 0 && a.Is6():
		r.target = append(r.target, "["+a.String()+"]:"+ports...)
	case flags&1 != 0:
		r.target = append(r.target, a.String()+":"+ports...)
	default:
		r.target = append(r.target, ports...)
	}
	if fully {
		r.target = append(r.target, " --random-fully"...)
	}
}

package netfilter

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// ipset is a set of `ipset save` (ipset(8)); each member has as many fields as the
// type has dimensions.
type ipset struct {
	name    string
	fields  []string // "ip", "net", "port", "iface", "mark" ...; empty: list:set
	v6      bool
	netmask ip // of hash:ip and bitmap:ip with netmask
	members []ipsetMember
	lists   []*ipset // of a list:set, in order
	names   []string // their names, until all sets are read
	// odd says that something in it could not be read: "not found" is then not sure.
	odd bool
}

type ipsetMember struct {
	field   [3]ipsetField
	nomatch bool
	// wildcard: the device's name is only how it begins (hash:net,iface)
	wildcard bool
}

type ipsetField struct {
	from, to ip
	bits     int // of a net: how specific it is
	proto    uint8
	ports    portRange
	word     string // a device
	mark     uint32
}

// setProblem is a line of `ipset save` that could not be read.
type setProblem struct {
	line  int
	cause string
}

// parseSets reads `ipset save`.
func parseSets(text string) (map[string]*ipset, []setProblem) {
	sets := map[string]*ipset{}
	var bad []setProblem
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' || f[0] == "COMMIT" {
			continue
		}
		if cause := readSetLine(sets, f); cause != "" {
			bad = append(bad, setProblem{n, cause})
		}
	}
	for _, s := range sets {
		for _, n := range s.names {
			if l := sets[n]; l != nil && l.names == nil {
				s.lists = append(s.lists, l)
			} else {
				s.odd = true
			}
		}
	}
	return sets, bad
}

func readSetLine(sets map[string]*ipset, f []string) string {
	switch {
	case f[0] == "create" && len(f) >= 3:
		s := &ipset{name: f[1]}
		sets[s.name] = s
		return s.create(f[2], f[3:])
	case f[0] == "add" && len(f) >= 3:
		s := sets[f[1]]
		if s == nil {
			return "set " + strconv.Quote(f[1]) + " was not created"
		}
		if !s.add(f[2], f[3:]) {
			s.odd = true
			return "member " + strconv.Quote(f[2]) + " of set " + strconv.Quote(f[1])
		}
		return ""
	}
	return "no line of ipset save: " + strconv.Quote(f[0])
}

func (s *ipset) create(kind string, opts []string) string {
	method, fields, ok := strings.Cut(kind, ":")
	if !ok {
		s.odd = true
		return "set type " + strconv.Quote(kind)
	}
	if method != "list" {
		s.fields = strings.Split(fields, ",")
	}
	if len(s.fields) > 3 {
		s.odd = true
		return "set type " + strconv.Quote(kind)
	}
	for i, o := range opts {
		if i+1 == len(opts) {
			break
		}
		switch o {
		case "family":
			s.v6 = opts[i+1] == "inet6"
		case "netmask":
			if n, err := strconv.Atoi(opts[i+1]); err == nil {
				s.netmask = maskOf(n, s.v6)
			}
		case "bitmask", "markmask":
			s.odd = true
		}
	}
	return ""
}

func (s *ipset) add(member string, opts []string) bool {
	if s.fields == nil {
		s.names = append(s.names, member)
		return true
	}
	var m ipsetMember
	words := strings.Split(member, ",")
	if len(words) != len(s.fields) {
		return false
	}
	for i, w := range words {
		if !m.field[i].read(s.fields[i], w, s.v6) {
			return false
		}
	}
	for _, o := range opts {
		m.nomatch = m.nomatch || o == "nomatch"
		m.wildcard = m.wildcard || o == "wildcard"
	}
	s.members = append(s.members, m)
	return true
}

func (f *ipsetField) read(kind, word string, v6 bool) bool {
	switch kind {
	case "ip", "net":
		if a, b, ok := strings.Cut(word, "-"); ok {
			from, ok1 := parseAddr(a, v6)
			to, ok2 := parseAddr(b, v6)
			f.from, f.to = from, to
			return ok1 && ok2
		}
		net, mask, ok := parseNet(word, v6)
		f.from, f.to = net, net.or(mask.not().and(allOnes(v6)))
		f.bits = ones(mask)
		return ok
	case "port":
		if p, rest, ok := strings.Cut(word, ":"); ok {
			n, known := protoNumber(p)
			if !known {
				return false
			}
			f.proto, word = n, rest
		}
		if t, c, ok := strings.Cut(word, "/"); ok { // an ICMP type and code
			a, err1 := strconv.ParseUint(t, 10, 8)
			b, err2 := strconv.ParseUint(c, 10, 8)
			f.ports = portRange{uint16(a<<8 | b), uint16(a<<8 | b)}
			return err1 == nil && err2 == nil
		}
		r, ok := parsePorts(word, "-")
		f.ports = r
		return ok
	case "iface":
		f.word = word
		return !strings.Contains(word, ":")
	case "mark":
		n, err := strconv.ParseUint(word, 0, 32)
		f.mark = uint32(n)
		return err == nil
	}
	return false
}

// has asks for the packet's member; dirs says of each dimension whether it is the
// source's (ip_set_core.c, ip_set_test).
func (s *ipset) has(p *packet, dirs []bool) flow.Answer {
	if s.fields == nil {
		a := flow.No
		for _, l := range s.lists {
			a = a.Or(l.has(p, dirs))
		}
		if s.odd {
			a = a.Or(flow.Maybe)
		}
		return a
	}
	ports := len(s.fields) == 1 && s.fields[0] == "port"
	if len(dirs) < len(s.fields) || s.v6 != p.v6 && !ports {
		return flow.No
	}
	best, at := ipsetMember{}, -1
	for i := range s.members {
		m := &s.members[i]
		if s.holds(m, p, dirs) && (at < 0 || m.field[0].bits > best.field[0].bits) {
			best, at = *m, i
		}
	}
	switch {
	case at >= 0:
		return flow.Is(!best.nomatch)
	case s.odd || p.srcUnknown && dirs[0] || p.sport == 0 && s.asksSourcePort(dirs):
		return flow.Maybe
	}
	return flow.No
}

// asksSourcePort says whether the set looks at the source port, which is not known before
// the kernel draws it.
func (s *ipset) asksSourcePort(dirs []bool) bool {
	for i, kind := range s.fields {
		if kind == "port" && dirs[i] {
			return true
		}
	}
	return false
}

func (s *ipset) holds(m *ipsetMember, p *packet, dirs []bool) bool {
	for i, kind := range s.fields {
		f := &m.field[i]
		a, port := p.dst, p.dport
		if dirs[i] {
			a, port = p.src, p.sport
		}
		switch kind {
		case "ip", "net":
			if s.netmask != (ip{}) {
				a = a.and(s.netmask)
			}
			if !a.within(f.from, f.to) {
				return false
			}
		case "port":
			if len(s.fields) > 1 && f.proto != 0 && f.proto != p.proto || !p.hasPorts() || port == 0 && dirs[i] || !f.ports.has(port) {
				return false
			}
		case "iface":
			dev := p.out
			if dirs[i] {
				dev = p.in
			}
			if dev != f.word && !(m.wildcard && strings.HasPrefix(dev, f.word)) {
				return false
			}
		case "mark":
			if p.mark != f.mark {
				return false
			}
		default:
			return false
		}
	}
	return true
}

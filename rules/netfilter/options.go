package netfilter

import (
	"strconv"
	"strings"
)

// headerOptions are the options of iptables itself, and those of the protocols' matches:
// no other match has options of the same names.
type headerOptions struct{}

func (headerOptions) option(b *ruleBuilder, name string) bool {
	v6 := b.r.family == "ip6"
	switch name {
	case "-s", "--source", "--src", "-d", "--destination", "--dst":
		b.address(name[1] == 's' || strings.HasPrefix(name, "--s"), v6)
	case "-i", "--in-interface", "-o", "--out-interface":
		b.device(name == "-o" || name == "--out-interface")
	case "-p", "--protocol", "--proto":
		b.protocol()
	case "-f", "--fragment":
		b.add(&fragmentTest{b.neg})
	case "-4", "--ipv4", "-6", "--ipv6":
	case "--dport", "--destination-port", "--sport", "--source-port":
		b.onePort(name)
	case "--dports", "--destination-ports", "--sports", "--source-ports", "--ports":
		b.manyPorts(name)
	case "--syn":
		b.add(&flagsTest{flagFIN | flagSYN | flagRST | flagACK, flagSYN, b.neg})
	case "--tcp-flags":
		b.flags()
	case "--icmp-type", "--icmpv6-type":
		b.icmp(name)
	default:
		return false
	}
	return true
}

func (b *ruleBuilder) address(src, v6 bool) {
	arg := b.arg()
	net, mask, ok := parseNet(arg, v6)
	if !ok {
		b.bad("address", arg)
		return
	}
	t := cut(&b.slabs.addrs)
	*t = addrTest{src: src, neg: b.neg, net: net, mask: mask}
	b.add(t)
}

// maxDevice is the longest name of a device (IFNAMSIZ without its zero).
const maxDevice = 15

func (b *ruleBuilder) device(out bool) {
	arg := b.arg()
	t := cut(&b.slabs.devices)
	*t = deviceTest{out: out, name: arg}
	if arg == "" || len(arg) > maxDevice {
		b.bad("device", arg)
		return
	}
	if t.prefix = strings.HasSuffix(arg, "+"); t.prefix {
		t.name = arg[:len(arg)-1]
	}
	t.neg = b.neg
	b.add(t)
}

func (b *ruleBuilder) protocol() {
	arg := b.arg()
	n, ok := protoNumber(arg)
	if !ok {
		b.bad("protocol", arg)
		return
	}
	// A test does not change: neighbours share one.
	if t := b.slabs.proto; t == nil || t.number != n || t.neg != b.neg {
		b.slabs.proto = &protoTest{n, b.neg}
	}
	b.add(b.slabs.proto)
}

func (b *ruleBuilder) onePort(name string) {
	arg := b.arg()
	r, ok := parsePorts(arg, ":")
	if !ok {
		b.bad("port", arg)
		return
	}
	t := cut(&b.slabs.ports)
	*t = portTest{which: whichPort(name), neg: b.neg, one: r}
	b.add(t)
}

func whichPort(option string) ports {
	switch {
	case option == "--ports":
		return eitherPort
	case strings.HasPrefix(option, "--s"):
		return srcPorts
	}
	return dstPorts
}

func (b *ruleBuilder) manyPorts(name string) {
	arg := b.arg()
	t := &portTest{which: whichPort(name), neg: b.neg}
	for rest := arg; ; {
		one, more, has := strings.Cut(rest, ",")
		r, ok := parsePorts(one, ":")
		if !ok {
			b.bad("port", arg)
			return
		}
		t.list = append(t.list, r)
		if rest = more; !has {
			break
		}
	}
	b.add(t)
}

func (b *ruleBuilder) flags() {
	mask, ok1 := parseFlags(b.arg())
	want, ok2 := parseFlags(b.arg())
	if !ok1 || !ok2 {
		b.bad("tcp-flags", b.words[b.at-1].s)
		return
	}
	b.add(&flagsTest{mask, want, b.neg})
}

func parseFlags(s string) (bits uint8, ok bool) {
	for _, f := range strings.Split(s, ",") {
		switch f {
		case "FIN", "fin":
			bits |= flagFIN
		case "SYN", "syn":
			bits |= flagSYN
		case "RST", "rst":
			bits |= flagRST
		case "PSH", "psh":
			bits |= flagPSH
		case "ACK", "ack":
			bits |= flagACK
		case "URG", "urg":
			bits |= flagURG
		case "ALL":
			bits |= flagFIN | flagSYN | flagRST | flagPSH | flagACK | flagURG
		case "NONE":
		default:
			return 0, false
		}
	}
	return bits, true
}

// icmpNames are the types with a name that iptables takes; it prints numbers.
func icmpTypeNumber(s string, v6 bool) (uint8, bool) {
	switch s {
	case "any":
		return 255, !v6
	case "echo-request", "ping":
		if v6 {
			return 128, true
		}
		return 8, true
	case "echo-reply", "pong":
		if v6 {
			return 129, true
		}
		return 0, true
	case "destination-unreachable":
		if v6 {
			return 1, true
		}
		return 3, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

func (b *ruleBuilder) icmp(name string) {
	arg := b.arg()
	kind, code, has := strings.Cut(arg, "/")
	t := &icmpTest{neg: b.neg, codeTo: 255}
	var ok bool
	t.kind, ok = icmpTypeNumber(kind, name == "--icmpv6-type")
	if has && ok {
		n, err := strconv.ParseUint(code, 10, 8)
		t.codeFrom, t.codeTo, ok = uint8(n), uint8(n), err == nil
	}
	if !ok {
		// A name that is not known here: well-formed, so nothing to complain about.
		b.add(opaqueTest{})
		return
	}
	b.add(t)
}

// commentOptions: a comment decides nothing.
type commentOptions struct{}

func (commentOptions) option(b *ruleBuilder, name string) bool {
	if name == "--comment" {
		b.arg()
	}
	return name == "--comment"
}

// markOptions are those of -m mark and -m connmark.
type markOptions struct{ conn bool }

func (m markOptions) option(b *ruleBuilder, name string) bool {
	if name != "--mark" {
		return false
	}
	arg := b.arg()
	v, mask, ok := parseMark(arg)
	switch {
	case !ok:
		b.bad("mark", arg)
	case m.conn:
		b.add(&connmarkTest{markTest{v, mask, b.neg}})
	default:
		t := cut(&b.slabs.marks)
		*t = markTest{v, mask, b.neg}
		b.add(t)
	}
	return true
}

func (t *ownerTest) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--uid-owner", "--gid-owner":
		arg := b.arg()
		ids, ok := parseIDs(arg)
		switch {
		case !ok:
			t.unknownName = true
			if arg == "" || arg[0] >= '0' && arg[0] <= '9' {
				b.fail(name[2:]+" %s: invalid syntax", arg)
			}
		case name == "--uid-owner":
			t.uid, t.hasUID, t.notUID = ids, true, b.neg
		default:
			t.gid, t.hasGID, t.notGID = ids, true, b.neg
		}
	case "--socket-exists":
		t.exists, t.notExists = true, b.neg
	case "--suppl-groups":
		t.suppl = true
	default:
		return false
	}
	b.extend()
	return true
}

// stateNames are those of --ctstate and --state.
func parseStates(s string) (bits uint8, ok bool) {
	for _, w := range strings.Split(s, ",") {
		switch strings.ToUpper(w) {
		case "NEW":
			bits |= stateNew
		case "ESTABLISHED":
			bits |= stateEstablished
		case "RELATED":
			bits |= stateRelated
		case "INVALID":
			bits |= stateInvalid
		case "UNTRACKED":
			bits |= stateUntracked
		case "DNAT":
			bits |= stateDNAT
		case "SNAT":
			bits |= stateSNAT
		default:
			return 0, false
		}
	}
	return bits, true
}

func parseStatus(s string) (bits uint32, ok bool) {
	for _, w := range strings.Split(s, ",") {
		switch strings.ToUpper(w) {
		case "NONE":
		case "EXPECTED":
			bits |= statusExpected
		case "SEEN_REPLY":
			bits |= statusSeenReply
		case "ASSURED":
			bits |= statusAssured
		case "CONFIRMED":
			bits |= statusConfirmed
		default:
			return 0, false
		}
	}
	return bits, true
}

func (t *conntrackTest) option(b *ruleBuilder, name string) bool {
	ok := true
	switch name {
	case "--ctstate", "--state":
		t.states, ok = parseStates(b.arg())
		t.hasState, t.notState = true, b.neg
	case "--ctstatus":
		t.status, ok = parseStatus(b.arg())
		t.hasStatus, t.notStat = true, b.neg
	case "--ctdir":
		dir := b.arg()
		t.hasDir, t.reply = true, dir == "REPLY"
		ok = t.reply || dir == "ORIGINAL"
	case "--ctproto":
		t.proto, ok = protoNumber(b.arg())
		t.hasProto, t.notProto = true, b.neg
	case "--ctexpire":
		b.arg()
		t.expire = true
	default:
		rest, isConn := strings.CutPrefix(name, "--ct")
		if !isConn || !t.direction(b, rest, &ok) {
			return false
		}
	}
	b.extend()
	if !ok {
		t.odd = true
		b.fail(name[2:]+" %s: invalid syntax", b.words[b.at-1].s)
	}
	return true
}

// direction reads --ctorigsrc, --ctrepldstport and their like.
func (t *conntrackTest) direction(b *ruleBuilder, name string, ok *bool) bool {
	c := connCond{neg: b.neg}
	rest, orig := strings.CutPrefix(name, "orig")
	if !orig {
		if rest, c.reply = strings.CutPrefix(name, "repl"); !c.reply {
			return false
		}
	}
	switch rest {
	case "src", "dst":
		c.net, c.mask, *ok = parseNet(b.arg(), b.r.family == "ip6")
	case "srcport", "dstport":
		c.isPort = true
		c.port, *ok = parsePorts(b.arg(), ":")
	default:
		return false
	}
	c.neg, c.dst = b.neg, rest[0] == 'd'
	t.more = append(t.more, c)
	return true
}

func (t *addrtypeTest) option(b *ruleBuilder, name string) bool {
	ok := true
	switch name {
	case "--src-type":
		t.src, ok = parseTypes(b.arg())
		t.notSrc = b.neg
	case "--dst-type":
		t.dst, ok = parseTypes(b.arg())
		t.notDst = b.neg
	case "--limit-iface-in":
		t.limitIn = true
	case "--limit-iface-out":
		t.limitOut = true
	default:
		return false
	}
	b.extend()
	if !ok {
		t.odd = true
		b.fail(name[2:]+" %s: invalid syntax", b.words[b.at-1].s)
	}
	return true
}

func parseTypes(s string) (bits uint16, ok bool) {
	names := [...]string{"UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"}
	for _, w := range strings.Split(s, ",") {
		i := 0
		for i < len(names) && names[i] != strings.ToUpper(w) {
			i++
		}
		if i == len(names) {
			return 0, false
		}
		bits |= 1 << i
	}
	return bits, true
}

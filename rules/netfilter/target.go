package netfilter

import (
	"strconv"
	"strings"
)

// startTarget begins the options of a target.
func (b *ruleBuilder) startTarget(name string, noBack bool) {
	if b.act != nil {
		b.fail("a second target %s", name)
		b.act, b.target = opaqueAct{}, swallow{}
		return
	}
	v6 := b.r.family == "ip6"
	switch name {
	case "ACCEPT":
		b.act = final{verdict: vAccept}
	case "DROP":
		b.act = final{verdict: vDrop}
	case "RETURN":
		b.act = final{verdict: vReturn}
	case "":
		b.act, b.target = opaqueAct{}, swallow{}
	case "REJECT":
		b.act, b.target = final{verdict: vReject, with: "icmp-port-unreachable"}, rejectOptions{}
		if v6 {
			b.act = final{verdict: vReject, with: "icmp6-port-unreachable"}
		}
	case "MARK", "CONNMARK", "CT", "NOTRACK", "TPROXY":
		b.changeTarget(name)
	case "REDIRECT", "DNAT", "SNAT", "MASQUERADE", "NETMAP":
		t := &natAct{src: name == "SNAT" || name == "MASQUERADE"}
		switch name {
		case "REDIRECT":
			t.kind = natRedirect
		case "MASQUERADE":
			t.kind = natMasquerade
		case "NETMAP":
			t.kind = natMap
		}
		b.act, b.target = t, t
	case "LOG", "NFLOG", "ULOG", "TRACE", "CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "CLASSIFY", "SET", "LED", "IDLETIMER", "RATEEST",
		"SECMARK", "CONNSECMARK", "AUDIT", "ECN", "DSCP", "TOS", "TTL", "HL", "TEE":
		b.act, b.target = passive{name}, swallow{}
	case "NFQUEUE", "QUEUE", "SYNPROXY", "HMARK", "DNPT", "SNPT", "CLUSTERIP", "MIRROR", "XOR", "ACCOUNT":
		b.act, b.target = opaqueAct{}, swallow{}
	default:
		b.act, b.target = b.jump(name, noBack), nil
	}
}

// jump is a jump to a chain of the table; iptables-save declares all of them before the
// first rule. Neighbours that jump to the same one share it.
func (b *ruleBuilder) jump(name string, noBack bool) *jump {
	var to *chain
	if b.r.table != nil {
		to = b.r.table.chains[name]
	}
	if t := b.slabs.jump; t != nil && t.to != nil && t.to == to && t.noBack == noBack {
		return t
	}
	t := &jump{name: name, noBack: noBack}
	b.slabs.jump = t
	if to != nil && !to.base {
		t.to = to
	} else {
		b.jumps = append(b.jumps, pendingJump{t, b.r.line})
	}
	return t
}

func (b *ruleBuilder) changeTarget(name string) {
	switch name {
	case "MARK":
		t := &setMark{}
		b.act, b.target = t, t
	case "CONNMARK":
		t := &setConnmark{ctmask: ^uint32(0), nfmask: ^uint32(0)}
		b.act, b.target = t, t
	case "CT", "NOTRACK":
		t := &setConn{notrack: name == "NOTRACK"}
		b.act, b.target = t, t
	case "TPROXY":
		t := &tproxyAct{}
		b.act, b.target = t, t
	}
}

// opaque makes the target one that is not modelled, and notes what could not be read.
func (b *ruleBuilder) opaque(option, arg string) {
	b.fail(strings.TrimLeft(option, "-")+" %s: invalid syntax", arg)
	b.act, b.target = opaqueAct{}, swallow{}
}

// swallow takes all options of a target that has no effect on the way, or an unknown one.
type swallow struct{}

func (swallow) option(b *ruleBuilder, name string) bool {
	if !strings.HasPrefix(name, "--") {
		return false
	}
	for b.at < len(b.words) && !strings.HasPrefix(b.words[b.at].s, "--") && !b.words[b.at].bang() {
		b.at++
	}
	return true
}

type rejectOptions struct{}

func (rejectOptions) option(b *ruleBuilder, name string) bool {
	if name != "--reject-with" {
		return false
	}
	arg := b.arg()
	if b.act = (final{verdict: vReject, with: arg}); !isReject(arg) {
		b.opaque(name, arg)
	}
	return true
}

// isReject knows the answers of REJECT, with their short names (iptables-extensions(8)).
func isReject(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "icmp-"), "icmp6-")
	switch strings.TrimSuffix(s, "able") {
	case "net-unreach", "host-unreach", "port-unreach", "proto-unreach", "addr-unreach", "net-prohibited", "net-prohib", "host-prohibited", "host-prohib",
		"admin-prohibited", "admin-prohib", "adm-prohibited", "no-route", "policy-fail", "reject-route", "tcp-reset", "tcp-rst":
		return true
	}
	return false
}

func (t *setMark) option(b *ruleBuilder, name string) bool {
	if !strings.HasPrefix(name, "--") {
		return false
	}
	arg := b.arg()
	v, m, ok := parseMark(arg)
	switch name {
	case "--set-xmark":
		*t = setMark{v, m}
	case "--set-mark":
		*t = setMark{v, v | m}
	case "--or-mark":
		*t = setMark{v, v}
	case "--and-mark":
		*t = setMark{0, ^v}
	case "--xor-mark":
		*t = setMark{v, 0}
	default:
		ok = false
	}
	if !ok {
		b.opaque(name, arg)
	}
	return true
}

func (t *setConnmark) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--save-mark":
		t.mode = connmarkSave
		return true
	case "--restore-mark":
		t.mode = connmarkRestore
		return true
	}
	if !strings.HasPrefix(name, "--") {
		return false
	}
	arg := b.arg()
	v, m, ok := parseMark(arg)
	switch name {
	case "--set-xmark":
		t.value, t.ctmask = v, m
	case "--set-mark":
		t.value, t.ctmask = v, v|m
	case "--or-mark":
		t.value, t.ctmask = v, v
	case "--and-mark":
		t.value, t.ctmask = 0, ^v
	case "--xor-mark":
		t.value, t.ctmask = v, 0
	case "--nfmask":
		t.nfmask = v
	case "--ctmask":
		t.ctmask = v
	case "--mask":
		t.nfmask, t.ctmask = v, v
	default:
		ok = false
	}
	if !ok {
		b.opaque(name, arg)
	}
	return true
}

func (t *setConn) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--notrack":
		t.notrack = true
	case "--zone", "--zone-orig", "--zone-reply":
		arg := b.arg()
		n, err := strconv.ParseUint(arg, 0, 16)
		if t.zoneFromMark = arg == "mark"; err != nil && !t.zoneFromMark {
			b.opaque(name, arg)
			return true
		}
		t.zone = uint16(n)
		t.orig = t.orig || name != "--zone-reply"
		t.reply = t.reply || name != "--zone-orig"
	case "--helper", "--ctevents", "--expevents", "--timeout":
		b.arg()
	default:
		return false
	}
	return true
}

func (t *tproxyAct) option(b *ruleBuilder, name string) bool {
	if !strings.HasPrefix(name, "--") {
		return false
	}
	arg := b.arg()
	ok := true
	switch name {
	case "--on-port":
		t.port, ok = portNumber(arg)
	case "--on-ip":
		t.addr, ok = parseAddr(arg, b.r.family == "ip6")
	case "--tproxy-mark":
		t.value, t.mask, ok = parseMark(arg)
	default:
		return false
	}
	if !ok {
		b.opaque(name, arg)
	}
	return true
}

func (t *natAct) option(b *ruleBuilder, name string) bool {
	switch name {
	case "--to-ports":
		arg := b.arg()
		r, ok := parsePorts(arg, "-")
		if !ok {
			b.opaque(name, arg)
			return true
		}
		t.ports, t.hasPorts = r, true
	case "--to-destination", "--to-source", "--to":
		if t.hasAddr || t.hasPorts {
			// An old iptables-save prints arguments of a newer one twice or not at all.
			b.opaque(name, "given twice")
			return true
		}
		if b.at >= len(b.words) || strings.HasPrefix(b.words[b.at].s, "-") {
			b.opaque(name, "")
			return true
		}
		if arg := b.arg(); !t.readTo(arg, b.r.family == "ip6") {
			b.opaque(name, arg)
		}
	case "--random", "--random-fully":
		t.random = true
	case "--persistent":
	default:
		return false
	}
	return true
}

// readTo reads ADDR[-ADDR][:PORT[-PORT]], with brackets for IPv6, or a network of NETMAP.
func (t *natAct) readTo(s string, v6 bool) bool {
	if t.kind == natMap {
		var ok bool
		t.from, t.to, ok = parseNet(s, v6)
		t.hasAddr = ok
		return ok
	}
	ports := ""
	if i := strings.LastIndexByte(s, ']'); v6 && i > 0 {
		ports = strings.TrimPrefix(s[i+1:], ":")
		s = strings.NewReplacer("[", "", "]", "").Replace(s[:i])
	} else if i := strings.LastIndexByte(s, ':'); !v6 && i >= 0 {
		s, ports = s[:i], s[i+1:]
	}
	if ports != "" {
		p, _, _ := strings.Cut(ports, "/") // PORT-PORT/BASE shifts by the base
		if strings.Contains(ports, "/") {
			return false
		}
		r, ok := parsePorts(p, "-")
		if !ok {
			return false
		}
		t.ports, t.hasPorts = r, true
	}
	if s == "" {
		return t.hasPorts
	}
	from, to, is := strings.Cut(s, "-")
	if !is {
		to = from
	}
	var ok1, ok2 bool
	t.from, ok1 = parseAddr(from, v6)
	t.to, ok2 = parseAddr(to, v6)
	t.hasAddr = true
	return ok1 && ok2 && !t.to.less(t.from)
}

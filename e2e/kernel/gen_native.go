package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// spot is where a native rule stands.
type spot struct {
	family, kind, hook string
	w                  words
	two                bool // inet: rules of both families
	names              *declared
}

// declared are the table's sets and maps by what they hold, and the chains to jump to.
type declared struct {
	addrs, ports, pairs, marks, targets []string
	decls                               []string
}

// baseKinds are chain types with their hooks (nft(8), "Chain types").
var baseKinds = []struct {
	kind  string
	hooks []string
}{
	{"filter", []string{"prerouting", "input", "forward", "output", "postrouting"}},
	{"nat", []string{"prerouting", "input", "output", "postrouting"}},
	{"route", []string{"output"}},
}

func (g gen) nativeTable(n int) Table {
	t := Table{Form: Native, Family: g.pick("ip", "ip", "inet", "inet", "ip6"), Name: fmt.Sprintf("mesh-%d", n)}
	names := &declared{}
	g.declare(names, t.Family)
	at := spot{family: t.Family, w: v4, two: t.Family == "inet", names: names}
	if t.Family == "ip6" {
		at.w = v6
	}
	for i := range 3 + g.IntN(5) {
		k := baseKinds[g.IntN(len(baseKinds))]
		if g.p(0.4) {
			k = baseKinds[1]
		}
		at.kind, at.hook = k.kind, k.hooks[g.IntN(len(k.hooks))]
		t.Chains = append(t.Chains, g.nativeChains(at, i)...)
	}
	t.Decls = names.decls
	return t
}

// nativeChains draws one base chain with its user chains.
func (g gen) nativeChains(at spot, n int) []Chain {
	name := fmt.Sprintf("%s%d", at.hook[:3], n)
	var below []string
	for i := range g.IntN(4) {
		below = append(below, fmt.Sprintf("%s-%d", name, i))
	}
	policy := "accept"
	if at.kind == "filter" && g.p(0.05) {
		policy = "drop"
	}
	base := fmt.Sprintf("type %s hook %s priority %s; policy %s;", at.kind, at.hook, g.priority(at), policy)
	out := []Chain{{Name: name, Base: base, Rules: g.nativeRules(at, below)}}
	for i, u := range below {
		out = append(out, Chain{Name: u, Rules: g.nativeRules(at, below[i+1:])})
	}
	return out
}

// priority draws a place in the hook. A nat chain must stand after conntrack (-200).
func (g gen) priority(at spot) string {
	if at.kind == "nat" {
		switch at.hook {
		case "prerouting":
			return g.pick("dstnat", "-100", "-180", "-10", "50")
		case "output":
			return g.pick("-100", "-100", "-180", "-10", "50")
		}
		return g.pick("100", "100", "0", "200")
	}
	return g.pick("-300", "-250", "-150", "-149", "-101", "-99", "0", "0", "10", "50", "150", "filter - 5")
}

// declare draws sets and maps of one table.
func (g gen) declare(d *declared, family string) {
	w, typ := v4, "ipv4_addr"
	if family == "ip6" || family == "inet" && g.p(0.3) {
		w, typ = v6, "ipv6_addr"
	}
	add := func(list *[]string, name, text string) {
		d.decls = append(d.decls, text)
		*list = append(*list, "@"+name)
	}
	if g.p(0.5) {
		add(&d.addrs, "nets", fmt.Sprintf("set nets { type %s; flags interval; elements = { %s, %s } }", typ, w.serviceNet, w.pod))
	}
	if g.p(0.4) {
		add(&d.addrs, "hosts", fmt.Sprintf("set hosts { type %s; flags timeout; elements = { %s timeout 1h, %s } }", typ, w.service, w.loop))
	}
	for i := range d.addrs {
		d.addrs[i] = w.family + " " + d.addrs[i]
	}
	if g.p(0.5) {
		add(&d.ports, "ports", g.pick("set ports { type inet_service; elements = { 80, 8080 } }", "set ports { type inet_service; flags interval; elements = { 53, 1000-16000 } }"))
	}
	if g.p(0.4) {
		add(&d.pairs, "pairs", fmt.Sprintf("set pairs { type %s . inet_service; elements = { %s . 80, %s . 8080 } }", typ, w.service, w.pod))
	}
	if g.p(0.3) {
		add(&d.pairs, "ranges", fmt.Sprintf("set ranges { type %s . inet_service; flags interval; elements = { %s . 80-90, %s . 1-1024 } }", typ, w.serviceNet, w.pod))
	}
	for i := range d.pairs {
		d.pairs[i] = w.family + " " + d.pairs[i]
	}
	if g.p(0.3) {
		add(&d.marks, "marks", "map marks { type inet_service : mark; elements = { 80 : 0x539, 8080 : 0x77 } }")
	}
	if g.p(0.3) {
		add(&d.targets, "targets", fmt.Sprintf("map targets { type %s : %s; elements = { %s : %s, %s : %s } }", typ, typ, w.service, w.pod, w.far, w.service))
		d.targets[0] = w.family + " " + d.targets[0]
	}
}

func (g gen) nativeRules(at spot, below []string) []Rule {
	var out []Rule
	for range 1 + g.IntN(6) {
		out = append(out, g.nativeRule(at, below))
	}
	return out
}

func (g gen) nativeRule(at spot, below []string) Rule {
	if at.two {
		at.w = v4
		if g.p(0.3) {
			at.w = v6
		}
	}
	end := g.nativeEnd(at, below)
	var m Rule
	for range []int{0, 1, 1, 1, 2, 3}[g.IntN(6)] {
		m = append(m, g.nativeMatch(at))
	}
	if strings.HasPrefix(end[0], "reject with icmp") {
		// Of a test of the protocol beside it nft lists only one, so that nobody can know both.
		m = slices.DeleteFunc(m, func(c string) bool {
			return strings.HasPrefix(c, "meta protocol") || strings.HasPrefix(c, "meta nfproto")
		})
	}
	if slices.ContainsFunc(m, func(c string) bool { return strings.HasPrefix(c, "meta nfproto") || strings.HasPrefix(c, "ip") }) {
		// nft lists one of two tests of the family, though they contradict.
		m = slices.DeleteFunc(m, func(c string) bool { return strings.HasPrefix(c, "meta protocol") })
	}
	if slices.ContainsFunc(m, func(c string) bool { return strings.Contains(c, "l4proto") }) || strings.Contains(end[0], "l4proto") {
		// Of two tests of the ports' protocol nft lists one.
		m = slices.DeleteFunc(m, func(c string) bool { return strings.HasPrefix(c, "ct original protocol") })
	}
	not := g.pick("udp ", "udp ", "tcp ") // one rule cannot look at the ports of two protocols
	m = slices.DeleteFunc(m, func(c string) bool { return strings.Contains(c, not+"dport") || strings.HasPrefix(c, not) })
	if strings.HasPrefix(end[0], "meta l4proto") {
		// Ports in the matches bring a protocol of their own, which may not be this one.
		m = slices.DeleteFunc(m, func(c string) bool {
			return strings.Contains(c, "port") || strings.Contains(c, "l4proto") || strings.Contains(c, "protocol") || strings.Contains(c, "tcp")
		})
	}
	if g.p(0.3) {
		m = append(m, "counter")
	}
	if g.p(0.2) {
		m = append(m, g.nativeChange(at))
	}
	return append(m, end...)
}

func (g gen) is(share float64) string {
	if g.p(share) {
		return "!= "
	}
	return ""
}

// nativeMatch draws one match.
func (g gen) nativeMatch(at spot) string {
	switch g.IntN(13) {
	case 12:
		return g.nativeOdd(at)
	case 0, 1:
		return g.nativeAddr(at)
	case 2, 3:
		return g.nativePort()
	case 4:
		if at.two && g.p(0.3) {
			return g.pick("meta nfproto ipv4", "meta nfproto ipv6", "meta protocol ip", "meta protocol ip6")
		}
		return g.pick("meta l4proto tcp", "meta l4proto udp", "meta l4proto != tcp", "meta l4proto { tcp, udp }", "tcp flags syn / syn,ack,rst", "tcp flags & (fin|syn) == syn", "tcp flags ! fin")
	case 5, 6:
		return g.nativeDevice(at)
	case 7:
		return g.nativeOwner(at)
	case 8:
		return g.pick("meta mark 0x539", "meta mark != 0x539", "meta mark & 0xfff == 0x539", "meta mark & 0x4000 != 0x0", "meta mark { 0x0, 0x77 }", "ct mark 0x111", "ct mark != 0x0", "ct mark & 0xff == 0x11", "meta mark 0x500-0x600", "meta mark > 0x70")
	case 9:
		return g.pick("ct state new", "ct state established,related", "ct state != new", "ct state invalid", "ct state untracked", "ct state { new, established }", "ct status dnat", "ct status & (dnat | snat) == 0x0", "ct status != dnat", "ct direction original", "ct direction reply", "ct state vmap { established : accept, new : continue }")
	case 10:
		return g.nativeFib(at)
	default:
		return g.nativeSet(at)
	}
}

// nativeOdd draws a match that is written seldom.
func (g gen) nativeOdd(at spot) string {
	w := at.w
	can := []string{"meta l4proto { tcp, udp } @th,16,16 80", "@th,16,16 != 8080", "ct original proto-dst 80", "ct original protocol tcp", "ct original " + w.family + " daddr " + w.service, "ct reply " + w.family + " saddr " + w.pod,
		"icmp type echo-request", "icmpv6 type echo-request", "ct zone 0", "ct zone 1", "meta pkttype host", "tcp dport . tcp sport { 80 . 20000-40000 }", "meta l4proto . meta mark { tcp . 0x0, udp . 0x539 }",
		"meta mark and 0xff != 0x39", "ct mark and 0x1 == 0x0", "tcp flags & (fin | syn | rst | ack) != syn", "tcp flags { syn, ack }", "meta skuid . meta skgid { 1337 . 1337 }", "oifname . iifname { eth0 . lo }"}
	if w.family == "ip" {
		can = append(can, "ip protocol tcp", "ip protocol != udp", "ip protocol { tcp, udp }", "ip daddr & 255.255.0.0 == 10.244.0.0", "ip saddr & 0.0.0.255 != 0.0.0.7", "ip version 4")
	} else {
		can = append(can, "ip6 nexthdr tcp", "ip6 nexthdr != udp", "ip6 daddr & ffff:ffff:: == fd00:1::")
	}
	if at.hook == "prerouting" || at.hook == "input" {
		can = append(can, "socket transparent 1", "socket transparent 0", "socket wildcard 1", "fib daddr . iif type local", "fib saddr . iif oif exists", "fib saddr . iif oif missing", "fib daddr oifname eth0")
	}
	return g.pick(can...)
}

func (g gen) nativeAddr(at spot) string {
	w := at.w
	field := w.family + " " + g.pick("daddr ", "daddr ", "saddr ")
	return field + g.is(0.35) + g.pick(w.loop, w.service, w.pod, w.tenNet, w.serviceNet, w.podNet, "{ "+w.pod+", "+w.serviceNet+" }", "{ "+w.loop+", "+w.service+" }", w.pod+"-"+w.pod2)
}

func (g gen) nativePort() string {
	if g.p(0.1) {
		return g.pick("tcp dport > 1024", "meta l4proto { tcp, udp } th dport <= 80", "tcp sport < 40000", "meta l4proto { tcp, udp } th dport >= 8080")
	}
	return g.pick("tcp dport ", "tcp dport ", "udp dport ", "meta l4proto { tcp, udp } th dport ", "tcp sport ") + g.is(0.3) + g.pick("80", "8080", "53", "80-90", "{ 80, 8080 }", "{ 53, 1000-16000 }", "15006", "1-65535")
}

func (g gen) nativeDevice(at spot) string {
	in, out := at.hook != "output" && at.hook != "postrouting", at.hook != "prerouting" && at.hook != "input"
	if in && (!out || g.p(0.5)) {
		return g.pick("iifname ", "iifname ", "iif ") + g.is(0.3) + g.pick(`"lo"`, `"eth0"`, `{ "eth0", "eth1" }`, `"lo"`)
	}
	return g.pick("oifname ", "oifname ", "oif ") + g.is(0.3) + g.pick(`"lo"`, `"eth0"`, `{ "lo", "eth1" }`) + g.pick("", "", ` oifname "e*"`)
}

func (g gen) nativeOwner(at spot) string {
	if at.hook != "output" && at.hook != "postrouting" && g.p(0.8) {
		return ""
	}
	return g.pick("meta skuid ", "meta skuid ", "meta skgid ") + g.is(0.4) + g.pick("1337", "1000", "1000-1400", "{ 0, 1337 }")
}

func (g gen) nativeFib(at spot) string {
	return g.pick("fib daddr type ", "fib daddr type ", "fib saddr type ") + g.is(0.3) + g.pick("local", "unicast", "{ local, broadcast }")
}

// nativeSet draws a look-up in a named or anonymous set of more than one part.
func (g gen) nativeSet(at spot) string {
	d := at.names
	var can []string
	for _, s := range d.addrs {
		fam, name, _ := strings.Cut(s, " ")
		if at.family == "inet" || fam == at.w.family {
			can = append(can, fam+" "+g.pick("daddr ", "saddr ")+g.is(0.3)+name)
		}
	}
	for _, s := range d.pairs {
		fam, name, _ := strings.Cut(s, " ")
		if at.family == "inet" || fam == at.w.family {
			can = append(can, fam+" daddr . tcp dport "+g.is(0.3)+name, "meta l4proto { tcp, udp } "+fam+" daddr . th dport "+name)
		}
	}
	for _, s := range d.ports {
		can = append(can, "tcp dport "+g.is(0.3)+s, "udp dport "+s)
	}
	w := at.w
	can = append(can, fmt.Sprintf("%s daddr . tcp dport { %s . 80, %s . 8080 }", w.family, w.service, w.pod),
		"meta l4proto . th dport { tcp . 80, udp . 53, tcp . 8080 }",
		fmt.Sprintf("%s saddr . %s daddr != { %s . %s }", w.family, w.family, w.pod, w.service),
		"numgen random mod 2 0")
	if g.p(0.1) {
		return can[g.IntN(len(can))]
	}
	return can[g.IntN(len(can)-1)]
}

// nativeChange draws a statement after which the rule goes on.
func (g gen) nativeChange(at spot) string {
	can := []string{"meta mark set 0x539", "meta mark set 0x77", "meta mark set meta mark | 0x10", "meta mark set meta mark & 0xfffffff0 ^ 0x1", "ct mark set 0x111", "ct mark set meta mark", "meta mark set ct mark", "ct mark set ct mark | 0x1", "meta mark set tcp dport map { 80 : 0x539, 8080 : 0x77 }", `log prefix "x "`}
	for _, m := range at.names.marks {
		can = append(can, "meta mark set tcp dport map "+m, "meta l4proto { tcp, udp } meta mark set th dport map "+m)
	}
	return g.pick(can...)
}

// nativeEnd draws the last statement, with the protocol that it needs.
func (g gen) nativeEnd(at spot, below []string) Rule {
	if len(below) > 0 && g.p(0.35) {
		if g.p(0.3) {
			return Rule{g.vmap(at, below)}
		}
		return Rule{g.pick("jump ", "jump ", "jump ", "goto ") + g.pick(below...)}
	}
	if at.kind == "nat" && g.p(0.5) {
		return g.nativeNAT(at)
	}
	if at.kind == "filter" && at.hook == "prerouting" && g.p(0.15) {
		proto := Rule{"meta l4proto " + g.pick("tcp", "tcp", "udp", "{ tcp, udp }")}
		to := g.pick(":15006", ":15006", ":15009")
		if at.two && g.p(0.5) {
			proto, to = append(proto, "meta nfproto ipv4"), g.pick("ip to 127.0.0.1:15006", "ip to :15006")
		}
		if strings.HasPrefix(to, ":") {
			to = "to " + to
		}
		return append(proto, "tproxy "+to, g.pick("meta mark set 0x539", ""), g.pick("accept", ""))
	}
	if at.kind == "filter" && g.p(0.05) && at.hook != "prerouting" && at.hook != "postrouting" {
		return Rule{g.pick("reject", "reject", "reject with "+g.pick("icmp", "icmpv6", "icmpx")+" type admin-prohibited", "meta l4proto tcp reject with tcp reset")}
	}
	if at.kind != "nat" && g.p(0.04) {
		return Rule{"drop"}
	}
	if at.kind == "filter" && g.p(0.03) && (at.hook == "prerouting" || at.hook == "output") {
		return Rule{g.pick("notrack", "ct zone set 1")}
	}
	return Rule{g.pick("", "counter", "return", "return", "accept", "continue", "")}
}

func (g gen) vmap(at spot, below []string) string {
	to := func() string {
		return g.pick("jump "+g.pick(below...), "goto "+g.pick(below...), "accept", "return", "continue")
	}
	w := at.w
	return g.pick(
		fmt.Sprintf("tcp dport vmap { 80 : %s, 8080 : %s, 15000-16000 : %s }", to(), to(), to()),
		fmt.Sprintf("meta l4proto vmap { tcp : %s, udp : %s }", to(), to()),
		fmt.Sprintf("meta mark vmap { 0x539 : %s, 0x0 : %s }", to(), to()),
		fmt.Sprintf("%s daddr vmap { %s : %s, %s : %s, %s : %s }", w.family, w.service, to(), w.podNet, to(), w.loop, to()),
		fmt.Sprintf("%s daddr . meta l4proto . th dport vmap { %s . tcp . 80 : %s, %s . udp . 53 : %s }", w.family, w.service, to(), w.pod, to()),
		fmt.Sprintf("fib daddr type vmap { local : %s, unicast : %s }", to(), to()))
}

func (g gen) nativeNAT(at spot) Rule {
	w, d := at.w, at.names
	proto := "meta l4proto " + g.pick("tcp", "tcp", "udp", "{ tcp, udp }")
	fam, with := "", func(a, port string) string { return a + ":" + port }
	if w.family == "ip6" {
		with = func(a, port string) string { return "[" + a + "]:" + port }
	}
	if at.two {
		fam = w.family + " "
	}
	if at.hook == "postrouting" {
		return Rule{"meta l4proto { tcp, udp }", g.pick("masquerade", "snat "+fam+"to "+w.pod, "snat "+fam+"to "+w.pod2)}
	}
	if at.hook == "input" {
		return Rule{"meta l4proto { tcp, udp }", "snat " + fam + "to " + g.pick(w.pod, w.peer)}
	}
	can := []string{"redirect to :15001", "redirect to :15001", "redirect to :15006", "redirect", "redirect to :15001-15010",
		"dnat " + fam + "to " + with(w.pod, "8080"), "dnat " + fam + "to " + with(w.service, "81"), "dnat " + fam + "to " + w.service, "dnat " + fam + "to " + with(w.beyond, "80"),
		fmt.Sprintf("dnat %sto %s daddr map { %s : %s, %s : %s }", fam, w.family, w.service, w.pod, w.far, w.service),
		fmt.Sprintf("dnat %sto numgen random mod 2 map { 0 : %s, 1 : %s }", fam, w.pod, w.service),
		"redirect to :th dport map { 80 : 15001, 8080 : 15006 }"}
	for _, m := range d.targets {
		f, name, _ := strings.Cut(m, " ")
		if f == w.family {
			can = append(can, fmt.Sprintf("dnat %sto %s daddr map %s", fam, f, name))
		}
	}
	return Rule{proto, g.pick(can...)}
}

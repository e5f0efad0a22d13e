package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// ipsets are the sets that rules of iptables may name; the kernel numbers them per
// namespace.
var ipsets = []string{
	"create s-ip hash:ip", "add s-ip 10.107.42.16", "add s-ip 127.0.0.1",
	"create s-net hash:net", "add s-net 10.244.0.0/16", "add s-net 10.244.1.8 nomatch",
	"create s-port hash:ip,port", "add s-port 10.107.42.16,tcp:80", "add s-port 10.244.1.7,udp:53",
}

// table describes what iptables allows where.
var tableHooks = []struct {
	name  string
	hooks []string
}{
	{"raw", []string{"PREROUTING", "OUTPUT"}},
	{"mangle", []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}},
	{"nat", []string{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}},
	{"filter", []string{"INPUT", "FORWARD", "OUTPUT"}},
	{"security", []string{"INPUT", "FORWARD", "OUTPUT"}},
}

// place is where a rule stands: its table, and the hooks that its chain is reached from.
type place struct {
	form  Form
	w     words
	table string
	hooks []string
	user  bool // in a user's chain
}

// only says whether the place is reached from no other hooks.
func (p place) only(hooks ...string) bool {
	for _, h := range p.hooks {
		if !slices.Contains(hooks, h) {
			return false
		}
	}
	return true
}

// tables draws the tables of one back end and family.
func (g gen) tables(f Form) []Table {
	var out []Table
	for _, th := range tableHooks {
		if th.name != "nat" && g.p(0.4) {
			continue
		}
		out = append(out, g.table(f, th.name, th.hooks))
	}
	return out
}

func (g gen) table(f Form, name string, hooks []string) Table {
	t := Table{Form: f, Name: name}
	at := place{form: f, w: v4, table: name}
	if f == V6NFT || f == V6Legacy {
		at.w = v6
	}
	users := map[string][]string{} // hook: its user chains, in the order in which they may jump
	var chains []Chain
	for _, h := range hooks {
		for i := range g.IntN(4) {
			users[h] = append(users[h], fmt.Sprintf("%s-%d", h, i))
		}
	}
	shared := ""
	if g.p(0.5) {
		shared = "SHARED"
		at := at
		at.hooks, at.user = hooks, true
		chains = append(chains, Chain{Name: shared, Rules: g.rules(at, nil)})
	}
	for _, h := range hooks {
		at := at
		at.hooks = []string{h}
		below := users[h]
		if shared != "" {
			below = append(below[:len(below):len(below)], shared)
		}
		t.Chains = append(t.Chains, Chain{Name: h, Base: g.policy(name), Rules: g.rules(at, below)})
		at.user = true
		for i, u := range users[h] {
			chains = append(chains, Chain{Name: u, Rules: g.rules(at, below[i+1:])})
		}
	}
	t.Chains = append(t.Chains, chains...)
	return t
}

func (g gen) policy(table string) string {
	if table == "filter" && g.p(0.06) || table == "mangle" && g.p(0.02) {
		return "DROP"
	}
	return "ACCEPT"
}

func (g gen) rules(at place, below []string) []Rule {
	var out []Rule
	for range g.IntN(6) {
		out = append(out, g.rule(at, below))
	}
	return out
}

// rule draws matches and a target. A target that needs a protocol gets one.
func (g gen) rule(at place, below []string) Rule {
	m := g.matches(at)
	target, proto := g.target(at, below)
	if proto != "" {
		kept := Rule{"-p " + proto}
		for _, c := range m {
			if !strings.Contains(c, "-p ") && !strings.Contains(c, "-m tcp") && !strings.Contains(c, "-m udp") && !strings.Contains(c, "-m multiport") {
				kept = append(kept, c)
			}
		}
		m = kept
	}
	return append(m, target)
}

func (g gen) matches(at place) Rule {
	var m Rule
	w := at.w
	if g.p(0.3) {
		m = append(m, g.not(0.35)+"-d "+g.pick(w.loop+w.hostBit, w.service+w.hostBit, w.pod, w.tenNet, w.serviceNet, w.loopNet, w.pod2))
	}
	if g.p(0.15) {
		m = append(m, g.not(0.3)+"-s "+g.pick(w.pod, w.loopNet, w.podNet, w.service))
	}
	if g.p(0.2) && (at.only("FORWARD", "OUTPUT", "POSTROUTING") || at.user && g.p(0.1)) {
		m = append(m, g.not(0.3)+"-o "+g.pick("lo", "eth0", "eth1", "eth+", "l+", "none0"))
	}
	if g.p(0.2) && (at.only("FORWARD", "PREROUTING", "INPUT") || at.user && g.p(0.1)) {
		m = append(m, g.not(0.3)+"-i "+g.pick("lo", "eth0", "eth1", "eth+"))
	}
	m = append(m, g.protocol()...)
	for _, c := range []struct {
		share float64
		draw  func(place) string
	}{{0.3, g.owner}, {0.12, g.addrtype}, {0.18, g.mark}, {0.12, g.connmark}, {0.12, g.conntrack}, {0.03, g.ipset}, {0.03, g.iprange}, {0.05, g.comment}, {0.02, g.socket}, {0.01, g.chance}} {
		if g.p(c.share) {
			m = append(m, c.draw(at))
		}
	}
	return m
}

func (g gen) protocol() Rule {
	if g.p(0.4) {
		return nil
	}
	proto := g.pick("tcp", "tcp", "tcp", "udp")
	if g.p(0.1) {
		return Rule{g.pick("! -p "+proto, "-p 132", "-p 6")}
	}
	m := Rule{"-p " + proto}
	switch {
	case g.p(0.25):
		// No negated 0:65535 and no "! -i +": iptables-legacy-save forgets them (libxt_tcp.c,
		// libxt_udp.c, print_iface), so that nobody can know from its text.
		m = append(m, "-m "+proto+" "+g.not(0.3)+g.pick("--dport ", "--dport ", "--sport ")+g.pick("80", "8080", "15001", "53", "80:90", ":1024", "8000:"))
	case g.p(0.25):
		m = append(m, "-m multiport "+g.not(0.3)+g.pick("--dports ", "--ports ", "--sports ")+g.pick("80,53", "80:90,8080", "15001,15006", "1:65535", "40000:65535"))
	case proto == "tcp" && g.p(0.1):
		m = append(m, "-m tcp "+g.not(0.3)+g.pick("--syn", "--tcp-flags SYN,ACK SYN", "--tcp-flags ALL NONE", "--tcp-flags RST,FIN FIN"))
	}
	return m
}

func (g gen) owner(at place) string {
	if !at.only("OUTPUT", "POSTROUTING") {
		return ""
	}
	return "-m owner " + g.pick(
		g.not(0.4)+"--uid-owner "+g.pick("1337", "1000", "1000-1400", "0", "0-4294967294"),
		g.not(0.4)+"--gid-owner "+g.pick("1337", "1000", "5-1000"),
		g.not(0.3)+"--uid-owner 1337 "+g.not(0.3)+"--gid-owner 1337",
		g.not(0.3)+"--socket-exists")
}

func (g gen) addrtype(at place) string {
	c := "-m addrtype " + g.not(0.4) + g.pick("--dst-type LOCAL", "--dst-type LOCAL", "--src-type LOCAL", "--dst-type UNICAST", "--src-type UNICAST,LOCAL", "--dst-type MULTICAST")
	if g.p(0.1) && at.only("PREROUTING", "INPUT") {
		c += " --limit-iface-in"
	}
	if g.p(0.1) && at.only("POSTROUTING", "OUTPUT") {
		c += " --limit-iface-out"
	}
	return c
}

func (g gen) mark(place) string {
	return "-m mark " + g.not(0.4) + "--mark " + g.pick("0x539", "0x539/0xfff", "0x0/0x4000", "0x77", "0x0", "0x4000/0x4000")
}

func (g gen) connmark(place) string {
	return "-m connmark " + g.not(0.4) + "--mark " + g.pick("0x539", "0x111/0xfff", "0x0", "0x111")
}

func (g gen) conntrack(at place) string {
	if g.p(0.1) {
		return "-m state " + g.not(0.3) + "--state " + g.pick("NEW", "ESTABLISHED,RELATED", "INVALID", "UNTRACKED")
	}
	more := g.pick("--ctdir ORIGINAL", "--ctdir REPLY", "--ctorigdstport 80", "--ctproto tcp", "--ctorigdst "+at.w.service, "--ctorigsrc "+at.w.pod, "--ctstatus NONE", "--ctstatus CONFIRMED", "--ctreplsrc "+at.w.loop, "--ctreplsrcport 15001")
	if g.p(0.15) {
		if !strings.HasPrefix(more, "--ctdir") {
			more = g.not(0.3) + more
		}
		return "-m conntrack " + more
	}
	return "-m conntrack " + g.not(0.3) + "--ctstate " + g.pick("NEW", "RELATED,ESTABLISHED", "DNAT", "UNTRACKED,NEW", "RELATED,ESTABLISHED,DNAT", "UNTRACKED", "INVALID", "SNAT", "NEW,SNAT,DNAT")
}

func (g gen) ipset(at place) string {
	if at.w.family != "ip" {
		return ""
	}
	return "-m set " + g.not(0.3) + "--match-set " + g.pick("s-ip dst", "s-ip src", "s-net dst", "s-net src", "s-port dst,dst", "s-port src,dst")
}

func (g gen) iprange(at place) string {
	return "-m iprange " + g.not(0.3) + g.pick("--dst-range ", "--src-range ") + at.w.pod + "-" + at.w.pod2
}

func (g gen) comment(place) string {
	return "-m comment --comment " + g.pick(`plain`, `"two words"`, `"it's -j DROP"`, `"a \"quote\" and \\ more"`, `"-A OUTPUT ! -s 1.2.3.4"`)
}

func (g gen) socket(at place) string {
	if !at.only("PREROUTING", "INPUT") {
		return ""
	}
	return "-m socket" + g.pick("", " --transparent", " --nowildcard", " --nowildcard --transparent")
}

func (g gen) chance(place) string { return "-m statistic --mode random --probability 0.5" }

// target draws a target, and the protocol that it needs.
func (g gen) target(at place, below []string) (target, proto string) {
	if len(below) > 0 && g.p(0.35) {
		return g.pick("-j ", "-j ", "-j ", "-g ") + g.pick(below...), ""
	}
	if at.table == "nat" && g.p(0.45) {
		return g.nat(at)
	}
	if at.table != "nat" && g.p(0.25) {
		return g.change(), ""
	}
	switch {
	case at.table == "raw" && g.p(0.15):
		return g.pick("-j CT --notrack", "-j CT --notrack", "-j CT --zone 1", "-j CT --zone-orig 2", "-j CT --zone-reply 3"), ""
	case at.table == "mangle" && at.only("PREROUTING") && g.p(0.3):
		return g.tproxy(at)
	case at.table == "filter" && g.p(0.06):
		if g.p(0.3) {
			return "-j REJECT --reject-with tcp-reset", "tcp"
		}
		return "-j REJECT", ""
	case at.table != "nat" && g.p(0.04):
		return "-j DROP", ""
	case g.p(0.03):
		return g.pick(`-j LOG --log-prefix "a b "`, "-j NFLOG --nflog-group 5"), ""
	}
	return g.pick("", "-j RETURN", "-j RETURN", "-j ACCEPT", ""), ""
}

func (g gen) change() string {
	return g.pick("-j MARK --set-xmark 0x539/0xffffffff", "-j MARK --set-mark 0x4000/0x4000", "-j MARK --or-mark 0x10", "-j MARK --and-mark 0xfff0", "-j MARK --xor-mark 0x77", "-j MARK --set-xmark 0x4000/0x0",
		"-j CONNMARK --set-xmark 0x111/0xfff", "-j CONNMARK --set-mark 0x539", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark",
		"-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0f", "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xfff")
}

func (g gen) tproxy(at place) (target, proto string) {
	target = "-j TPROXY --on-port " + g.pick("15006", "15006", "15001", "15009")
	if g.p(0.2) {
		target += " --on-ip " + g.pick(at.w.loop, at.w.any, at.w.pod)
	}
	if g.p(0.7) {
		target += " --tproxy-mark " + g.pick("0x539/0xffffffff", "0x539", "0x4000/0x4000")
	}
	return target, g.pick("tcp", "tcp", "udp")
}

// nat draws a target that changes an address, by what the hooks allow.
func (g gen) nat(at place) (target, proto string) {
	w := at.w
	with := func(addr, port string) string {
		if w.family == "ip6" {
			return "[" + addr + "]:" + port
		}
		return addr + ":" + port
	}
	switch {
	case at.only("OUTPUT", "PREROUTING"):
		return g.pick("-j REDIRECT --to-ports 15001", "-j REDIRECT --to-ports 15001", "-j REDIRECT --to-ports 15006", "-j REDIRECT",
			"-j REDIRECT --to-ports 15001-15010", "-j REDIRECT --to-ports 15001-15004 --random", "-j NETMAP --to "+w.podNet, "-j DNAT --to-destination "+with(w.pod, "8080-8090"), "-j DNAT --to-destination "+with(w.pod, "8080"), "-j DNAT --to-destination "+with(w.service, "81"),
			"-j DNAT --to-destination "+with(w.loop, "53"), "-j DNAT --to-destination "+w.service, "-j DNAT --to-destination "+with(w.beyond, "80")), g.pick("tcp", "tcp", "udp")
	case at.only("POSTROUTING"):
		return g.pick("-j SNAT --to-source "+w.pod, "-j MASQUERADE", "-j MASQUERADE", "-j SNAT --to-source "+w.pod2, "-j MASQUERADE --random-fully", "-j NETMAP --to "+w.podNet), ""
	case at.only("INPUT"):
		return g.pick("-j SNAT --to-source "+w.pod, "-j SNAT --to-source "+w.peer), ""
	}
	return g.pick("-j RETURN", "-j ACCEPT"), ""
}

package netfilter

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// someHost is a pod with two devices, a second address and a policy route.
var someHost = map[string][]byte{
	"addr.json": []byte(`[{"ifname":"lo","flags":["LOOPBACK"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},{"family":"inet6","local":"::1","prefixlen":128,"scope":"host"}]},
{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.244.1.7","prefixlen":24,"scope":"global"},{"family":"inet","local":"10.244.1.8","prefixlen":24,"scope":"global","secondary":true},{"family":"inet6","local":"fd00:1::7","prefixlen":64,"scope":"global"},{"family":"inet6","local":"fe80::7","prefixlen":64,"scope":"link"}]},
{"ifname":"eth1","addr_info":[{"family":"inet","local":"10.9.0.7","prefixlen":24,"scope":"global"}]}]`),
	"route.json":  []byte(someRoutes),
	"route6.json": []byte(`[{"dst":"fd00:1::/64","dev":"eth0","pref":"medium"},{"dst":"default","gateway":"fd00:1::1","dev":"eth0","pref":"medium"}]`),
	"rule.json":   []byte(someRules),
	"sysctl":      []byte("net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.route_localnet = 0\nnet.ipv4.conf.eth1.route_localnet = 1\nnet.ipv4.conf.all.rp_filter = 0\nnet.ipv4.conf.eth1.rp_filter = 1\nnet.ipv6.conf.all.forwarding = 0\n"),
	"sockets": []byte("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n" +
		"tcp LISTEN 0 128 0.0.0.0:15006 0.0.0.0:* users:((\"envoy\",pid=7,fd=3)) uid:1337 ino:5 sk:6 <-> inet-sockopt: ( is_icsk transparent)\n" +
		"tcp LISTEN 0 128 0.0.0.0:15001 0.0.0.0:* ino:5 sk:6 <->\n\tinet-sockopt: ( is_icsk)\n" +
		"tcp LISTEN 0 128 127.0.0.1:8080 0.0.0.0:* ino:5 sk:7 <-> inet-sockopt: ()\n" +
		"tcp LISTEN 0 128 *:9000 *:* ino:5 sk:8 <->\n"),
}

const (
	someRoutes = `[{"dst":"default","gateway":"10.244.1.1","dev":"eth0","flags":[]},{"dst":"10.9.0.0/16","gateway":"10.9.0.1","dev":"eth1","flags":[]},
{"dst":"10.244.1.0/24","dev":"eth0","scope":"link","prefsrc":"10.244.1.7"},{"dst":"10.9.0.0/24","dev":"eth1","scope":"link","prefsrc":"10.9.0.7"},
{"type":"unreachable","dst":"10.66.0.0/16"},{"type":"local","dst":"default","dev":"lo","table":"133","scope":"host"}]`
	someRules = `[{"priority":0,"src":"all","table":"local"},{"priority":100,"src":"all","fwmark":"0x7000","fwmask":"0xf000","table":"133"},
{"priority":32766,"src":"all","table":"main"},{"priority":32767,"src":"all","table":"default"}]`
)

func host(t testing.TB, files map[string][]byte) *Host {
	t.Helper()
	h, gaps, err := ParseHost(files)
	if err != nil || len(gaps) > 0 {
		t.Fatal(gaps, err)
	}
	return h
}

// out is a packet that a process sends; mods change it.
func out(dst string, mods ...func(*Packet)) Packet {
	p := Packet{Dst: netip.MustParseAddrPort(dst), Src: netip.MustParseAddrPort("0.0.0.0:40000"), Proto: flow.TCP, UID: 1000, GID: 1000}
	if p.Dst.Addr().Is6() {
		p.Src = netip.MustParseAddrPort("[::]:40000")
	}
	for _, m := range mods {
		m(&p)
	}
	return p
}

// in is a packet from the wire.
func in(dst string, mods ...func(*Packet)) Packet {
	p := Packet{Dir: flow.Inbound, In: "eth0", Dst: netip.MustParseAddrPort(dst), Src: netip.MustParseAddrPort("10.244.1.1:40000"), Proto: flow.TCP}
	if p.Dst.Addr().Is6() {
		p.Src = netip.MustParseAddrPort("[fd00:1::1]:40000")
	}
	for _, m := range mods {
		m(&p)
	}
	return p
}

func uid(n uint32) func(*Packet)  { return func(p *Packet) { p.UID = n } }
func gid(n uint32) func(*Packet)  { return func(p *Packet) { p.GID = n } }
func mark(n uint32) func(*Packet) { return func(p *Packet) { p.Mark = n } }
func dev(s string) func(*Packet)  { return func(p *Packet) { p.In = s } }
func udp(p *Packet)               { p.Proto = flow.UDP }
func kernels(p *Packet)           { p.NoSocket = true }
func from(s string) func(*Packet) {
	return func(p *Packet) { p.Src = netip.MustParseAddrPort(s) }
}

// matches asks whether one rule of a chain matches a packet.
func matches(t *testing.T, files map[string][]byte, h *Host, p Packet) flow.Answer {
	t.Helper()
	rs, gaps, err := Parse(files)
	if err != nil || len(gaps) > 0 {
		t.Fatal(gaps, err)
	}
	ch := &flow.Choices{}
	r := rs.Walk(h, p, ch)
	if len(ch.Made()) > 0 {
		return flow.Maybe
	}
	return flow.Is(len(hits(r)) > 0)
}

const (
	yes, no, maybe = flow.Yes, flow.No, flow.Maybe
)

// Each row is a condition with packets on both sides of its edge. Conditions stand in
// OUTPUT of mangle unless the packet comes from the wire: then in INPUT.
func TestMatches(t *testing.T) {
	h := host(t, someHost)
	sets := []byte("create a hash:ip\nadd a 10.0.0.1\ncreate n hash:net\nadd n 10.0.0.0/8\nadd n 10.1.0.0/16 nomatch\ncreate p hash:ip,port\nadd p 10.0.0.1,tcp:80\ncreate b bitmap:port range 0-65535\nadd b 80\ncreate l list:set\nadd l a\nadd l p\n")
	for _, c := range []struct {
		cond string
		p    Packet
		want flow.Answer
	}{
		// -d: one address, its neighbours; ! turns it round; masks of any form
		{"-d 127.0.0.1/32", out("127.0.0.1:80"), yes}, {"-d 127.0.0.1/32", out("127.0.0.2:80"), no},
		{"! -d 127.0.0.1/32", out("127.0.0.2:80"), yes}, {"! -d 127.0.0.1", out("127.0.0.1:80"), no},
		{"-d 10.0.0.0/8", out("10.255.255.255:80"), yes}, {"-d 10.0.0.0/8", out("11.0.0.0:80"), no}, {"-d 10.0.0.0/8", out("9.255.255.255:80"), no},
		{"-d 10.0.0.1/255.0.0.255", out("10.7.7.1:80"), yes}, {"-d 10.0.0.1/255.0.0.255", out("10.7.7.2:80"), no},
		{"-d 0.0.0.0/0", out("9.9.9.9:80"), yes},
		// -s: chosen by the kernel
		{"-s 10.244.1.7", out("9.9.9.9:80"), yes}, {"-s 10.244.1.8", out("9.9.9.9:80"), no}, {"-s 10.9.0.7", out("10.9.9.9:80"), yes},
		// -o, -i: exact, prefix, none
		{"-o lo", out("127.0.0.1:80"), yes}, {"-o lo", out("9.9.9.9:80"), no}, {"-o eth+", out("9.9.9.9:80"), yes}, {"-o eth0+", out("9.9.9.9:80"), yes}, {"-o eth", out("9.9.9.9:80"), no},
		{"! -o lo", out("9.9.9.9:80"), yes}, {"-o eth1", out("10.9.9.9:80"), yes},
		{"-i eth0", in("10.244.1.7:80"), yes}, {"-i eth1", in("10.244.1.7:80"), no}, {"! -i eth0", in("10.9.0.7:80", dev("eth1"), from("10.9.0.1:9")), yes},
		// -p
		{"-p tcp", out("9.9.9.9:80"), yes}, {"-p tcp", out("9.9.9.9:80", udp), no}, {"! -p tcp", out("9.9.9.9:80", udp), yes}, {"-p 17", out("9.9.9.9:80", udp), yes}, {"-p all", out("9.9.9.9:80"), yes}, {"-p 132", out("9.9.9.9:80"), no},
		// ports: below, on, above; open ranges
		{"-p tcp -m tcp --dport 80", out("9.9.9.9:79"), no}, {"-p tcp -m tcp --dport 80", out("9.9.9.9:80"), yes}, {"-p tcp -m tcp --dport 80", out("9.9.9.9:81"), no},
		{"-p tcp --dport 80:90", out("9.9.9.9:79"), no}, {"-p tcp --dport 80:90", out("9.9.9.9:90"), yes}, {"-p tcp --dport 80:90", out("9.9.9.9:91"), no},
		{"-p tcp --dport :80", out("9.9.9.9:80"), yes}, {"-p tcp --dport :80", out("9.9.9.9:81"), no}, {"-p tcp --dport 80:", out("9.9.9.9:79"), no}, {"-p tcp --dport 80:", out("9.9.9.9:65535"), yes},
		{"-p tcp ! --dport 80", out("9.9.9.9:80"), no}, {"-p udp -m udp --sport 40000", out("9.9.9.9:53", udp), yes}, {"-p tcp --sport 40001", out("9.9.9.9:53"), no},
		{"-p tcp --sport 40000", out("9.9.9.9:53", from("0.0.0.0:0")), maybe}, {"-p tcp --sport :1024", out("9.9.9.9:53", from("0.0.0.0:0")), maybe}, {"-p tcp --sport 0:65535", out("9.9.9.9:53", from("0.0.0.0:0")), yes},
		{"-p tcp -m multiport --dports 80,443", out("9.9.9.9:443"), yes}, {"-p tcp -m multiport --dports 80,443", out("9.9.9.9:444"), no},
		{"-p tcp -m multiport ! --dports 80,443", out("9.9.9.9:443"), no}, {"-p tcp -m multiport ! --dports 80,443", out("9.9.9.9:444"), yes},
		{"-p tcp -m multiport --dports 80:90,443", out("9.9.9.9:91"), no}, {"-p tcp -m multiport --ports 40000", out("9.9.9.9:1"), yes}, {"-p tcp -m multiport --sports 1,40000", out("9.9.9.9:1"), yes},
		// TCP flags of a SYN
		{"-p tcp --syn", out("9.9.9.9:80"), yes}, {"-p tcp ! --syn", out("9.9.9.9:80"), no}, {"-p tcp --tcp-flags SYN,ACK SYN,ACK", out("9.9.9.9:80"), no}, {"-p tcp --tcp-flags ALL SYN", out("9.9.9.9:80"), yes}, {"-p tcp --tcp-flags RST,FIN NONE", out("9.9.9.9:80"), yes},
		// owner: the id, its neighbours, ranges, both at once, without a process
		{"-m owner --uid-owner 1000", out("9.9.9.9:80"), yes}, {"-m owner --uid-owner 1000", out("9.9.9.9:80", uid(1001)), no}, {"-m owner ! --uid-owner 1000", out("9.9.9.9:80", uid(999)), yes},
		{"-m owner --uid-owner 1000-1337", out("9.9.9.9:80", uid(1337)), yes}, {"-m owner --uid-owner 1000-1337", out("9.9.9.9:80", uid(1338)), no},
		{"-m owner --uid-owner 0-4294967294", out("9.9.9.9:80", uid(4294967294)), yes}, {"-m owner --gid-owner 1337", out("9.9.9.9:80", gid(1337)), yes}, {"-m owner --gid-owner 1337", out("9.9.9.9:80"), no},
		{"-m owner --uid-owner 1000 ! --gid-owner 1000", out("9.9.9.9:80"), no}, {"-m owner --uid-owner 1000 ! --gid-owner 1337", out("9.9.9.9:80"), yes},
		{"-m owner --gid-owner 5 --suppl-groups", out("9.9.9.9:80"), maybe}, {"-m owner --gid-owner 1000 --suppl-groups", out("9.9.9.9:80"), yes},
		{"-m owner --uid-owner 1337", out("9.9.9.9:80", kernels), no}, {"-m owner ! --uid-owner 1337", out("9.9.9.9:80", kernels), yes}, {"-m owner --socket-exists", out("9.9.9.9:80", kernels), yes},
		{"-m owner --socket-exists", out("9.9.9.9:80"), yes}, {"-m owner ! --socket-exists", out("9.9.9.9:80"), no},
		// marks
		{"-m mark --mark 0x539", out("9.9.9.9:80", mark(0x539)), yes}, {"-m mark --mark 0x539", out("9.9.9.9:80", mark(0x1539)), no}, {"-m mark --mark 0x539/0xfff", out("9.9.9.9:80", mark(0x1539)), yes}, {"-m mark ! --mark 0x0/0x4000", out("9.9.9.9:80", mark(0x4000)), yes},
		{"-m mark --mark 1337", out("9.9.9.9:80", mark(0x539)), yes},
		{"-m connmark --mark 0x0", out("9.9.9.9:80"), yes}, {"-m connmark ! --mark 0x0", out("9.9.9.9:80"), no},
		// conntrack
		{"-m conntrack --ctstate NEW", out("9.9.9.9:80"), yes}, {"-m conntrack --ctstate RELATED,ESTABLISHED", out("9.9.9.9:80"), no}, {"-m conntrack ! --ctstate RELATED,ESTABLISHED", out("9.9.9.9:80"), yes}, {"-m state --state INVALID,NEW", out("9.9.9.9:80"), yes},
		{"-m conntrack --ctstate DNAT", out("9.9.9.9:80"), no}, {"-m conntrack --ctdir ORIGINAL", out("9.9.9.9:80"), yes}, {"-m conntrack --ctdir REPLY", out("9.9.9.9:80"), no},
		{"-m conntrack --ctorigdst 9.9.9.0/24", out("9.9.9.9:80"), yes}, {"-m conntrack --ctorigdstport 79", out("9.9.9.9:80"), no}, {"-m conntrack ! --ctrepldst 10.244.1.7", out("9.9.9.9:80"), no}, {"-m conntrack --ctstatus NONE", out("9.9.9.9:80"), no},
		{"-m conntrack --ctexpire 1:9", out("9.9.9.9:80"), maybe}, {"-m conntrack --ctproto 6", out("9.9.9.9:80"), yes},
		// addrtype: local, routed, of a device
		{"-m addrtype --dst-type LOCAL", out("10.244.1.8:80"), yes}, {"-m addrtype --dst-type LOCAL", out("10.244.1.9:80"), no}, {"-m addrtype ! --dst-type LOCAL", out("127.9.9.9:80"), no}, {"-m addrtype --dst-type UNICAST", out("10.244.1.9:80"), yes}, {"-m addrtype --dst-type UNICAST", out("127.0.0.1:80"), no},
		{"-m addrtype --src-type LOCAL --dst-type UNICAST", out("9.9.9.9:80"), yes}, {"-m addrtype --dst-type MULTICAST", out("224.0.0.1:80", udp), yes}, {"-m addrtype --dst-type BROADCAST", out("255.255.255.255:80", udp), yes},
		{"-m addrtype --dst-type LOCAL --limit-iface-in", in("10.244.1.7:80"), yes}, {"-m addrtype --dst-type LOCAL --limit-iface-in", in("10.9.0.7:80"), no},
		// sets
		{"-m set --match-set a dst", out("10.0.0.1:80"), yes}, {"-m set --match-set a dst", out("10.0.0.2:80"), no}, {"-m set ! --match-set a dst", out("10.0.0.2:80"), yes}, {"-m set --match-set a src", out("10.0.0.1:80"), no},
		{"-m set --match-set n dst", out("10.2.0.0:80"), yes}, {"-m set --match-set n dst", out("10.1.0.0:80"), no}, {"-m set --match-set p dst,dst", out("10.0.0.1:80"), yes}, {"-m set --match-set p dst,dst", out("10.0.0.1:80", udp), no}, {"-m set --match-set p dst", out("10.0.0.1:80"), no},
		{"-m set --match-set b src", out("10.0.0.2:1"), no}, {"-m set --match-set b src", out("10.0.0.2:1", from("0.0.0.0:0")), maybe}, {"-m set --match-set p dst,src", out("10.0.0.1:1", from("0.0.0.0:0")), maybe},
		{"-m set --match-set b dst", out("10.0.0.2:80"), yes}, {"-m set --match-set l dst,dst", out("10.0.0.1:81"), yes}, {"-m set --match-set l dst", out("10.0.0.3:80"), no}, {"-m set --match-set a dst --return-nomatch", out("10.0.0.1:80"), maybe},
		// other matches
		{"-m iprange --dst-range 10.0.0.5-10.0.0.9", out("10.0.0.4:80"), no}, {"-m iprange --dst-range 10.0.0.5-10.0.0.9", out("10.0.0.5:80"), yes}, {"-m iprange ! --dst-range 10.0.0.5-10.0.0.9", out("10.0.0.10:80"), yes},
		{"-m comment --comment \"-j DROP\"", out("9.9.9.9:80"), yes}, {"-f", out("9.9.9.9:80"), no}, {"! -f", out("9.9.9.9:80"), yes},
		{"-m statistic --mode random --probability 1.00000000000", out("9.9.9.9:80"), yes}, {"-m statistic --mode random --probability 0", out("9.9.9.9:80"), no}, {"-m statistic --mode random --probability 0.3", out("9.9.9.9:80"), maybe}, {"-m statistic --mode nth --every 3 --packet 0", out("9.9.9.9:80"), maybe},
		{"-m physdev ! --physdev-is-in", in("10.244.1.7:80"), yes}, {"-m physdev --physdev-in eth0", in("10.244.1.7:80"), no}, {"-m limit --limit 5/sec", out("9.9.9.9:80"), maybe}, {"-m recent --set --name x --rsource", out("9.9.9.9:80"), yes}, {"-m recent --rcheck --seconds 5 --name x --rsource", out("9.9.9.9:80"), maybe},
		{"-m socket", in("10.244.1.7:15006"), no}, {"-m socket --nowildcard", in("10.244.1.7:15006"), yes}, {"-m socket --nowildcard --transparent", in("10.244.1.7:15001"), no}, {"-m socket --nowildcard --transparent", in("10.244.1.7:15006"), yes}, {"-m socket --nowildcard", in("10.244.1.7:15007"), no},
		{"-m socket --nowildcard --transparent", in("10.244.1.7:9000"), maybe},
		{"-p icmp -m icmp --icmp-type 8", out("9.9.9.9:0", func(p *Packet) { p.Proto = 1 }), yes}, {"-p icmp -m icmp --icmp-type 3/1", out("9.9.9.9:0", func(p *Packet) { p.Proto = 1 }), no}, {"-p icmp -m icmp --icmp-type any", out("9.9.9.9:0", func(p *Packet) { p.Proto = 1 }), yes},
	} {
		chain := "OUTPUT"
		if c.p.Dir == flow.Inbound {
			chain = "INPUT"
		}
		// A rule of another table keeps conntrack on.
		text := "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 1.2.3.4 -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n*mangle\n:" + chain + " ACCEPT\n-A " + chain + " " + c.cond + "\nCOMMIT\n"
		for _, part := range []string{"iptables-save", "iptables-legacy-save"} {
			if got := matches(t, map[string][]byte{part: []byte(text), "ipset": sets}, h, c.p); got != c.want {
				t.Errorf("%s: %s of %+v: %v, want %v", part, c.cond, c.p, got, c.want)
			}
		}
	}
}

// IPv6 goes through the same code; its address types are other (xt_addrtype.c).
func TestMatches6(t *testing.T) {
	h := host(t, someHost)
	for _, c := range []struct {
		cond string
		p    Packet
		want flow.Answer
	}{
		{"-d fd00::/8", out("[fd00:107::16]:80"), yes}, {"-d fd00::/8", out("[fe00::1]:80"), no}, {"! -d ::1/128", out("[::1]:80"), no}, {"-d fd00:1::7", out("[fd00:1::7]:80"), yes}, {"-d fd00:1::7", out("[fd00:1::8]:80"), no},
		{"-s fd00:1::7", out("[2001:db8::1]:80"), yes}, {"-o lo", out("[fd00:1::7]:80"), yes}, {"-o eth0", out("[2001:db8::1]:80"), yes},
		{"-m addrtype --dst-type LOCAL", out("[fd00:1::7]:80"), yes}, {"-m addrtype --dst-type LOCAL", out("[fd00:1::8]:80"), no}, {"-m addrtype --dst-type UNICAST", out("[fd00:1::7]:80"), yes}, {"-m addrtype --dst-type MULTICAST", out("[fd00:1::7]:80"), no},
		{"-p ipv6-icmp -m icmp6 --icmpv6-type 128", out("[fd00:1::9]:0", func(p *Packet) { p.Proto = 58 }), yes}, {"-p ipv6-icmp --icmpv6-type 135", out("[fd00:1::9]:0", func(p *Packet) { p.Proto = 58 }), no},
	} {
		text := "*mangle\n:OUTPUT ACCEPT\n-A OUTPUT " + c.cond + "\nCOMMIT\n"
		if got := matches(t, map[string][]byte{"ip6tables-save": []byte(text)}, h, c.p); got != c.want {
			t.Errorf("%s of %v: %v, want %v", c.cond, c.p.Dst, got, c.want)
		}
		if got := matches(t, map[string][]byte{"iptables-save": []byte("*mangle\n:OUTPUT ACCEPT\n-A OUTPUT\nCOMMIT\n")}, h, c.p); got != no {
			t.Errorf("a rule of IPv4 matched a packet of IPv6")
		}
	}
}

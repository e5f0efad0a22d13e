package envoy

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// dialed is what a client shows below HTTP.
type dialed struct {
	src, dst, direct string
	srcPort, dstPort int
	tls              bool
	name             string
	alpn             []string
	payload          string // a key of payloads, or "silent"
}

// payloads are the first bytes of clients that speak no TLS.
var payloads = map[string]string{
	"http11": "GET /x HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n",
	"http10": "GET /x HTTP/1.0\r\nHost: a.example.com\r\n\r\n",
	"h2":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	"opaque": "\x00\x01\x02opaque bytes \u00ff\u00fe and some more of them\n",
	"http37": "GET / HTTP/3.7\r\nHost: a\r\n\r\n",
	"junk":   "hello world this is not http\r\n\r\n",
	"brew":   "BREW coffee HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
}

// plainALPN is the payload in which http_inspector sees that protocol.
var plainALPN = map[string]string{"http/1.1": "http11", "http/1.0": "http10", "h2c": "h2"}

// within is an address in the prefix, at its end, or just behind it.
func (d *dice) within(prefix string) string {
	p := netip.MustParsePrefix(prefix)
	from := ips4
	if p.Addr().Is6() {
		from = ips6
	}
	var in []string
	for _, x := range from {
		if p.Contains(netip.MustParseAddr(x)) {
			in = append(in, x)
		}
	}
	if p.Addr().Is4() && p.Bits() > 0 && p.Bits() < 32 && d.chance(0.3) {
		b := p.Masked().Addr().As4()
		v := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
		if d.chance(0.4) {
			v++
		}
		binary.BigEndian.PutUint32(b[:], v)
		if b[0] != 0 && b[0] < 224 && b[3] != 255 {
			return netip.AddrFrom4(b).String()
		}
	}
	if len(in) == 0 {
		return p.Addr().String()
	}
	return pick(d, in...)
}

// dialFor is a connection that the chain match would probably take.
func (d *dice) dialFor(m chainMatch) dialed {
	c := dialed{src: d.ip(), dst: d.ip(), direct: pick(d, clients...), srcPort: pick(d, sourcePorts...),
		dstPort: pick(d, ports...), payload: pick(d, "http11", "opaque", "http10", "h2"), tls: d.chance(0.4)}
	if d.chance(0.3) {
		c.name = pick(d, names...)
	}
	if d.chance(0.3) {
		c.alpn = some(d, 1+d.IntN(3), protocols)
	}
	if m.port != 0 {
		c.dstPort = m.port
	}
	if m.srcPorts != nil {
		c.srcPort = pick(d, m.srcPorts...)
	}
	d.dialNames(&c, m)
	d.dialAddresses(&c, m)
	return c
}

func (d *dice) dialNames(c *dialed, m chainMatch) {
	if m.names != nil {
		c.name, c.tls = pick(d, m.names...), true
		if rest, ok := strings.CutPrefix(c.name, "*"); ok {
			c.name = pick(d, "a", "x", "b.a", "q.w.e") + rest
		}
	}
	switch m.transport {
	case "tls":
		c.tls = true
	case "raw_buffer":
		c.tls = false
	}
	if m.alpn == nil {
		return
	}
	a := pick(d, m.alpn...)
	if p := plainALPN[a]; p != "" && m.transport != "tls" && m.names == nil && d.chance(0.6) {
		c.payload, c.tls = p, false
		return
	}
	c.alpn, c.tls = []string{a}, true
	if d.chance(0.5) {
		c.alpn = append(some(d, 1+d.IntN(2), protocols), a)
	}
}

func (d *dice) dialAddresses(c *dialed, m chainMatch) {
	if m.dst != nil {
		c.dst = d.within(pick(d, m.dst...))
	}
	if m.src != nil {
		c.src = d.within(pick(d, m.src...))
	}
	if m.direct != nil {
		if ip := d.within(pick(d, m.direct...)); strings.HasPrefix(ip, "127.") {
			c.direct = ip
		}
	}
	if m.sourceType == "SAME_IP_OR_LOOPBACK" {
		c.src = pick(d, c.dst, c.dst, "127.0.0.1", "::1")
	}
}

// spoil changes the connection in one place.
func (d *dice) spoil(c *dialed, all []chainMatch) {
	var m chainMatch
	if len(all) > 0 {
		m = pick(d, all...)
	}
	o := d.dialFor(m)
	switch d.IntN(12) {
	case 0:
		c.dstPort = o.dstPort
	case 1:
		c.dst = o.dst
	case 2:
		c.name, c.tls = o.name, true
	case 3:
		c.tls = !c.tls
	case 4:
		c.alpn = o.alpn
	case 5:
		c.direct = o.direct
	case 6:
		c.src = c.dst
	case 7:
		c.src = o.src
	case 8:
		c.srcPort = o.srcPort
	case 9:
		c.payload = pick(d, "http11", "http10", "h2", "opaque", "http37", "junk", "brew")
	case 10:
		c.name, c.tls = pick(d, names...), true
	case 11:
		c.alpn, c.tls = some(d, 1+d.IntN(4), protocols), true
	}
}

// oneFamily makes the source follow the destination: a PROXY v2 header carries one family.
func (c *dialed) oneFamily() {
	v4, v6 := []string{"127.0.0.1", "10.1.2.3", "10.1.2.77", "192.168.5.5"}, []string{"::1", "2001:db8::1", "fd00::7", "2001:db8:0:1::5"}
	dst6, src6 := strings.Contains(c.dst, ":"), strings.Contains(c.src, ":")
	if dst6 == src6 {
		return
	}
	from, to := v4, v6
	if src6 {
		from, to = v6, v4
	}
	if i := slices.Index(from, c.src); i >= 0 {
		c.src = to[i]
	} else {
		c.src = to[3]
	}
}

// request says the connection as a case. proxy: it begins with a PROXY header.
func (c dialed) request(id, accept string, proxy bool) Request {
	q := Request{ID: id, Accept: accept, Src: c.direct}
	if proxy {
		c.oneFamily()
		at := func(ip string, port int) string {
			return netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)).String()
		}
		q.Proxy = &Proxy{Src: at(c.src, c.srcPort), Dst: at(c.dst, c.dstPort)}
	}
	if c.tls {
		q.TLS = &TLS{SNI: c.name, ALPN: c.alpn}
	} else if c.payload != "silent" {
		q.Payload = payloads[c.payload]
	}
	return q
}

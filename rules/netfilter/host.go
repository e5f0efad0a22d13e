package netfilter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// loopback is the name of the loopback device; the kernel makes it, nobody renames it.
const loopback = "lo"

// Host is what a namespace's kernel knows beside its rules: addresses, routes, sockets.
// The zero value is a host of which nothing was read.
type Host struct {
	Sockets []Socket // as ss lists them

	socketsRead bool
	socketsLost bool     // some lines could not be read
	devices     []device // as ip lists them; nil: not read
	families    [2]routing
	sysctls     map[string]string // nil: not read
}

// device is one network device with its addresses in the kernel's order: the first is
// the one that REDIRECT and TPROXY take.
type device struct {
	name     string
	loopback bool
	slave    bool // it has a master: a bridge, a bond, a VRF
	addrs    []devAddr
}

type devAddr struct {
	addr                             ip
	v6                               bool
	bits                             int
	scope                            uint8 // as in a route; 0 universe, 253 link, 254 host
	secondary, deprecated, tentative bool
}

// ParseHost reads the parts addr.json (`ip -j addr`), route.json and route6.json (`ip -j
// route show table all`), rule.json and rule6.json (`ip -j rule`), sysctl (`sysctl -a`) and
// sockets (`ss -tuanpe`); of conntrack only that it is one. A part that is absent was not read. What cannot be read is a Gap.
func ParseHost(files map[string][]byte) (*Host, []flow.Gap, error) {
	h := &Host{}
	var gaps []flow.Gap
	read := func(part string, f func([]byte) error) {
		data, ok := files[part]
		if !ok {
			return
		}
		if err := f(data); err != nil {
			gaps = append(gaps, flow.Gap{Part: part, Reason: err.Error(), Broken: true})
		}
	}
	read("addr.json", h.readAddrs)
	_, six := files["route6.json"]
	read("route.json", func(b []byte) error { return h.readRoutes(b, six) })
	read("route6.json", h.readRoutes6)
	_, rule6 := files["rule6.json"]
	read("rule.json", func(b []byte) error { return h.readRules(b, !rule6) })
	read("rule6.json", h.readRules6)
	read("sysctl", h.readSysctls)
	read("sockets", h.readSockets)
	read("conntrack", readConntrack)
	h.complete()
	return h, gaps, nil
}

// decode reads JSON that a tool of iproute2 wrote. An empty file is an empty list: that
// is what `ip -j` prints where there is nothing.
func decode(data []byte, into any) error {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("not the JSON that ip writes: %w", err)
	}
	return nil
}

func (h *Host) readAddrs(data []byte) error {
	var links []struct {
		Name   string   `json:"ifname"`
		Flags  []string `json:"flags"`
		Master string   `json:"master"`
		Addrs  []struct {
			Family     string `json:"family"`
			Local      string `json:"local"`
			Bits       int    `json:"prefixlen"`
			Scope      string `json:"scope"`
			Secondary  bool   `json:"secondary"`
			Deprecated bool   `json:"deprecated"`
			Tentative  bool   `json:"tentative"`
		} `json:"addr_info"`
	}
	if err := decode(data, &links); err != nil {
		return err
	}
	h.devices = []device{}
	for _, l := range links {
		d := device{name: l.Name, slave: l.Master != "", loopback: l.Name == loopback}
		for _, f := range l.Flags {
			d.loopback = d.loopback || f == "LOOPBACK"
		}
		for _, a := range l.Addrs {
			addr, err := netip.ParseAddr(a.Local)
			if err != nil {
				continue // of another family
			}
			d.addrs = append(d.addrs, devAddr{addr: toIP(addr), v6: addr.Is6(), bits: a.Bits, scope: scopeNumber(a.Scope),
				secondary: a.Secondary, deprecated: a.Deprecated, tentative: a.Tentative})
		}
		h.devices = append(h.devices, d)
	}
	return nil
}

// scopeNumber reads a scope's name (/etc/iproute2/rt_scopes).
func scopeNumber(s string) uint8 {
	switch s {
	case "link":
		return 253
	case "host":
		return 254
	case "site":
		return 200
	case "nowhere":
		return 255
	}
	return 0
}

// readSysctls reads lines "key = value". A dot in a device's name is printed as a slash.
func (h *Host) readSysctls(data []byte) error {
	h.sysctls = map[string]string{}
	for _, l := range strings.Split(string(data), "\n") {
		if k, v, ok := strings.Cut(l, "="); ok {
			h.sysctls[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return nil
}

// sysctl is a setting's value; known is false where it was not read.
func (h *Host) sysctl(key string) (value string, known bool) {
	v, ok := h.sysctls[key]
	return v, ok
}

// device finds a device by its name.
func (h *Host) device(name string) *device {
	for i := range h.devices {
		if h.devices[i].name == name {
			return &h.devices[i]
		}
	}
	return nil
}

// IsLocal says whether an address is one of the namespace's own.
func (h *Host) IsLocal(a netip.Addr) flow.Answer {
	a = a.Unmap()
	if a.IsLoopback() {
		return flow.Yes
	}
	if !a.IsValid() {
		return flow.Maybe
	}
	return h.ready().local(toIP(a), a.Is6())
}

func (h *Host) local(a ip, v6 bool) flow.Answer {
	return h.hasType(a, v6, "", typeLocal)
}

// bridged says whether packets may come over a bridge.
func (h *Host) bridged() flow.Answer {
	for _, d := range h.devices {
		if d.slave {
			return flow.Maybe
		}
	}
	return flow.No
}

// deviceAddr is the first address of a device that is not secondary: what TPROXY without
// an address looks for (nf_tproxy_ipv4.c, nf_tproxy_laddr4).
func (h *Host) deviceAddr(name string, v6 bool) (ip, flow.Answer) {
	if h.devices == nil {
		return ip{}, flow.Maybe
	}
	d := h.device(name)
	if d == nil {
		return ip{}, flow.No
	}
	for _, a := range d.addrs {
		if a.v6 == v6 && !a.secondary && !a.tentative && !(v6 && a.deprecated) {
			return a.addr, flow.Yes
		}
	}
	return ip{}, flow.No
}

// redirectAddr is the address that REDIRECT chooses on a device (nf_nat_redirect.c): for
// IPv4 the first of its list, for IPv6 the first of a fitting scope.
func (h *Host) redirectAddr(name string, dst ip, v6 bool) (ip, flow.Answer) {
	if h.devices == nil {
		return ip{}, flow.Maybe
	}
	d := h.device(name)
	if d == nil {
		return ip{}, flow.No
	}
	want := scope6(dst)
	for _, a := range d.addrs {
		if a.v6 != v6 {
			continue
		}
		if !v6 || !a.tentative && (want == 0 || want&scope6(a.addr) != 0) {
			return a.addr, flow.Yes
		}
	}
	return ip{}, flow.No
}

// scope6 are the scope bits of an IPv6 address (net/ipv6/addrconf_core.c,
// __ipv6_addr_type): 0 for global ones.
func scope6(a ip) uint8 {
	switch {
	case a == ip{0, 1}:
		return 0x10
	case a.hi>>54 == 0xfe80>>6:
		return 0x20
	case a.hi>>54 == 0xfec0>>6:
		return 0x40
	}
	return 0
}

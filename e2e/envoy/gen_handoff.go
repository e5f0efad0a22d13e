package envoy

import (
	"fmt"
	"strings"
)

const frontEach = 20 // requests a capturing listener

// target is an address that a listener of a hand-off world owns.
type target struct {
	ip   string
	port int
	ms   []chainMatch
}

// handoff makes a world of a few capturing listeners, with and without use_original_dst,
// and of many that mostly do not bind.
func (d *dice) handoff(b *Batch) {
	b.World.Clusters = usualClusters(12)
	var targets []target
	taken := map[string]bool{}
	n := 0
	for range 6 + d.IntN(8) {
		ip, port := d.ip(), pick(d, ports...)
		if d.chance(0.35) {
			ip = pick(d, "0.0.0.0", "0.0.0.0", "::")
		}
		if k := fmt.Sprint(ip, " ", port); taken[k] {
			continue
		} else {
			taken[k] = true
		}
		l, ts := d.targetListener(listenerName(n), ip, port, taken)
		targets = append(targets, ts...)
		b.World.Listeners = append(b.World.Listeners, raw(l))
		n++
	}
	for range 3 + d.IntN(2) {
		l, ms := d.front(n)
		b.World.Listeners = append(b.World.Listeners, raw(l))
		for k := range frontEach {
			c := d.dialTarget(n, targets, ms)
			b.Requests = append(b.Requests, c.request(fmt.Sprintf("%s-%d", listenerName(n), k), acceptAt(n), true))
		}
		n++
	}
	for _, l := range b.World.Listeners {
		if !strings.Contains(string(l), "weighted_clusters") && !strings.Contains(string(l), "c.many") {
			continue
		}
		for i := range b.Requests {
			b.Requests[i].Repeat = 8
		}
		return
	}
}

// targetListener owns ip:port, and a second address now and then.
func (d *dice) targetListener(name, ip string, port int, taken map[string]bool) (M, []target) {
	l := listener(name, ip, port)
	binds := port == 15001 && (strings.HasPrefix(ip, "127.") && d.chance(0.6) || ip == "0.0.0.0" && d.chance(0.4))
	if !binds {
		l["bind_to_port"] = false
	}
	if ip == "::" && d.chance(0.5) {
		l["address"].(M)["socket_address"].(M)["ipv4_compat"] = true
	}
	var ts []target
	if d.chance(0.2) && ip != "::" && !binds {
		ip2, port2 := d.ip(), pick(d, ports...)
		if k := fmt.Sprint(ip2, " ", port2); !taken[k] {
			taken[k] = true
			l["additional_addresses"] = A{M{"address": socket(ip2, port2)}}
			ts = append(ts, target{ip2, port2, nil})
		}
	}
	if d.chance(0.5) {
		l["listener_filters"] = pick(d, A{tlsInspector()}, A{httpInspector()}, A{tlsInspector(), httpInspector()}, A{originalDst()})
		l["listener_filters_timeout"] = "4s"
	}
	if d.chance(0.25) {
		l["use_original_dst"] = true
	}
	ms := []chainMatch{{}}
	if d.chance(0.4) {
		ms = d.matches(1+d.IntN(3), some(d, 2, []int{0, 1, 2, 3, 6, 7, 8}))
	}
	l["filter_chains"], _ = d.chains(name, ms)
	if d.chance(0.3) {
		l["default_filter_chain"] = defaultChain(name)
	}
	return l, append(ts, target{ip, port, ms})
}

// front is a capturing listener.
func (d *dice) front(i int) (M, []chainMatch) {
	name := listenerName(i)
	l := listener(name, acceptAddr(i), acceptPort)
	filters := append(A{proxyProtocol()}, pick(d, nil, nil, A{tlsInspector()}, A{tlsInspector(), httpInspector()})...)
	if d.chance(0.1) {
		filters = append(filters, originalDst())
	}
	l["listener_filters"] = filters
	l["listener_filters_timeout"] = "4s"
	if d.chance(0.75) {
		l["use_original_dst"] = true
	}
	ms := []chainMatch{{}}
	if d.chance(0.5) {
		ms = d.matches(1+d.IntN(4), some(d, 3, []int{0, 1, 2, 3, 6, 7, 8}))
	}
	l["filter_chains"], _ = d.chains(name, ms)
	if d.chance(0.4) {
		l["default_filter_chain"] = defaultChain(name)
	}
	return l, ms
}

// dialTarget is a connection through front i to, or near, one of the targets.
func (d *dice) dialTarget(i int, targets []target, own []chainMatch) dialed {
	var c dialed
	if d.chance(0.75) {
		t := pick(d, targets...)
		var m chainMatch
		if len(t.ms) > 0 {
			m = pick(d, t.ms...)
		}
		c = d.dialFor(m)
		c.dst, c.dstPort = t.ip, t.port
		switch t.ip {
		case "0.0.0.0":
			c.dst = pick(d, ips4...)
		case "::":
			c.dst = pick(d, append(ips4[:3:3], ips6...)...)
		}
	} else {
		c = d.dialFor(pick(d, own...))
	}
	switch d.IntN(8) {
	case 0:
		c.dstPort = pick(d, ports...)
	case 1:
		c.dst = d.ip()
	case 2: // claims the address it came to: not restored
		c.dst, c.dstPort = acceptAddr(i), acceptPort
	case 3:
		d.spoil(&c, own)
	}
	return c
}

package envoy

import (
	"fmt"
	"sort"
)

const (
	l4Listeners = 8
	l4Each      = 12 // requests a listener
)

// l4 makes a world of listeners with filter chains.
func (d *dice) l4(b *Batch) {
	b.World.Clusters = usualClusters(12)
	for i := range l4Listeners {
		name := listenerName(i)
		l := listener(name, acceptAddr(i), acceptPort)
		proxy, silent := d.chance(0.9), d.chance(0.15)
		l["listener_filters"] = d.listenerFilters(proxy)
		l["listener_filters_timeout"] = "4s"
		if silent {
			l["listener_filters_timeout"] = "0.25s"
			if d.chance(0.5) {
				l["continue_on_listener_filters_timeout"] = true
			}
		}
		focus := some(d, 2+d.IntN(4), fields)
		if !proxy {
			focus = some(d, 2, []int{2, 3, 4, 5, 2, 3})
		}
		sort.Ints(focus)
		ms := d.matches(2+d.IntN(7), focus)
		d.certain = silent // a silent client costs time: it is sent once, so no chance
		chains, drawn := d.chains(name, ms)
		d.certain = false
		l["filter_chains"] = chains
		if d.chance(0.5) {
			l["default_filter_chain"] = defaultChain(name)
		}
		var tree *treeGen
		if d.chance(0.2) {
			tree = &treeGen{dice: d, listener: name, chains: len(ms), own: proxy}
			l["filter_chain_matcher"] = tree.matcher(2)
		}
		for k := range l4Each {
			c := d.dialNear(ms, tree)
			if silent && k < 2 {
				c.payload, c.tls = "silent", false
			}
			q := c.request(fmt.Sprintf("%s-%d", name, k), acceptAt(i), proxy)
			if drawn && (q.Payload != "" || q.TLS != nil) {
				q.Repeat = 8
			}
			b.Requests = append(b.Requests, q)
		}
		b.World.Listeners = append(b.World.Listeners, raw(l))
	}
}

// dialNear is a connection near one of the matches, or near a value of the tree.
func (d *dice) dialNear(ms []chainMatch, tree *treeGen) dialed {
	c := d.dialFor(pick(d, ms...))
	if tree != nil {
		tree.meet(&c)
		if d.chance(0.3) {
			d.spoil(&c, ms)
		}
		return c
	}
	for range d.IntN(3) {
		d.spoil(&c, ms)
	}
	return c
}

// listenerFilters are inspectors in usual and odd order, with and without filter_disabled.
func (d *dice) listenerFilters(proxy bool) (out A) {
	if proxy {
		out = append(out, proxyProtocol())
	}
	n := d.IntN(10)
	if n < 8 {
		out = append(out, d.maybeDisabled(tlsInspector()))
	}
	if n < 5 || n == 9 {
		out = append(out, d.maybeDisabled(httpInspector()))
	}
	if d.chance(0.05) && len(out) > 1 {
		out[0], out[len(out)-1] = out[len(out)-1], out[0]
	}
	if d.chance(0.1) {
		out = append(out, originalDst())
	}
	return out
}

// maybeDisabled gives the filter a ListenerFilterChainMatchPredicate now and then.
func (d *dice) maybeDisabled(f M) M {
	if !d.chance(0.12) {
		return f
	}
	ports := func() M {
		p := pick(d, ports...)
		return M{"destination_port_range": M{"start": p, "end": pick(d, p+1, p+1, p+400)}}
	}
	f["filter_disabled"] = pick(d, M{"any_match": true}, ports(), ports(), M{"not_match": ports()},
		M{"or_match": M{"rules": A{ports(), ports()}}})
	return f
}

// chains are the filter chains of the matches; drawn: one of them draws anew each time.
func (d *dice) chains(listener string, ms []chainMatch) (out A, drawn bool) {
	for i, m := range ms {
		filters, draws := d.networkFilters(listener, i)
		drawn = drawn || draws
		c := M{"name": fmt.Sprintf("%s.f%d", listener, i), "filters": filters}
		if mm := m.json(); len(mm) > 0 {
			c["filter_chain_match"] = mm
		}
		out = append(out, c)
	}
	return out, drawn
}

func defaultChain(listener string) M {
	return M{"name": listener + ".default", "filters": A{tcpProxy(listener, M{"cluster": "c11"})}}
}

// networkFilters are those of the i-th chain; draws: the outcome is drawn anew each time.
func (d *dice) networkFilters(listener string, i int) (filters A, draws bool) {
	cluster := fmt.Sprintf("c%d", i%12)
	to := func(name string) M { return tcpProxy(listener, M{"cluster": name}) }
	n := d.IntN(40)
	if d.certain && (n == 20 || n == 21 || n == 39) {
		n = 0
	}
	switch {
	case n < 20:
		return A{to(d.spokenTo(cluster))}, false
	case n < 22:
		w := A{M{"name": cluster, "weight": 1 + d.IntN(3)}, M{"name": "c11", "weight": 1}}
		return A{tcpProxy(listener, M{"weighted_clusters": M{"clusters": w}})}, true
	case n == 22:
		return A{to("nosuch")}, false
	case n == 23:
		return A{to("c.empty")}, false
	case n == 24:
		return A{tcpProxy(listener, M{"cluster": "c.dead", "max_connect_attempts": 1 + d.IntN(2)})}, false
	case n < 27:
		return A{to(pick(d, "c.odst", "c.odst", "c.odstport"))}, false
	case n == 27:
		return A{ext("envoy.filters.network.direct_response", filterNS+"network.direct_response.v3.Config",
			M{"response": M{"inline_string": "DR " + listener}})}, false
	case n < 30:
		return A{manager(listener, greeting(listener), nil)}, false
	case n < 34:
		return A{d.networkRBAC(), to(cluster)}, false
	case n == 34:
		return A{ext("envoy.filters.network.sni_cluster", filterNS+"network.sni_cluster.v3.SniCluster", nil), to(cluster)}, false
	case n == 35:
		return d.setFilterState(listener, cluster), false
	case n == 36:
		return A{d.networkRBAC(), d.networkRBAC(), to(pick(d, cluster, "c.dead", "c.empty"))}, false
	case n == 37:
		return A{}, false
	case n == 38:
		return A{to("c.cb0")}, false
	}
	return A{ext("envoy.filters.network.connection_limit", filterNS+"network.connection_limit.v3.ConnectionLimit",
		M{"stat_prefix": "cl", "max_connections": 1000}), to("c.many")}, true
}

// greeting answers everything with 200.
func greeting(listener string) M {
	route := M{"name": "r", "match": M{"prefix": "/"}, "direct_response": M{"status": 200, "body": M{"inline_string": "hi"}}}
	return M{"name": "rc_" + listener, "virtual_hosts": A{M{"name": "v", "domains": A{"*"}, "routes": A{route}}}}
}

// setFilterState overrides tcp_proxy's cluster, which weighted clusters do not heed.
func (d *dice) setFilterState(listener, cluster string) A {
	value := pick(d, "c10", "c.empty", "nosuch", "c%FILTER_CHAIN_NAME%", "%REQUESTED_SERVER_NAME%")
	set := M{"object_key": "envoy.tcp_proxy.cluster",
		"format_string": M{"text_format_source": M{"inline_string": value}}}
	proxy := pick(d, M{"cluster": cluster}, M{"weighted_clusters": M{"clusters": A{M{"name": cluster, "weight": 1}}}})
	return A{ext("envoy.filters.network.set_filter_state", filterNS+"network.set_filter_state.v3.Config",
		M{"on_new_connection": A{set}}), tcpProxy(listener, proxy)}
}

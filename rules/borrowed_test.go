package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A pod with TPROXY as Istio's native nftables write it, and Envoy with original_src.
const (
	borrowNft = `{"nftables": [{"table": {"family": "inet", "name": "m", "handle": 1}}, {"table": {"family": "inet", "name": "n", "handle": 2}},
{"chain": {"family": "inet", "table": "m", "name": "prerouting", "handle": 1, "type": "filter", "hook": "prerouting", "prio": -150, "policy": "accept"}},
{"chain": {"family": "inet", "table": "n", "name": "output", "handle": 1, "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
{"rule": {"family": "inet", "table": "m", "chain": "prerouting", "handle": 2, "expr": [
  {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"counter": {"packets": 0, "bytes": 0}}, {"return": null}]}},
{"rule": {"family": "inet", "table": "m", "chain": "prerouting", "handle": 3, "expr": [
  {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"tproxy": {"family": "ip", "port": 15006}},
  {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1337}}, {"counter": {"packets": 2, "bytes": 120}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "n", "chain": "output", "handle": 2, "expr": [
  {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "127.0.0.6"}}, {"counter": {"packets": 0, "bytes": 0}}, {"return": null}]}},
{"rule": {"family": "inet", "table": "n", "chain": "output", "handle": 3, "expr": [
  {"match": {"op": "!=", "left": {"meta": {"key": "oifname"}}, "right": "lo"}}, {"redirect": {"port": 15001}}]}}]}`
	borrowDump = `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": [{"listener": {
  "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "in", "traffic_direction": "INBOUND", "transparent": true,
  "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
  "listener_filters": [{"name": "original_dst", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}},
    {"name": "original_src", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc", "mark": 1337}}],
  "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": "app"}}]}]}}]},
 {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [{"cluster": {
  "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "app", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}}]}]}`
	borrowSockets = `Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process
tcp LISTEN 0 4096 0.0.0.0:15006 0.0.0.0:* users:(("envoy",pid=7,fd=21)) uid:0 gid:1337 ino:5 <->
tcp LISTEN 0 4096 *:8080 *:* users:(("app",pid=8,fd=3)) ino:6 <->
`
	borrowAddr = `[{"ifname": "lo", "flags": ["LOOPBACK", "UP"], "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
{"ifname": "eth0", "flags": ["UP"], "addr_info": [{"family": "inet", "local": "10.244.0.33", "prefixlen": 24, "scope": "global"}]}]`
)

// The connection to the application has the peer's address, and another port: measured of Istio's
// TPROXY mode. Where the peer is not known, neither is that address; but it is none of loopback, which
// no device takes, so that a rule about 127.0.0.6 leaves nothing open.
func TestBorrowedSource(t *testing.T) {
	files := map[string][]byte{"nft.json": []byte(borrowNft), "iptables-save": {}, "config_dump.json": []byte(borrowDump), "sockets": []byte(borrowSockets), "addr.json": []byte(borrowAddr)}
	const off = "net.ipv4.conf.all.route_localnet = 0\nnet.ipv4.conf.eth0.route_localnet = 0\n"
	for _, c := range []struct {
		src, sysctl, want string
		open              bool
	}{
		{"10.244.0.32:41000", off, "10.244.0.32:0", false},
		{"", off, "0.0.0.0:0", false},
		{"", strings.Replace(off, "eth0.route_localnet = 0", "eth0.route_localnet = 1", 1), "0.0.0.0:0", true},
		{"", "", "0.0.0.0:0", true},
	} {
		files["sysctl"] = []byte(c.sysctl)
		s, err := ParseSnapshot(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		req := flow.Request{Dir: flow.Inbound, Proto: flow.TCP, Src: netip.MustParseAddrPort("0.0.0.0:0"), Dst: netip.MustParseAddrPort("10.244.0.33:8080")}
		if c.src != "" {
			req.Src = netip.MustParseAddrPort(c.src)
		}
		tr := Trace(s, req)
		if tr.Verdict != flow.Delivered || len(tr.Legs) != 2 {
			t.Fatalf("from %q: %v, %d legs: %+v", c.src, tr.Verdict, len(tr.Legs), tr.Legs)
		}
		if got := tr.Legs[1].From.Src.String(); got != c.want {
			t.Errorf("from %q: the proxy's connection is from %s, want %s", c.src, got, c.want)
		}
		open := strings.Contains(fmt.Sprint(tr.Legs[1].Steps), "no-match")
		if open != c.open {
			t.Errorf("from %q with %q: the rule about 127.0.0.6 is open: %v", c.src, c.sysctl, open)
		}
		why := flow.Reason{}
		for _, st := range tr.Legs[0].Steps {
			if st.Subject == "inet m prerouting 2" {
				why = st.Reason
			}
		}
		if why.Kind != flow.WhyTProxy || why.Args[0] != "10.244.0.33:15006" {
			t.Errorf("the rule that ends by accept says %v %q, want where it hands the packet to", why.Kind, why.Args)
		}
	}
}

package rules

import (
	"net/netip"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func variantOf(v flow.Verdict, cluster string, choices ...flow.Chosen) flow.Variant {
	return flow.Variant{Verdict: v, Outcome: flow.Outcome{Listener: "l", Cluster: cluster}, Choices: choices, Computable: true, Probability: 0.5}
}

func took(kind flow.ChoiceKind, ref string, i int) flow.Chosen {
	return flow.Chosen{Choice: flow.Choice{Ref: ref, Kind: kind, Options: []flow.Option{{Value: "a"}, {Value: "b"}}}, Index: i}
}

// What all variants share is the answer; chance makes Depends, ignorance makes Unknown.
func TestJoin(t *testing.T) {
	for _, c := range []struct {
		what     string
		variants []flow.Variant
		verdict  flow.Verdict
		cluster  string
		left     int
	}{
		{"one way", []flow.Variant{variantOf(flow.Delivered, "c")}, flow.Delivered, "c", 0},
		{"alike but for the cluster", []flow.Variant{
			variantOf(flow.Delivered, "c1", took(flow.Chance, "random", 0)),
			variantOf(flow.Delivered, "c2", took(flow.Chance, "random", 1))}, flow.Delivered, "", 2},
		{"chance decides", []flow.Variant{
			variantOf(flow.Delivered, "c1", took(flow.Chance, "random", 0)),
			variantOf(flow.Refused, "c2", took(flow.Chance, "random", 1))}, flow.Depends, "", 2},
		{"a condition decides", []flow.Variant{
			variantOf(flow.Delivered, "c", took(flow.Condition, "bucket", 0)),
			variantOf(flow.Refused, "", took(flow.Condition, "bucket", 1))}, flow.Depends, "", 2},
		{"something unmodelled decides", []flow.Variant{
			variantOf(flow.Delivered, "c", took(flow.Unmodelled, "rule", 0)),
			variantOf(flow.Dropped, "", took(flow.Unmodelled, "rule", 1))}, flow.Unknown, "", 2},
		{"something unmodelled changes nothing", []flow.Variant{
			variantOf(flow.Delivered, "c", took(flow.Unmodelled, "rule", 0)),
			variantOf(flow.Delivered, "c", took(flow.Unmodelled, "rule", 1))}, flow.Delivered, "c", 0},
		{"chance decides the same way whatever the unmodelled does", []flow.Variant{
			variantOf(flow.Delivered, "c", took(flow.Chance, "random", 0), took(flow.Unmodelled, "rule", 0)),
			variantOf(flow.Delivered, "c", took(flow.Chance, "random", 0), took(flow.Unmodelled, "rule", 1)),
			variantOf(flow.Refused, "c", took(flow.Chance, "random", 1))}, flow.Depends, "c", 2},
		{"one variant is not known", []flow.Variant{
			variantOf(flow.Delivered, "c", took(flow.Chance, "random", 0)),
			variantOf(flow.Unknown, "c", took(flow.Chance, "random", 1))}, flow.Unknown, "c", 2},
	} {
		got := join(flow.Trace{}, c.variants)
		if got.Verdict != c.verdict || got.Outcome.Cluster != c.cluster || len(got.Variants) != c.left {
			t.Errorf("%s: verdict %v cluster %q variants %d, want %v %q %d", c.what, got.Verdict, got.Outcome.Cluster, len(got.Variants), c.verdict, c.cluster, c.left)
		}
	}
}

// What the endpoint gets is told where all ways agree on it, also those that end alike.
func TestJoinUpstream(t *testing.T) {
	sends := func(cluster, path, header string) flow.Variant {
		v := variantOf(flow.Delivered, cluster, took(flow.Chance, "random", 0))
		v.Upstream = &flow.HTTP{Path: path, Headers: [][2]string{{"a", header}}}
		return v
	}
	for _, c := range []struct {
		a, b flow.Variant
		want bool
	}{
		{sends("c", "/", "1"), sends("c", "/", "1"), true},
		{sends("c", "/", "1"), sends("d", "/", "1"), true},
		{sends("c", "/", "1"), sends("c", "/x", "1"), false},
		{sends("c", "/", "1"), sends("d", "/", "2"), false},
		{sends("c", "/", "1"), variantOf(flow.Refused, "c"), false},
	} {
		got := join(flow.Trace{}, []flow.Variant{c.a, c.b})
		if (got.Upstream != nil) != c.want {
			t.Errorf("%+v and %+v: %+v", c.a.Upstream, c.b.Upstream, got.Upstream)
		}
	}
}

// Ways that end alike are one variant, and their odds add up.
func TestMergeAddsOdds(t *testing.T) {
	v := merge([]flow.Variant{variantOf(flow.Delivered, "c"), variantOf(flow.Delivered, "d"), variantOf(flow.Delivered, "c")})
	if len(v) != 2 || v[0].Probability != 1 || v[1].Probability != 0.5 {
		t.Errorf("merged %+v", v)
	}
}

// More ways than are followed leave the verdict open.
func TestCutIsUnknown(t *testing.T) {
	if got := join(flow.Trace{Cut: true}, []flow.Variant{variantOf(flow.Delivered, "c")}); got.Verdict != flow.Unknown {
		t.Errorf("verdict %v", got.Verdict)
	}
}

func TestProxyOwner(t *testing.T) {
	for _, c := range []struct {
		what     string
		files    map[string][]byte
		uid, gid uint32
		known    bool
		assumed  int
	}{
		{"nothing tells", map[string][]byte{"iptables-save": []byte("*nat\nCOMMIT\n")}, 0, 0, false, 0},
		{"an owner rule", map[string][]byte{"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n[9:540] -A OUTPUT -m owner --uid-owner 1337 -j RETURN\nCOMMIT\n")}, 1337, 1337, true, 1},
		{"the recording", map[string][]byte{"meta.json": []byte(`{"envoy_uid": 101}`)}, 101, 101, true, 0},
		{"the pod's group", map[string][]byte{"meta.json": []byte(`{"envoy_uid": 0}`),
			"pod.json": []byte(`{"spec":{"initContainers":[{"name":"istio-proxy","securityContext":{"runAsUser":0,"runAsGroup":1337}}]}}`)}, 0, 1337, true, 0},
		{"the pod's user", map[string][]byte{"pod.yaml": []byte("spec:\n  containers:\n  - name: app\n    securityContext: {runAsUser: 1}\n  - name: envoyproxy\n    securityContext: {runAsUser: 1338, runAsGroup: 1339}\n")}, 1338, 1339, true, 0},
		{"a gid rule", map[string][]byte{"meta.json": []byte(`{"envoy_uid": 0}`),
			"iptables-save": []byte("*nat\n-A OUTPUT -m owner --gid-owner 1337 -j RETURN\nCOMMIT\n")}, 0, 1337, true, 0},
	} {
		s, _ := ParseSnapshot(c.files, nil)
		if o := s.owner; o.uid != c.uid || o.gid != c.gid || o.known != c.known || len(o.assumed) != c.assumed {
			t.Errorf("%s: %+v", c.what, o)
		}
	}
}

// Istio's node proxy has no Envoy admin: where it takes a connection, the trace says so.
func TestZtunnel(t *testing.T) {
	const rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001\nCOMMIT\n"
	sockets := func(port, process string) []byte {
		if process != "" {
			process = `users:(("` + process + `",pid=7,fd=9))`
		}
		return []byte("Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\ntcp LISTEN 0 4096 0.0.0.0:" + port + " 0.0.0.0:* " + process + "\n")
	}
	for _, c := range []struct {
		what, port, process string
		dir                 flow.Direction
		dst                 string
		want                bool
	}{
		{"captured by ztunnel", "15001", "ztunnel", flow.Outbound, "10.0.0.9:80", true},
		{"captured by somebody", "15001", "other", flow.Outbound, "10.0.0.9:80", false},
		{"a tunnel that nobody owns by name", "15008", "", flow.Inbound, "10.0.0.1:15008", true},
		{"a tunnel's port of the application", "15008", "app", flow.Inbound, "10.0.0.1:15008", false},
		{"another port", "15009", "", flow.Inbound, "10.0.0.1:15009", false},
	} {
		s, err := ParseSnapshot(map[string][]byte{"iptables-save": []byte(rules), "sockets": sockets(c.port, c.process),
			"addr.json": []byte(`[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24}]}]`),
			"meta.json": []byte(`{"envoy_uid": 1337}`)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := Trace(s, flow.Request{Dir: c.dir, Proto: flow.TCP, Src: netip.MustParseAddrPort("10.0.0.5:4000"), Dst: netip.MustParseAddrPort(c.dst)})
		steps := got.Legs[len(got.Legs)-1].Steps
		last := steps[len(steps)-1]
		if says := got.Verdict == flow.Unknown && last.Reason.Kind == flow.WhyZtunnel; says != c.want {
			t.Errorf("%s: %v, %v %d %q", c.what, got.Verdict, last.Stage, last.Reason.Kind, last.Reason.Args)
		}
	}
}

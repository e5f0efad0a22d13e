package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

// files are those of a recorded scene: a real Envoy 1.40, a real kernel.
func files(t *testing.T, name string) map[string][]byte {
	t.Helper()
	p, _, err := saved.Demo(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Files
}

// edit is the files with one part changed; a text that is not there fails.
func edit(t *testing.T, in map[string][]byte, part, old, now string) map[string][]byte {
	t.Helper()
	if !bytes.Contains(in[part], []byte(old)) {
		t.Fatalf("%s holds no %q", part, old)
	}
	return with(in, part, strings.ReplaceAll(string(in[part]), old, now))
}

func with(in map[string][]byte, part, text string) map[string][]byte {
	out := map[string][]byte{part: []byte(text)}
	for k, v := range in {
		if k != part {
			out[k] = v
		}
	}
	return out
}

func snapshot(t *testing.T, f map[string][]byte) *rules.Snapshot {
	t.Helper()
	s, err := rules.ParseSnapshot(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func block() Ask { return Ask{Kind: flow.BlockAll, TTL: time.Minute} }
func allow() Ask { return Ask{Kind: flow.AllowAll, TTL: time.Minute} }

// effects are a change's in words, in order.
func effects(c flow.Change) []string {
	var out []string
	for _, e := range c.Effects {
		s := e.Dst.String()
		if e.Else {
			s = "else " + map[bool]string{false: "4", true: "6"}[e.Dst.Addr().Is6()]
		}
		if e.Proto == flow.UDP {
			s += " udp"
		}
		if e.Live {
			s += " live"
		}
		out = append(out, fmt.Sprintf("%s: %s>%s", s, e.Before, e.After))
	}
	return out
}

func reach(list []flow.Reach) string {
	var out []string
	for _, r := range list {
		out = append(out, strings.TrimSpace(r.What+" "+r.Whose))
	}
	return strings.Join(out, ", ")
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// In the scenes the rules redirect what uid 1337 does not send over IPv4 to port 15001, and
// nothing over IPv6. block-all leads to a cluster without endpoints, allow-all to the original
// destination, and mesh has a listener for 10.107.42.16:80 besides.
func TestBlock(t *testing.T) {
	for scene, want := range map[string][]string{
		"block-all": {"else 4: refused>refused", "else 6: delivered>refused"},
		"allow-all": {"else 4: delivered>refused", "else 6: delivered>refused"},
		"mesh":      {"10.107.42.16:80: delivered>refused", "else 4: delivered>refused", "else 6: delivered>refused"},
		// A gateway: nothing that leaves is redirected, and its listeners are for what comes in.
		"header-match": {"else 4: delivered>refused", "else 6: delivered>refused"},
	} {
		c, err := Plan(snapshot(t, files(t, scene)), block())
		if err != nil {
			t.Fatalf("%s: %v", scene, err)
		}
		same(t, scene, effects(c), want)
		same(t, scene+" uids", c.ProxyUIDs, []uint32{1337})
		capture := []uint16{15001}
		if scene == "header-match" {
			capture = nil
		}
		same(t, scene+" capture", c.Capture, capture)
		if c.Driver != flow.Kernel || len(c.Edits) == 0 || len(c.Undo) == 0 {
			t.Errorf("%s: %+v", scene, c)
		}
	}
}

func TestCovers(t *testing.T) {
	s := snapshot(t, files(t, "mesh"))
	plain, err := Plan(s, block())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "plain covers", reach(plain.Covers), "tcp4, tcp6, handoff")
	same(t, "plain not", reach(plain.NotCovered), "udp, dns, proxy uid 1337, loopback, own address 10.244.1.7 fd00:244:1::7, established, protocols, packet sockets, forwarded")
	ask := block()
	ask.Strong, ask.CloseOpen = true, true
	ask.Except = []flow.Hole{{Prefix: netip.MustParsePrefix("10.107.42.16/32"), Port: 80}}
	strong, err := Plan(s, ask)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "strong covers", reach(strong.Covers), "tcp4, tcp6, udp, dns, udp answers, proxy, handoff")
	same(t, "strong not", reach(strong.NotCovered), "loopback, own address 10.244.1.7 fd00:244:1::7, except 10.107.42.16:80, protocols, packet sockets, forwarded")
	same(t, "strong effects", effects(strong), []string{"10.107.42.16:80: delivered>delivered", "else 4: delivered>refused", "else 6: delivered>refused"})
}

// A hole is at its port and in its prefix, on both sides of each edge.
func TestExcept(t *testing.T) {
	s := snapshot(t, files(t, "mesh"))
	for hole, want := range map[string]flow.Verdict{
		"10.107.42.16/32 80": flow.Delivered, "10.107.42.16/32 0": flow.Delivered, "10.107.42.0/24 80": flow.Delivered, "0.0.0.0/0 80": flow.Delivered,
		"10.107.42.16/32 81": flow.Refused, "10.107.42.17/32 80": flow.Refused, "10.107.42.0/28 80": flow.Refused, "::/0 0": flow.Refused,
	} {
		var prefix string
		var port uint16
		if _, err := fmt.Sscan(hole, &prefix, &port); err != nil {
			t.Fatal(err)
		}
		ask := block()
		ask.Except = []flow.Hole{{Prefix: netip.MustParsePrefix(prefix), Port: port}}
		c, err := Plan(s, ask)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Effects[0].After; got != want {
			t.Errorf("--except %s: %s is %v, want %v", hole, c.Effects[0].Dst, got, want)
		}
	}
}

// liveFiles are the scene mesh with connections: one through the proxy, the proxy's own that
// belongs to it, DNS over UDP, one from outside, one to the pod itself, and one over IPv6 that
// conntrack does not hold.
func liveFiles(t *testing.T) map[string][]byte {
	f := files(t, "mesh")
	f = with(f, "conntrack", `tcp 6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=41822 dport=80 src=127.0.0.1 dst=10.244.1.7 sport=15001 dport=41822 [ASSURED]
tcp 6 431999 ESTABLISHED src=10.244.1.7 dst=10.107.42.16 sport=52710 dport=80 src=10.107.42.16 dst=10.244.1.7 sport=80 dport=52710 [ASSURED]
udp 17 20 src=10.244.1.7 dst=10.96.0.10 sport=40000 dport=53 src=10.96.0.10 dst=10.244.1.7 sport=53 dport=40000
tcp 6 431999 ESTABLISHED src=10.9.0.3 dst=10.244.1.7 sport=50122 dport=80 src=10.244.1.7 dst=10.9.0.3 sport=80 dport=50122 [ASSURED]
`)
	return with(f, "sockets", `LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:* users:(("envoy",pid=7,fd=21)) uid:1337 ino:1
LISTEN 0 4096 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=9,fd=4)) uid:101 ino:9
ESTAB 0 0 10.244.1.7:41822 10.107.42.16:80 users:(("nginx",pid=9,fd=5)) uid:101 ino:2
ESTAB 0 0 127.0.0.1:15001 10.244.1.7:41822 users:(("envoy",pid=7,fd=30)) uid:1337 ino:3
ESTAB 0 0 10.244.1.7:52710 10.107.42.16:80 users:(("envoy",pid=7,fd=31)) uid:1337 ino:4
ESTAB 0 0 10.244.1.7:50000 10.244.1.7:80 users:(("curl",pid=11,fd=5)) uid:1000 ino:5
ESTAB 0 0 [fd00:244:1::7]:50001 [fd00::9]:443 users:(("java",pid=12,fd=6)) uid:1000 ino:6
UNCONN 0 0 10.244.1.7:40000 0.0.0.0:* users:(("nginx",pid=9,fd=7)) uid:101 ino:7
`)
}

func TestLive(t *testing.T) {
	s := snapshot(t, liveFiles(t))
	c, err := Plan(s, block())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "effects", effects(c), []string{"10.107.42.16:80 live: delivered>refused", "[fd00::9]:443 live: delivered>refused", "else 4: delivered>refused", "else 6: delivered>refused"})
	var kept []string
	for _, k := range c.Kept {
		kept = append(kept, fmt.Sprint(k.Conn.Src, " ", k.Conn.Dst, " ", k.Conn.UID, " ", k.Process, " ", k.Proxied))
	}
	same(t, "kept", kept, []string{"10.244.1.7:41822 10.107.42.16:80 101 nginx true", "[fd00:244:1::7]:50001 [fd00::9]:443 1000 java false"})
	if !slices.Contains(c.NotCovered, flow.Reach{What: "established", Whose: "2"}) {
		t.Errorf("not covered: %s", reach(c.NotCovered))
	}
	// Only those that a new one would fare otherwise than.
	for want, a := range map[string]Ask{
		"fd00::9":      {Kind: flow.BlockAll, TTL: 1, Except: []flow.Hole{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}},
		"10.107.42.16": {Kind: flow.AllowAll, TTL: 1, All: true},
		"":             {Kind: flow.AllowAll, TTL: 1, All: true, Except: []flow.Hole{{Prefix: netip.MustParsePrefix("10.107.42.16/32"), Port: 80}}},
	} {
		c, err := Plan(s, a)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, k := range c.Kept {
			got += k.Conn.Dst.Addr().String()
		}
		same(t, fmt.Sprint(a.Kind, a.Except), got, want)
	}
}

// UDP goes on under the plain block, and is refused under the strong one. Whose an
// unconnected socket's flow is, conntrack does not say: its owner is not guessed.
func TestUDP(t *testing.T) {
	f := liveFiles(t)
	f = with(f, "sockets", string(f["sockets"])+"ESTAB 0 0 10.244.1.7:40000 10.96.0.10:53 users:((\"nginx\",pid=9,fd=7)) uid:101 ino:8\n")
	f = edit(t, f, "sockets", "ESTAB 0 0 10.244.1.7:40000", "udp ESTAB 0 0 10.244.1.7:40000")
	s := snapshot(t, f)
	for strong, want := range map[bool]string{false: "10.96.0.10:53 udp live: delivered>delivered", true: "10.96.0.10:53 udp live: delivered>refused"} {
		ask := block()
		ask.Strong = strong
		c, err := Plan(s, ask)
		if err != nil {
			t.Fatal(err)
		}
		if got := effects(c); !slices.Contains(got, want) {
			t.Errorf("strong %v: %q, want %q", strong, got, want)
		}
	}
}

// Whose the exempt connections are is read, never assumed: an owner rule is a hint, and a
// user that the application has too is no owner.
func TestProxyOwner(t *testing.T) {
	base := files(t, "mesh")
	noMeta := with(base, "meta.json", "{}")
	const envoy = `LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:* users:(("envoy",pid=7,fd=21)) uid:%d%s ino:1` + "\n"
	const app = `LISTEN 0 4096 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=9,fd=4)) uid:%d%s ino:9` + "\n"
	sockets := func(proxy, proxyGID, uid, gid any) map[string][]byte {
		return with(noMeta, "sockets", fmt.Sprintf(envoy, proxy, proxyGID)+fmt.Sprintf(app, uid, gid))
	}
	without := func(parts ...string) map[string][]byte {
		out := map[string][]byte{}
		for k, v := range noMeta {
			if !slices.Contains(parts, k) {
				out[k] = v
			}
		}
		return out
	}
	bare := map[string][]byte{"iptables-save": []byte("*nat\nCOMMIT\n"), "addr.json": base["addr.json"], "route.json": base["route.json"]}
	pod := `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"web","securityContext":{"runAsUser":1337}},{"name":"istio-proxy","securityContext":{"runAsUser":1337}}]}}`
	for name, c := range map[string]struct {
		files        map[string][]byte
		want, strong string // uids and gids, or a part of the sentence
	}{
		"read of its socket":        {sockets(1337, "", 101, ""), "[1337] []", "[1337] []"},
		"another number":            {sockets(4000, " gid:4001", 101, ""), "[4000] []", "[4000] []"},
		"shared uid, own gid":       {sockets(0, " gid:1337", 0, " gid:0"), "[] [1337]", "[] [1337]"},
		"shared uid, gid not shown": {sockets(0, " gid:1337", 0, ""), "is also nginx's", "[0] []"},
		"shared uid and gid":        {sockets(0, " gid:0", 0, " gid:0"), "is also nginx's", "[0] []"},
		"shared by its object":      {with(sockets(1337, "", 101, ""), "pod.json", pod), "is also container web's", "[1337] []"},
		"only an owner rule":        {without("sockets"), "was not read", "[] []"},
		"nothing was read":          {with(bare, "meta.json", "{}"), "whether this pod has a proxy is not known", "[] []"},
		"a pod without a proxy":     {with(bare, "sockets", fmt.Sprintf(app, 101, "")), "[] []", "[] []"},
	} {
		s := snapshot(t, c.files)
		for strong, want := range map[bool]string{false: c.want, true: c.strong} {
			ask := block()
			ask.Strong = strong
			got, err := Plan(s, ask)
			says := fmt.Sprint(got.ProxyUIDs, got.ProxyGIDs)
			if err != nil {
				says = err.Error()
				if got.Edits != nil {
					t.Errorf("%s: edits beside an error", name)
				}
			}
			if !strings.Contains(says, want) || strings.Contains(says, "\n") {
				t.Errorf("%s, strong %v: %s, want %s", name, strong, says, want)
			}
		}
	}
}

// The proxy blocks all that it does not name, and lets through what it names: that stays.
func TestAllowNarrow(t *testing.T) {
	mesh := files(t, "mesh")
	blocking := edit(t, mesh, "config_dump.json", `"cluster": "AllowAll"`, `"cluster": "BlockAllCluster"`)
	own := edit(t, mesh, "config_dump.json", `"cluster": "outbound|myngxsvc"`, `"cluster": "BlockAllCluster"`)
	gone := edit(t, mesh, "config_dump.json", `"cluster": "outbound|myngxsvc"`, `"cluster": "nobody"`)
	for name, c := range map[string]struct {
		files        map[string][]byte
		open, except string
		effects      []string
	}{
		"all is blocked":         {files(t, "block-all"), "[0.0.0.0/0]", "[]", []string{"else 4: refused>delivered", "else 6: delivered>delivered"}},
		"all but what has a way": {blocking, "[0.0.0.0/0]", "[10.107.42.16:80]", []string{"10.107.42.16:80: delivered>delivered", "else 4: refused>delivered", "else 6: delivered>delivered"}},
		"only one is blocked":    {own, "[10.107.42.16:80]", "[]", []string{"10.107.42.16:80: refused>delivered", "else 4: delivered>delivered", "else 6: delivered>delivered"}},
		"its cluster is gone":    {gone, "[10.107.42.16:80]", "[]", []string{"10.107.42.16:80: refused>delivered", "else 4: delivered>delivered", "else 6: delivered>delivered"}},
	} {
		got, err := Plan(snapshot(t, c.files), allow())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		same(t, name+" opens", got.Open, c.open)
		same(t, name+" spares", got.Except, c.except)
		same(t, name, effects(got), c.effects)
	}
	if _, err := Plan(snapshot(t, mesh), allow()); !errors.Is(err, ErrNothing) {
		t.Errorf("nothing is blocked: %v", err)
	}
}

// Going around the proxy also goes around its TLS and its filters: that is listed, and
// refused unless it is meant.
func TestAround(t *testing.T) {
	mesh := files(t, "mesh")
	const tls = `"name": "outbound|myngxsvc",
      "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}},`
	encrypted := edit(t, mesh, "config_dump.json", `"name": "outbound|myngxsvc",`, tls)
	empty := edit(t, encrypted, "clusters.json", `"outbound|myngxsvc"`, `"other"`)
	empty["config_dump.json"] = regexp.MustCompile(`"lb_endpoints": \[[^\]]*\]`).ReplaceAll(empty["config_dump.json"], []byte(`"lb_endpoints": []`))
	rbac := edit(t, mesh, "config_dump.json", `"http_filters": [`, `"http_filters": [
                {"name": "rbac", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {"policies": {"all": {"permissions": [{"any": true}], "principals": [{"any": true}]}}}}},`)
	for name, c := range map[string]struct {
		files map[string][]byte
		ask   Ask
		why   flow.ReasonKind
	}{
		"TLS to the endpoint":         {encrypted, Ask{All: true}, flow.WhyTLSUpstream},
		"TLS of a cluster of no host": {empty, Ask{}, flow.WhyTLSConfigured},
		"RBAC on the way":             {rbac, Ask{All: true}, flow.WhyRBACAllows},
	} {
		ask := c.ask
		ask.Kind, ask.TTL = flow.AllowAll, time.Minute
		s := snapshot(t, c.files)
		got, err := Plan(s, ask)
		var around *Around
		if !errors.As(err, &around) || len(around.Effects) != 1 || around.Effects[0].Dst.String() != "10.107.42.16:80" || around.Effects[0].Around[0].Kind != c.why {
			t.Errorf("%s: %v, %+v", name, err, got.Effects)
			continue
		}
		if !strings.Contains(err.Error(), "10.107.42.16:80") || len(got.Edits) == 0 {
			t.Errorf("%s: %v", name, err)
		}
		ask.PlaintextOK = true
		if _, err := Plan(s, ask); err != nil {
			t.Errorf("%s, meant: %v", name, err)
		}
	}
	all := allow()
	all.All = true
	if c, err := Plan(snapshot(t, mesh), all); err != nil || !c.All || len(c.Open) > 0 {
		t.Errorf("a plain mesh: %v %+v", err, c)
	}
}

// What makes no sense, whatever the pod, and which driver does what.
func TestMistakes(t *testing.T) {
	s := snapshot(t, files(t, "mesh"))
	hole := []flow.Hole{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	for want, a := range map[string]Ask{
		`policy "none"`:                          {TTL: 1},
		"want a time above":                      {Kind: flow.BlockAll},
		"--ttl -1s":                              {Kind: flow.BlockAll, TTL: -time.Second},
		"for ever, or":                           {Kind: flow.BlockAll, TTL: 1, Permanent: true},
		"does not end":                           {Kind: flow.BlockAll, Permanent: true, Hold: true},
		"--strong is of":                         {Kind: flow.AllowAll, TTL: 1, Strong: true},
		"are of allow-all":                       {Kind: flow.BlockAll, TTL: 1, All: true},
		"--driver runtime does not do allow-all": {Kind: flow.AllowAll, TTL: 1, Driver: flow.EnvoyRuntime},
		`policy "restore"`:                       {Kind: flow.Restore},
		"--driver networkpolicy does not do allow-all": {Kind: flow.AllowAll, TTL: 1, Driver: flow.NetworkPolicy},
		"--driver runtime has none":                    {Kind: flow.BlockAll, TTL: 1, Driver: flow.EnvoyRuntime, Hold: true},
		"cannot keep single":                           {Kind: flow.BlockAll, TTL: 1, Driver: flow.EnvoyRuntime, Except: hole},
		"does not reach the pod's sockets":             {Kind: flow.BlockAll, TTL: 1, Driver: flow.XDS, CloseOpen: true},
		"name prefixes":                                {Kind: flow.BlockAll, TTL: 1, Except: make([]flow.Hole, 201)},
		"--keep-handoff is of":                         {Kind: flow.BlockAll, TTL: 1, KeepHandoff: true},
	} {
		c, err := Plan(s, a)
		var bad *Mistake
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || c.Edits != nil {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A policy of ours that is there already, or its rest, changes nothing in a plan.
func TestOwnTable(t *testing.T) {
	f := files(t, "mesh")
	table := `{"table": {"family": "inet", "name": "meshtop", "handle": 9}},
	 {"chain": {"family": "inet", "table": "meshtop", "name": "out", "handle": 1, "type": "filter", "hook": "output", "prio": -150, "policy": "accept"}},
	 {"rule": {"family": "inet", "table": "meshtop", "chain": "out", "handle": 2, "expr": [{"reject": {"type": "tcp reset"}}]}}, `
	dirty := with(f, "nft.json", strings.Replace(string(f["nft.json"]), `{"nftables": [`, `{"nftables": [`+table, 1))
	if bytes.Equal(dirty["nft.json"], f["nft.json"]) {
		t.Fatalf("nft.json begins %.40q", f["nft.json"])
	}
	clean, err := Plan(snapshot(t, f), block())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Plan(snapshot(t, dirty), block())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "effects", effects(got), effects(clean))
}

// hostNetwork is refused by every driver that would touch the node.
func TestHostNetwork(t *testing.T) {
	f := with(files(t, "mesh"), "pod.json", `{"metadata":{"name":"node-thing","labels":{"a":"b"}},"spec":{"hostNetwork":true}}`)
	for _, d := range []flow.Driver{flow.Kernel, flow.NetworkPolicy} {
		ask := block()
		ask.Driver = d
		if c, err := Plan(snapshot(t, f), ask); err == nil || !strings.Contains(err.Error(), "node-thing runs in the machine's own network") || c.Edits != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// A plan is the same for the same pod and question, and never changes the snapshot.
func TestSame(t *testing.T) {
	s := snapshot(t, liveFiles(t))
	for _, a := range []Ask{block(), {Kind: flow.AllowAll, TTL: 1, All: true}} {
		one, err := Plan(s, a)
		if err != nil {
			t.Fatal(err)
		}
		two, err := Plan(s, a)
		if err != nil {
			t.Fatal(err)
		}
		same(t, a.Kind.String(), fmt.Sprintf("%+v", two), fmt.Sprintf("%+v", one))
	}
}

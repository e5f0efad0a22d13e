package session

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
)

// asking is a pod whose Envoy is read by name only, as a large one is: it obeys the law of
// the admin interface, whose answers to mask= and name_regex= are sections in part.
type asking struct {
	inspect.Pod
	dump  map[string][]json.RawMessage // by list, such as static_listeners
	asked []flow.Need
	fail  error
}

// sections are the sections in which an object of a need can stand (envoy.admin.v3), with their
// lists.
var sections = map[string][]string{
	"listener":  {"ListenersConfigDump", "dynamic_listeners", "static_listeners"},
	"route":     {"RoutesConfigDump", "dynamic_route_configs", "static_route_configs"},
	"cluster":   {"ClustersConfigDump", "dynamic_active_clusters", "static_clusters"},
	"endpoints": {"EndpointsConfigDump", "dynamic_endpoint_configs", "static_endpoint_configs"},
}

func newAsking(t *testing.T, pod inspect.Pod) *asking {
	t.Helper()
	s, err := pod.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Configs []map[string]json.RawMessage }
	if err := json.Unmarshal(s.Files["config_dump.json"], &doc); err != nil {
		t.Fatal(err)
	}
	p := &asking{dump: map[string][]json.RawMessage{}}
	for _, c := range doc.Configs {
		for list, raw := range c {
			var elements []json.RawMessage
			if json.Unmarshal(raw, &elements) == nil {
				p.dump[list] = append(p.dump[list], elements...)
			}
		}
	}
	delete(s.Files, "config_dump.json")
	delete(s.Files, "clusters.json")
	p.Pod = saved.New(pod.Name(), s.Files)
	return p
}

func (p *asking) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	if len(want.Needs) == 0 {
		return p.Pod.Read(ctx, want)
	}
	s := inspect.Snapshot{Files: inspect.Files{}}
	for _, n := range want.Needs {
		p.asked = append(p.asked, n)
		if p.fail != nil {
			return s, p.fail
		}
		section := map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + sections[n.Part][0]}
		lists := sections[n.Part][1:]
		for _, list := range lists {
			var in []json.RawMessage
			for _, e := range p.dump[list] {
				if slices.Contains(called(e), n.Name) {
					in = append(in, e)
				}
			}
			if in != nil {
				section[list] = in
			}
		}
		answer, err := json.Marshal(map[string]any{"configs": []any{section}})
		if err != nil {
			return s, err
		}
		s.Files["config_dump/"+strings.Join(lists, ",")+"/"+url.PathEscape(n.Name)+".json"] = answer
	}
	return s, nil
}

// called is what an element of a dump is called.
func called(e json.RawMessage) []string {
	var f struct {
		Name                                           string
		Listener, Cluster, RouteConfig, EndpointConfig struct {
			Name        string
			ClusterName string `json:"cluster_name"`
		}
	}
	flat := strings.NewReplacer(`"route_config"`, `"RouteConfig"`, `"endpoint_config"`, `"EndpointConfig"`).Replace(string(e))
	if json.Unmarshal([]byte(flat), &f) != nil {
		return nil
	}
	return []string{f.Name, f.Listener.Name, f.Cluster.Name, f.RouteConfig.Name, f.EndpointConfig.ClusterName}
}

func demo(t *testing.T, name string) inspect.Pod {
	t.Helper()
	p, _, err := saved.Demo(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t *testing.T, p inspect.Pod) Reading {
	t.Helper()
	r, err := Read(context.Background(), p, inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func outbound(dst string) flow.Request {
	return flow.Request{Dst: netip.MustParseAddrPort(dst), Proto: flow.TCP, UID: 1000, HTTP: &flow.HTTP{Authority: "x"}}
}

// withoutRules is the reading of somebody who has only Envoy's side.
func withoutRules(r Reading) Reading {
	files := inspect.Files{}
	for name, data := range r.Files {
		if !strings.Contains(name, "tables") && name != "nft.json" {
			files[name] = data
		}
	}
	return Parsed(r.Pod, r.Taken, files, nil, nil)
}

// A need that cannot be met is asked for once, and the trace says what it lacks.
func TestNeedsEnd(t *testing.T) {
	for _, fail := range []error{nil, errors.New("refused")} {
		p := newAsking(t, demo(t, "mesh"))
		p.dump, p.fail = nil, fail
		r := read(t, p)
		r = withoutRules(r)
		next, tr, err := Trace(context.Background(), p, r, outbound("10.107.42.16:80"), nil)
		if err != nil {
			t.Fatal(err)
		}
		// An empty answer says that there is no such object, a failed one that it is not known.
		if len(p.asked) == 0 || fail != nil && len(tr.Needs) == 0 || tr.Verdict != flow.Unknown {
			t.Errorf("asked %v, needs %v, %v", p.asked, tr.Needs, tr.Verdict)
		}
		if again := slices.Compact(slices.Clone(p.asked)); len(again) != len(p.asked) {
			t.Errorf("asked twice: %v", p.asked)
		}
		if fail != nil && !slices.ContainsFunc(next.Gaps, func(g flow.Gap) bool { return g.Reason == "refused" }) {
			t.Errorf("a failed read is no gap: %v", next.Gaps)
		}
	}
}

func TestTraceIsCancelled(t *testing.T) {
	p := newAsking(t, demo(t, "mesh"))
	p.fail = context.Canceled
	r := read(t, p)
	r = withoutRules(r)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, _, err := Trace(ctx, p, r, outbound("10.107.42.16:80"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What makes no sense is told, and what was read besides is there.
func TestReadBadPart(t *testing.T) {
	r, err := Read(context.Background(), saved.New("x", map[string][]byte{"config_dump.json": []byte("{"), "iptables-save": []byte("*nat\nCOMMIT\n")}), inspect.Want{})
	var bad *BadPart
	if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "config_dump.json: ") || r.Snapshot == nil || r.Snapshot.Rules == nil {
		t.Errorf("%v, %+v", err, r.Snapshot)
	}
}

func TestResolve(t *testing.T) {
	r := Reading{Files: inspect.Files{"hosts": []byte("# 10.0.0.9 svc\n10.0.0.1 web WWW # x\nbad svc\nfd00::1\tsvc\n")}}
	at := func(p inspect.Pod, name, src string) (flow.Request, error) {
		d := request.Draft{Host: name, Request: flow.Request{Dst: netip.AddrPortFrom(netip.Addr{}, 80), UID: 7}}
		if src != "" {
			d.Request.Src = netip.MustParseAddrPort(src)
		}
		return Resolve(context.Background(), p, r, d)
	}
	for name, want := range map[string]string{"web": "10.0.0.1:80", "www": "10.0.0.1:80", "svc": "[fd00::1]:80", "localhost": "127.0.0.1:80", "LocalHost.": "127.0.0.1:80"} {
		if q, err := at(demo(t, "mesh"), name, ""); err != nil || q.Dst.String() != want || q.Named == nil || q.Named.Name != name {
			t.Errorf("%s is %v, %+v, %v, want %s", name, q.Dst, q.Named, err, want)
		}
	}
	if _, err := at(demo(t, "mesh"), "other", ""); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("an unknown name: %v", err)
	}
	p := resolving{addrs: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.7"), netip.MustParseAddr("fd00::7")}}
	for src, want := range map[string]string{"": "10.0.0.7:80", "[fd00::1]:0": "[fd00::7]:80", "10.0.0.1:0": "10.0.0.7:80"} {
		if q, err := at(p, "other", src); err != nil || q.Dst.String() != want || len(q.Named.Addrs) != 2 || q.Named.UID != 7 {
			t.Errorf("by the pod from %q: %v, %+v, %v", src, q.Dst, q.Named, err)
		}
	}
	p.err = errors.New("no such host")
	if _, err := at(p, "other", ""); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("the pod's error: %v", err)
	}
}

// The rules bring what the application asks the name server to the mesh's own, and not what
// the proxy asks.
func TestVia(t *testing.T) {
	r, err := Read(context.Background(), saved.New("x", map[string][]byte{
		"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 1337 -j RETURN\n-A OUTPUT -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\nCOMMIT\n"),
		"addr.json":     []byte(`[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.1.7.4","prefixlen":16}]}]`),
		"route.json":    []byte(`[{"dst":"default","gateway":"10.1.0.1","dev":"eth0"}]`),
	}), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "127.0.0.1:15053", 1337: "invalid AddrPort"} {
		n := flow.Named{By: flow.NamedServer, Server: netip.MustParseAddrPort("10.96.0.10:53"), UID: uid}
		if got := via(r, n).String(); got != want {
			t.Errorf("uid %d: %s, want %s", uid, got, want)
		}
	}
}

type resolving struct {
	inspect.Pod
	addrs []netip.Addr
	err   error
}

func (r resolving) Resolve(_ context.Context, name string, uid, gid uint32) (flow.Named, error) {
	return flow.Named{Name: name, By: flow.NamedServer, Addrs: r.addrs, UID: uid, GID: gid}, r.err
}

func TestContainer(t *testing.T) {
	pod := `{"spec":{"securityContext":{"runAsUser":7},"initContainers":[{"name":"i","securityContext":{"runAsUser":0}}],"containers":[{"name":"a"},{"name":"b","securityContext":{"runAsUser":8,"runAsGroup":9}}]}}`
	r := Reading{Files: inspect.Files{"pod.json": []byte(pod)}}
	for name, want := range map[string][2]uint32{"a": {7, 0}, "b": {8, 9}, "i": {0, 0}} {
		if uid, gid, err := Container(r, name); err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%s runs as %d:%d, %v", name, uid, gid, err)
		}
	}
	for files, want := range map[string]string{`{"spec":{"containers":[{"name":"c"}]}}`: "its image decides", `{"spec":{}}`: "there are", `{`: "pod.yaml"} {
		if _, _, err := Container(Reading{Files: inspect.Files{"pod.yaml": []byte(files)}}, "c"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", files, err)
		}
	}
	if _, _, err := Container(Reading{}, "c"); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("no pod: %v", err)
	}
}

// A saved snapshot holds no secret, says when it was taken, and traces the same.
func TestSave(t *testing.T) {
	for _, s := range saved.Scenes() {
		r := read(t, demo(t, s.Name))
		r.Files["other.yaml"] = []byte("spec:\n  containers:\n  - env:\n    - name: DB_PASSWORD\n      value: hunter2\n")
		r.Files["observed/eth0.pcap"] = []byte{0, 1, 2}
		r.Gaps = []flow.Gap{{Part: "ipset", Reason: "no ipset here"}}
		r.Calls = []inspect.Call{{What: "GET /config_dump", Bytes: 5}}
		out, err := Save(r)
		if err != nil {
			t.Fatal(err)
		}
		meta := string(out.Files[metaPart])
		if strings.Contains(string(out.Files["other.yaml"]), "hunter2") || out.Masked["other.yaml"] != 1 || len(out.Gaps) != 1 || out.Files["observed/eth0.pcap"] != nil {
			t.Errorf("%s: masked %v, left out %v", s.Name, out.Masked, out.Gaps)
		}
		for _, want := range []string{"no ipset here", "GET /config_dump", "observed/eth0.pcap", `"target": "demo ` + s.Name} {
			if !strings.Contains(meta, want) {
				t.Errorf("%s: meta.json lacks %q:\n%s", s.Name, want, meta)
			}
		}
		before, after := read(t, demo(t, s.Name)), read(t, saved.New("x", out.Files))
		for _, raw := range s.Requests {
			q, err := request.Parse([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			_, a, err1 := Trace(context.Background(), saved.New("a", before.Files), before, q, nil)
			_, b, err2 := Trace(context.Background(), saved.New("b", out.Files), after, q, nil)
			a.Gaps, b.Gaps = nil, nil
			if err1 != nil || err2 != nil || string(render.JSON(a, true)) != string(render.JSON(b, true)) {
				t.Errorf("%s traces otherwise once it was saved: %v %v", s.Name, err1, err2)
			}
		}
	}
}

// Of ways that are alike otherwise, the one of which something was seen is shown, though it
// proves nothing: a cluster that was counted beside one that was not.
func TestBetterIsWhatWasSeen(t *testing.T) {
	seen := []flow.Evidence{{Source: "counter"}}
	report := func(w confirm.Word, e []flow.Evidence) confirm.Report {
		return confirm.Report{Steps: []confirm.Step{{Word: confirm.Confirmed, Evidence: seen}, {Word: w, Evidence: e}}}
	}
	counted, not := report(confirm.Unverifiable, seen), report(confirm.NotObservable, nil)
	if !better(counted, not) || better(not, counted) || better(not, not) {
		t.Error("what was seen is not preferred")
	}
	if against := report(confirm.Contradicted, seen); better(against, not) || !better(report(confirm.Confirmed, nil), counted) {
		t.Error("evidence weighs more than the words")
	}
}

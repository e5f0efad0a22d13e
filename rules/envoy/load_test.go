package envoy

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
)

var dumpsDir = flag.String("dumps", "", "a folder with more config_dump*.json for TestRealDumps")

// realDumps are those of testdata, and of the folder that is given.
func realDumps(t *testing.T) map[string][]byte {
	t.Helper()
	names, _ := filepath.Glob("testdata/dumps/*.gz")
	dumps := map[string][]byte{}
	for _, n := range names {
		dumps[n] = packed.Read(t, n)
	}
	if *dumpsDir != "" {
		err := filepath.WalkDir(*dumpsDir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(d.Name(), "config_dump") && strings.HasSuffix(d.Name(), ".json") {
				dumps[path], err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dumps
}

// Real dumps load, and nothing in them is dropped without being counted.
func TestRealDumps(t *testing.T) {
	for name, raw := range realDumps(t) {
		c, gaps, err := Load(map[string][]byte{dumpPart: raw})
		if err != nil || len(gaps) > 0 {
			t.Errorf("%s: %v %v", name, gaps, err)
			continue
		}
		s := c.Summary()
		strange := slices.DeleteFunc(s.Unmodelled, func(u flow.NotModelled) bool {
			return u.Type == "istio.set_internal_dst_address.v1.Config" && u.Count == 2 && u.Name == "set_dst_address"
		})
		if len(strange) > 0 || s.Version == "" && bytes.Contains(raw, []byte("major_number")) {
			t.Errorf("%s: version %q, not understood: %v", name, s.Version, s.Unmodelled)
		}
		// Every element that a plain look at the text finds is an entry.
		if n := bytes.Count(raw, []byte(`"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"`)); n > 0 && n != s.Clusters+s.Warming {
			t.Errorf("%s: %d clusters in the text, %d known", name, n, s.Clusters)
		}
		for _, o := range c.Objects() {
			if text, ok := c.Raw(o.Ref); !ok || len(text) < 2 || text[0] != '{' {
				t.Errorf("%s: %v %q has no text at %q", name, o.Kind, o.Name, o.Ref)
			}
		}
	}
}

// What is no dump is an error or a gap in one sentence.
func TestLoadRefuses(t *testing.T) {
	whole := mesh{listeners: lis("l", "0.0.0.0", 80, toC("l"))}.dump()
	for name, row := range map[string]struct{ text, want string }{
		"error text":  {"Failed to convert protobuf message to JSON string: INVALID_ARGUMENT: could not find @type 'x'\n", `config_dump.json: not a JSON object but "Failed to convert protobuf message`},
		"empty":       {" \n", "config_dump.json: empty"},
		"a list":      {"[1]", `config_dump.json: not a JSON object but "[1]"`},
		"other JSON":  {`{"a": 1}`, `config_dump.json: a JSON text without "configs" is no config dump`},
		"empty dump":  {`{"configs": []}`, `config_dump.json: an empty config dump: its "configs" hold nothing`},
		"truncated":   {string(whole[:len(whole)-9]), "the text ends too early"},
		"more text":   {string(whole) + "x", "more text after the value"},
		"HTML":        {"<html>404</html>", `config_dump.json: not a JSON object but "<html>404</html>"`},
		"deep":        {`{"configs": [{"@type": "a", "x": ` + strings.Repeat("[", 100000), "nested deeper than 512"},
		"control":     {"{\"configs\": [\"\x01\"]}", "a control character in a string"},
		"wrong types": {`{"configs": "x"}`, ""},
	} {
		_, _, err := Load(map[string][]byte{dumpPart: []byte(row.text)})
		if row.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	c, gaps, err := Load(map[string][]byte{dumpPart: whole, "clusters.json": []byte("nope"), "runtime.json": []byte(`{"entries"`), "server_info.json": nil})
	if err != nil || c == nil || len(gaps) != 3 || gaps[0] != (flow.Gap{Part: "clusters.json", Reason: `not a JSON object but "nope"`, Broken: true}) {
		t.Errorf("broken parts beside a dump: %v %v", gaps, err)
	}
	if c, gaps, err := Load(map[string][]byte{"iptables-save": nil}); c != nil || gaps != nil || err != nil {
		t.Errorf("no Envoy at all: %v %v %v", c, gaps, err)
	}
}

// What the index does not understand is counted, by type, with the name and place of the
// first.
func TestUnmodelled(t *testing.T) {
	c := mesh{more: `, {'@type': 'type.googleapis.com/acme.v1.AcmeConfigDump', 'x': [1], 'y': {'name': 'deep', 'z': {'name': 'deeper'}}}, {'a': 1},
		{'@type': 'type.googleapis.com/acme.v1.AcmeConfigDump', 'name': 'second'},
		{'@type': 'type.googleapis.com/envoy.admin.v3.ClustersConfigDump', 'dynamic_active_clusters': [{'version_info': '1'}], 'acme_clusters': [{'cluster': {'name': 'a'}}, {}], 'one': 7}`}.load(t)
	got := c.Summary().Unmodelled
	want := []flow.NotModelled{
		{Type: "a section without @type", Count: 1, Ref: "/configs/6"},
		{Type: "acme.v1.AcmeConfigDump", Count: 2, Name: "deep", Ref: "/configs/5"},
		{Type: "envoy.admin.v3.ClustersConfigDump.DynamicCluster without cluster", Count: 1, Ref: "/configs/8/dynamic_active_clusters/0"},
		{Type: "envoy.admin.v3.ClustersConfigDump.acme_clusters", Count: 2, Name: "a", Ref: "/configs/8/acme_clusters/0"},
		{Type: "envoy.admin.v3.ClustersConfigDump.one", Count: 1, Ref: "/configs/8/one"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, u := range got {
		if _, ok := c.Raw(u.Ref); !ok {
			t.Errorf("%s has no text at %s", u.Type, u.Ref)
		}
	}
}

// Members that are there twice and strings that are not UTF-8 are read all the same, and
// told with the object that they belong to.
func TestOddities(t *testing.T) {
	dump := string(mesh{
		listeners: lis("in", "0.0.0.0", 80, toC("in")),
		clusters:  static("c", "10.1.0.1:80"),
		more:      `, {'@type': 'type.googleapis.com/envoy.admin.v3.RoutesConfigDump', 'dynamic_route_configs': [{'route_config': {'name': 'rt', 'virtual_hosts': [{'name': 'v', 'name': 'w', 'domains': ['*']}]}}]}`,
	}.dump())
	dump = strings.Replace(dump, `"stat_prefix": "t"`, "\"stat_prefix\": \"\xff\"", 1)
	dump = strings.Replace(dump, `"type": "STATIC"`, `"type": "EDS", "type": "STATIC"`, 1)
	c, gaps, err := Load(map[string][]byte{dumpPart: []byte(dump), "runtime.json": []byte(`{"entries": {"k": {}, "k": {"final_value": "1"}}}`),
		"clusters.json": []byte("{\"cluster_statuses\": [{\"name\": \"c\", \"x\": \"\xfe\"}]}")})
	if err != nil {
		t.Fatal(err)
	}
	at := func(text, part string) string { return strconv.Itoa(strings.Index(dump, text) + len(part)) }
	want := []flow.Gap{
		{Part: "clusters.json", Reason: "cluster \"c\", byte 42: a string that is not UTF-8"},
		{Part: dumpPart, Reason: `cluster "c", byte ` + at(`"type": "STATIC"`, `"`) + `: member "type" is there again: the last one counts`},
		{Part: dumpPart, Reason: `listener "in", byte ` + at("\xff", "") + `: a string that is not UTF-8`},
		{Part: dumpPart, Reason: `route config "rt", byte ` + at(`"name": "w"`, `"`) + `: member "name" is there again: the last one counts`},
		{Part: "runtime.json", Reason: `byte 23: member "k" is there again: the last one counts`},
	}
	if !slices.Equal(gaps, want) {
		t.Errorf("got  %+v\nwant %+v", gaps, want)
	}
	if got := c.cluster("c").kind; got != "STATIC" {
		t.Errorf("the first one counts: %s", got)
	}
	if c.runtime["k"] != "1" {
		t.Errorf("runtime %v", c.runtime)
	}
}

// States of a listener: only the active one serves; a refused update, with a name or
// without one, is counted (section 1.2).
func TestListenerStates(t *testing.T) {
	state := func(name, port string) string {
		return `{'version_info': '1', 'listener': {'name': '` + name + `', 'address': {'socket_address': {'address': '0.0.0.0', 'port_value': ` + port + `}}, ` + toC(name) + `}}`
	}
	c := mesh{clusters: static("c", "10.1.0.1:80"), more: `, {'@type': 'type.googleapis.com/envoy.admin.v3.ListenersConfigDump', 'dynamicListeners': [
		{'name': 'a', 'activeState': ` + state("a", "1") + `, 'error_state': {'details': 'refused'}},
		{'name': 'w', 'warming_state': ` + state("w", "2") + `},
		{'name': 'd', 'draining_state': ` + state("d", "3") + `},
		{'name': 'e', 'error_state': {'details': 'refused'}}, {'error_state': {'details': 'refused'}}]}`}.load(t)
	s := c.Summary()
	if s.Listeners != 1 || s.Warming != 1 || s.Draining != 1 || s.Rejected != 3 || len(s.Unmodelled) > 0 {
		t.Errorf("%+v", s)
	}
	run(t, c, []l4row{
		{"active", Conn{Accept: addr("1.1.1.1:1")}, nil, "continue a/a c 10.1.0.1:80"},
		{"warming", Conn{Accept: addr("1.1.1.1:2")}, nil, "unknown /"},
		{"draining", Conn{Accept: addr("1.1.1.1:3")}, nil, "unknown /"},
	})
	for ref, want := range map[string]string{"/configs/5/dynamicListeners/0/activeState/listener": `"name": "a"`, "/configs/5/dynamicListeners/4/error_state/details": `"refused"`} {
		if text, ok := c.Raw(ref); !ok || !strings.Contains(string(text), want) {
			t.Errorf("raw %s: %q", ref, text)
		}
	}
}

// A trace over a part of the configuration says what it needs; absence is a fact only
// where the resource is complete or that name was asked for.
func TestNeeds(t *testing.T) {
	element := func(typ, body string) string {
		return strings.ReplaceAll(`{'configs': [{'@type': 'type.googleapis.com/envoy.admin.v3.`+typ+`', `+body+`}]}`, "'", `"`)
	}
	dyn := func(name, l string) string {
		return element("ListenersConfigDump.DynamicListener", `'name': '`+name+`', 'active_state': {'listener': `+l+`}`)
	}
	files := map[string][]byte{}
	put := func(name, text string) { files[name] = []byte(text) }
	conn := Conn{Accept: addr("127.0.0.1:15001"), Orig: addr("10.0.0.1:80")}
	step := func(want string) {
		t.Helper()
		c, gaps, err := Load(files)
		if err != nil || len(gaps) > 0 {
			t.Fatal(gaps, err)
		}
		if got := ends(c, conn, raw()); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	put("listeners.json", strings.ReplaceAll(`{'listener_statuses': [{'name': 'out', 'local_address': `+sockaddr("0.0.0.0", 15001)+`}, {'name': 'w/80', 'local_address': `+sockaddr("0.0.0.0", 80)+`}, {'local_address': `+sockaddr("10.0.0.3", 1)+`}]}`, "'", `"`))
	step("unknown / needs listener out")
	put("config_dump/dynamic_listeners/out.json", dyn("out", lis("out", "0.0.0.0", 15001, useOriginal, toC("out"))))
	step("unknown out/ needs listener w/80")
	put("config_dump/dynamic_listeners/w%2F80.json", dyn("w/80", lis("w/80", "0.0.0.0", 80, noBind, toC("w80"))))
	step("unknown w/80/w80 needs cluster c")
	put("config_dump/dynamic_active_clusters/c.json", element("ClustersConfigDump.DynamicCluster", `'cluster': {'name': 'c', 'type': 'EDS'}`))
	step("unknown w/80/w80 c needs endpoints c")
	put("config_dump/dynamic_endpoint_configs/c.json", element("EndpointsConfigDump.DynamicEndpointConfig", `'endpoint_config': {'cluster_name': 'c', 'endpoints': [{'lb_endpoints': [`+ep("1.0.0.1")+`]}]}`))
	step("continue w/80/w80 c 1.0.0.1:80")
	files["config_dump/dynamic_active_clusters/c.json"] = []byte("{}")
	step("unknown w/80/w80 needs cluster c")
	files["config_dump/static_clusters/c.json"] = []byte("{}")
	step("refused w/80/w80 NC")
	delete(files, "config_dump/static_clusters/c.json")
	put("meta.json", `{"complete": ["static_clusters"]}`)
	step("refused w/80/w80 NC")

	delete(files, "meta.json")
	delete(files, "config_dump/dynamic_active_clusters/c.json")
	const both = "config_dump/dynamic_active_clusters,static_clusters/"
	put(both+"c.json", element("ClustersConfigDump", `'static_clusters': [{'cluster': {'name': 'c', 'type': 'EDS'}}]`))
	step("continue w/80/w80 c 1.0.0.1:80")
	put(both+"c.json", "{}")
	step("refused w/80/w80 NC")
	delete(files, both+"c.json")
	put(both+"d.json", element("ClustersConfigDump", `'dynamic_active_clusters': [{'cluster': {'name': 'd', 'type': 'EDS'}}], 'static_clusters': []`))
	step("unknown w/80/w80 needs cluster c") // a section in part is no section in whole
}

// A nil Config knows nothing and says so.
func TestNilConfig(t *testing.T) {
	var c *Config
	if got := ends(c, Conn{Accept: addr("127.0.0.1:15001")}, raw()); got != "unknown / needs listener 127.0.0.1:15001" {
		t.Error(got)
	}
	if c.Takes(addr("1.1.1.1:1"), flow.TCP) != flow.Maybe || c.Objects() != nil || c.Summary().Bytes != 0 {
		t.Error("a nil Config claims something")
	}
	if _, ok := c.Raw("/configs/0"); ok {
		t.Error("a nil Config has text")
	}
}

// Takes and Capture: who owns an accept address, and where a trace without rules begins.
func TestTakesAndCapture(t *testing.T) {
	c := mesh{
		bootstrap: `'admin': {'address': ` + sockaddr("127.0.0.1", 9901) + `}`,
		listeners: lis("out", "0.0.0.0", 15001, useOriginal, `'traffic_direction': 'OUTBOUND'`, toC("out")) + lis("vip", "10.0.0.1", 80, noBind, toC("vip")) +
			lis("in", "0.0.0.0", 15006, `'traffic_direction': 'INBOUND'`, lfilters(originalDst), toC("in")) + lis("plain", "0.0.0.0", 80, toC("plain")),
	}.load(t)
	for a, want := range map[string]flow.Answer{"1.1.1.1:15001": flow.Yes, "10.0.0.1:80": flow.Yes, "10.0.0.1:81": flow.No, "127.0.0.1:9901": flow.Yes, "1.1.1.1:9901": flow.No, "[::1]:80": flow.No} {
		if got := c.Takes(addr(a), flow.TCP); got != want {
			t.Errorf("takes %s: %v, want %v", a, got, want)
		}
	}
	for d, want := range map[flow.Direction]string{flow.Outbound: "0.0.0.0:15001", flow.Inbound: "0.0.0.0:15006"} {
		if got, ok := c.Capture(d, addr("10.0.0.9:8080")); !ok || got.String() != want {
			t.Errorf("capture %v: %v %v", d, got, ok)
		}
	}
	seed := mesh{listeners: lis("gw", "0.0.0.0", 80, toC("gw"))}.load(t)
	if got, ok := seed.Capture(flow.Inbound, addr("10.0.0.9:80")); !ok || got != addr("10.0.0.9:80") {
		t.Errorf("a gateway: %v %v", got, ok)
	}
	if _, ok := seed.Capture(flow.Inbound, addr("10.0.0.9:81")); ok {
		t.Error("a port without a listener is captured")
	}
}

// Runtime values come from /runtime, else from the bootstrap's static layers, later ones win.
func TestRuntime(t *testing.T) {
	boot := `'layered_runtime': {'layers': [{'name': 'a', 'static_layer': {'x': {'y': 1, 'z': 'one'}, 'b.c': true}}, {'name': 'b', 'static_layer': {'x.y': 2, 'f': {'numerator': 5}}}]}`
	m := mesh{bootstrap: boot}
	for key, want := range map[string]string{"x.y": "2", "x.z": "one", "b.c": "true", "f": `{"numerator": 5}`, "nothing": ""} {
		if got, _ := m.load(t).value(key); got != want {
			t.Errorf("static %s = %q, want %q", key, got, want)
		}
	}
	m.files = map[string]string{"runtime.json": `{'entries': {'x.y': {'final_value': '3', 'layer_values': ['2', '3']}}}`}
	c := m.load(t)
	if v, ok := c.value("x.y"); v != "3" || !ok {
		t.Errorf("x.y = %q", v)
	}
	if _, ok := c.value("x.z"); ok {
		t.Error("a static layer counts beside /runtime")
	}
}

// Envoy's version: /server_info, else what the bootstrap's node says; unknown counts as new.
func TestVersion(t *testing.T) {
	boot := `'node': {'user_agent_build_version': {'version': {'major_number': 1, 'minor_number': 36, 'patch': 4}}}`
	m := mesh{bootstrap: boot}
	if v := m.load(t).Summary().Version; v != "1.36.4" {
		t.Errorf("by bootstrap: %s", v)
	}
	m.files = map[string]string{"server_info.json": `{'version': 'abc/1.39.3/Clean/RELEASE/BoringSSL'}`}
	c := m.load(t)
	if v := c.Summary().Version; v != "1.39.3" {
		t.Errorf("by server_info: %s", v)
	}
	for _, row := range []struct {
		major, minor, patch int
		want                bool
	}{{1, 39, 3, true}, {1, 39, 4, false}, {1, 40, 0, false}, {1, 38, 9, true}, {2, 0, 0, false}, {0, 99, 0, true}} {
		if got := c.version.atLeast(row.major, row.minor, row.patch); got != row.want {
			t.Errorf("1.39.3 at least %v: %v", row, got)
		}
	}
	if !(Version{}).atLeast(1, 40, 0) || parseVersion("x/1.37.0-dev/y") != (Version{1, 37, 0}) || parseVersion("nonsense") != (Version{}) {
		t.Error("a version is read wrong")
	}
}

// A filter's configuration that was not read is a need, not its default and not a refusal; the
// answer to a question by name holds sections of every kind, none of them whole.
func TestECDSByName(t *testing.T) {
	listeners := `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", "name": "l", "active_state": {"listener": ` + strings.ReplaceAll(lis("l", "0.0.0.0", 80,
		chainList(chainOf("f", "", `{'name': 'mine', 'config_discovery': {'default_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo'}}}`))), "'", `"`) + `}}]}`
	section := func(filters string) string {
		return `{"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump"` + filters + `}`
	}
	direct := `{"ecds_filter": {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "mine", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"}}}`
	for _, c := range []struct {
		name, answer string
		want         flow.ReasonKind
	}{
		{"not asked", "", flow.WhyNotRead},
		{"none came", section(""), flow.WhyEcho},
		{"in the second section", section("") + "," + section(`, "ecds_filters": [`+direct+`]`), flow.WhyDirectBytes},
	} {
		files := map[string][]byte{"config_dump/dynamic_listeners/l.json": []byte(listeners)}
		if c.answer != "" {
			files["config_dump/ecds_filters/mine.json"] = []byte(`{"configs": [` + c.answer + `]}`)
		}
		cfg, gaps, err := Load(files)
		if err != nil || len(gaps) > 0 {
			t.Fatal(err, gaps)
		}
		r := cfg.Accept(Conn{Listener: "l", Accept: addr("10.0.0.1:80"), Src: addr("10.0.0.2:1"), Proto: flow.TCP}, &flow.Request{}, new(flow.Choices))
		if got := r.Steps[len(r.Steps)-1].Reason.Kind; got != c.want || (len(r.Needs) > 0) != (c.want == flow.WhyNotRead) {
			t.Errorf("%s: reason %d %+v, want %d; needs %v", c.name, got, r.Steps[len(r.Steps)-1], c.want, r.Needs)
		}
	}
}

// A secret that was not read is a need, and the trace goes on without; one that does not exist
// is none, and ends the handshake.
func TestSecretNeeded(t *testing.T) {
	chain := withTLS(chainOf("f", "", tcp("c")), `, 'common_tls_context': {'tls_certificate_sds_secret_configs': [{'name': 'own'}], 'combined_validation_context': {'validation_context_sds_secret_config': {'name': 'ca'}}}`)
	listeners := `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", "name": "l", "active_state": {"listener": ` + strings.ReplaceAll(lis("l", "0.0.0.0", 80, chainList(chain)), "'", `"`) + `}}]}`
	files := map[string][]byte{"config_dump/dynamic_listeners/l.json": []byte(listeners)}
	for _, want := range []string{"own ca", "awaits own"} {
		cfg, _, err := Load(files)
		if err != nil {
			t.Fatal(err)
		}
		r := cfg.Accept(Conn{Listener: "l", Accept: addr("10.0.0.1:80"), Src: addr("10.0.0.2:1"), Proto: flow.TCP}, hello("x"), new(flow.Choices))
		var got []string
		for _, n := range r.Needs {
			if n.Part == partSecret {
				got = append(got, n.Name)
			}
		}
		for _, s := range r.Steps {
			if s.Reason.Kind == flow.WhySecretAwaited {
				got = append(got, "awaits", s.Reason.Args[0])
			}
		}
		if strings.Join(got, " ") != want || (r.Verdict == flow.Refused) != strings.HasPrefix(want, "awaits") {
			t.Errorf("needs %v, want %s", r.Needs, want)
		}
		files["config_dump/dynamic_active_secrets/own.json"], files["config_dump/static_secrets/own.json"] = []byte("{}"), []byte("{}")
	}
}

package envoy

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	api "github.com/meshtop/meshtop/e2e/fields"
	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

var makeFields = flag.Bool("fields", false, "write fields.txt anew")

// The table is that of the descriptors of the go-control-plane that is built with, for the
// fields that are read now.
func TestFieldTable(t *testing.T) {
	want, err := api.Make(".")
	if err != nil {
		t.Fatal(err)
	}
	if *makeFields {
		if err := os.WriteFile("fields.txt", []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if fieldTable != want {
		t.Error("fields.txt is not what the descriptors and the fields that are read give: go test ./rules/envoy -run TestFieldTable -fields")
	}
}

// Nothing in a real dump is of a wrong kind.
func TestRealKinds(t *testing.T) {
	objects := 0
	check := func(name string, d *tree.Doc) {
		objects++
		if what, _ := wrong(d.Root()); what != "" {
			t.Errorf("%s: %s", name, what)
		}
	}
	for name, raw := range realDumps(t) {
		c, gaps, err := Load(map[string][]byte{dumpPart: raw})
		if err != nil || len(gaps) > 0 {
			t.Fatal(name, gaps, err)
		}
		for _, e := range c.entries {
			check(name, e.decode().Doc())
			if e.hosts == nil {
				continue
			}
			table := e.table()
			for i := range table.spans {
				check(name, table.host(i).Doc())
			}
		}
	}
	if objects < 300 {
		t.Errorf("%d objects looked at", objects)
	}
}

// tlsChain is the chain of oneOfAll that takes TLS.
var tlsChain = chainOf("tls", `'prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}], 'transport_protocol': 'tls', 'server_names': ['a.x']`, tcp("d"))

// oneOfAll is a configuration through which the requests of answers go all ways.
func oneOfAll() mesh {
	manager := netFilter("http_connection_manager", "HttpConnectionManager", `'stat_prefix': 'h', 'rds': {'route_config_name': 'r', 'config_source': {'ads': {}}},
		'http_filters': [{'name': 'envoy.filters.http.router', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}]`)
	return mesh{
		listeners: lis("out", "0.0.0.0", 15001, useOriginal, `'traffic_direction': 'OUTBOUND'`, toC("out")) +
			lis("w80", "0.0.0.0", 80, noBind, lfilters(tlsInspector), chainList(
				tlsChain,
				chainOf("http", `'prefix_ranges': [{'address_prefix': '10.0.0.0', 'prefix_len': 8}]`, manager))),
		clusters:  static("c", "10.1.0.1:80") + `{'name': 'd', 'type': 'EDS'}`,
		endpoints: `{'cluster_name': 'd', 'endpoints': [{'lb_endpoints': [` + ep("10.2.0.1") + `]}]}`,
		routes: `{'name': 'r', 'virtual_hosts': [
			{'name': 'v', 'domains': ['a.x', '*.y'], 'routes': [
				{'match': {'path': '/exact', 'headers': [{'name': 'x-a', 'string_match': {'exact': 'b'}}]}, 'route': {'cluster': 'c', 'timeout': '3s'}},
				{'match': {'prefix': '/p'}, 'redirect': {'host_redirect': 'other', 'response_code': 'FOUND'}},
				{'match': {'safe_regex': {'regex': '/r[0-9]'}}, 'direct_response': {'status': 418}}]},
			{'name': 'rest', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'weighted_clusters': {'clusters': [{'name': 'c', 'weight': 3}]}}}]}]}`,
		files: map[string]string{"clusters.json": `{'cluster_statuses': [{'name': 'c', 'host_statuses': [{'address': ` + sockaddr("10.1.0.1", 80) + `, 'health_status': {'eds_health_status': 'HEALTHY'}}]}]}`},
	}
}

// answers are how requests of all kinds end, and whether somebody is told that something
// could not be read: an error, a Gap, a count, an unknown verdict.
func answers(files map[string][]byte) (ended string, told bool) {
	c, gaps, err := Load(files)
	if err != nil {
		return err.Error(), true
	}
	told = len(gaps) > 0 || len(c.Summary().Unmodelled) > 0
	conn := Conn{Accept: addr("127.0.0.1:15001"), Orig: addr("10.0.0.1:80"), Src: addr("10.9.9.9:1"), Proto: flow.TCP}
	http := func(path, host string, headers ...[2]string) *flow.Request {
		h := sent("GET", path, host, headers...)
		return &flow.Request{Proto: flow.TCP, Dst: conn.Orig, HTTP: &h}
	}
	for _, r := range []*flow.Request{http("/exact", "a.x", [2]string{"x-a", "b"}), http("/exact", "a.x"), http("/p1", "b.y"), http("/r1", "a.x"), http("/", "z"), hello("a.x")} {
		end := ends(c, conn, r)
		told = told || strings.Contains(end, "unknown")
		res := c.Accept(conn, r, new(flow.Choices))
		ended += fmt.Sprintln(end, res.Caller.Code, res.Outcome.Route, res.Outcome.RouteIndex, res.Outcome.VirtualHost)
	}
	return ended, told
}

// A value of a kind that Envoy does not write at its place, wherever it stands, changes no
// answer in silence: protobuf's JSON has an object for a message, a list for a repeated
// field, and one value of each scalar, numbers within bounds.
func TestWrongKinds(t *testing.T) {
	m := oneOfAll()
	files := map[string][]byte{dumpPart: m.dump(), "clusters.json": []byte(strings.ReplaceAll(m.files["clusters.json"], "'", `"`))}
	right, told := answers(files)
	if told || strings.Count(right, "continue") != 3 {
		t.Fatalf("the configuration itself: %s", right)
	}
	tried := 0
	for name := range files {
		raw := files[name]
		try := func(n tree.Node) {
			wrong := map[tree.Kind][]string{tree.Object: {"7", `"x"`, "true", "[7]"}, tree.List: {"7", "true", "[[]]", "[7, {}]"},
				tree.String: {"[]", "{}", "[[7]]"}, tree.Number: {"[]", "{}", "-1", "8080.5", "4294967296", `"80x"`}, tree.Bool: {"[]", "{}"}}[n.Kind()]
			for _, w := range append(wrong, `[true, "x", {}]`) {
				tried++
				start := int(n.Offset())
				files[name] = append(append(append([]byte{}, raw[:start]...), w...), raw[start+len(n.Raw()):]...)
				if got, told := answers(files); got != right && !told {
					t.Errorf("%s: %s is %s: in silence\n%s", name, n.Pointer(), w, got)
				}
			}
			files[name] = raw
		}
		d, err := tree.Parse(raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		var visit func(n tree.Node)
		visit = func(n tree.Node) {
			try(n)
			for _, v := range n.Members() {
				visit(v)
			}
			if n.Kind() == tree.List {
				for _, e := range n.List() {
					visit(e)
				}
			}
		}
		visit(d.Root())
	}
	if tried < 700 {
		t.Errorf("%d values tried", tried)
	}
}

// A dump in which somebody hid things: Envoy's own "[redacted]" in secrets, bytes in base64,
// changes nothing; a whole object that became a word is told where it would decide.
func TestRedacted(t *testing.T) {
	tls := func(secret string) mesh {
		m := oneOfAll()
		m.listeners = strings.Replace(m.listeners, tlsChain, withTLS(tlsChain,
			`, 'session_ticket_keys': {'keys': [`+secret+`]}`), 1)
		m.more = `, {'@type': 'type.googleapis.com/envoy.admin.v3.SecretsConfigDump', 'dynamic_active_secrets': [{'name': 's', 'secret': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
			'name': 's', 'tls_certificate': {'certificate_chain': {'inline_bytes': 'W3JlZGFjdGVkXQ=='}, 'private_key': {'inline_bytes': 'W3JlZGFjdGVkXQ=='}}}}]}`
		return m
	}
	want, told := answers(map[string][]byte{dumpPart: tls(`{'inline_bytes': 'c2VjcmV0'}`).dump()})
	if told || !strings.Contains(want, "10.2.0.1:80") {
		t.Fatalf("nothing hidden: %s", want)
	}
	for _, secret := range []string{`{'inline_string': '[redacted]'}`, `{'inline_bytes': 'W3JlZGFjdGVkXQ=='}`} {
		if got, told := answers(map[string][]byte{dumpPart: tls(secret).dump()}); got != want || told {
			t.Errorf("%s: %s, want %s", secret, got, want)
		}
	}
	const word = `"[redacted]"`
	for _, hidden := range []string{"/configs", "/configs/1", "/configs/1/static_clusters", "/configs/1/static_clusters/0", "/configs/1/static_clusters/0/cluster",
		"/configs/1/static_clusters/0/cluster/load_assignment", "/configs/2/static_endpoint_configs/0/endpoint_config/endpoints", "/configs/3/static_listeners",
		"/configs/3/static_listeners/1/listener", "/configs/3/static_listeners/1/listener/address", "/configs/3/static_listeners/1/listener/address/socket_address/address", "/configs/3/static_listeners/1/listener/filter_chains",
		"/configs/3/static_listeners/1/listener/filter_chains/0/filter_chain_match", "/configs/3/static_listeners/1/listener/filter_chains/1/filters/0/typed_config",
		"/configs/4/dynamic_route_configs/0/route_config", "/configs/4/dynamic_route_configs/0/route_config/virtual_hosts",
		"/configs/4/dynamic_route_configs/0/route_config/virtual_hosts/0", "/configs/4/dynamic_route_configs/0/route_config/virtual_hosts/0/routes",
		"/configs/4/dynamic_route_configs/0/route_config/virtual_hosts/0/routes/0/match", "/configs/4/dynamic_route_configs/0/route_config/virtual_hosts/0/routes/0/route"} {
		raw := tls(`{'inline_string': '[redacted]'}`).dump()
		start, end, ok := tree.Find(raw, hidden)
		if !ok {
			t.Fatalf("no %s", hidden)
		}
		text := string(raw[:start]) + word + string(raw[end:])
		if got, told := answers(map[string][]byte{dumpPart: []byte(text)}); !told {
			t.Errorf("%s hidden, in silence: %s", hidden, got)
		}
	}
	// Where the hidden object is not on the way, nothing changes.
	text := strings.Replace(string(tls(`{'inline_string': '[redacted]'}`).dump()), `"secret": {`, `"secret": "[redacted]", "was": {`, 1)
	if got, _ := answers(map[string][]byte{dumpPart: []byte(text)}); got != want {
		t.Errorf("a hidden secret: %s", got)
	}
}

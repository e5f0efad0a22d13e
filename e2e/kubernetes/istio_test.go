//go:build long

package kubernetes

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

var (
	istioScene   = flag.String("istio.scene", "", "only this scene of Istio")
	istioCluster = flag.String("istio.cluster", "", "the MT_RUN of a cluster that is up with Istio in it, and is left up; empty: one of the test's own")
)

// setting is a scene of a mesh: how its pods are captured, and what istiod is told.
type setting struct {
	name        string
	annotations string   // of the pods with a sidecar
	file        string   // a file of Istio's objects
	registry    bool     // the whole mesh is REGISTRY_ONLY
	finds       []string // what doctor says of the client; empty: no problem and no warning
	made        []string // what the trace of the first call names as its makers
	calls       []call
}

// native are the annotations by which the rules are native nftables.
const native = `proxy.istio.io/config: '{"proxyMetadata":{"NATIVE_NFTABLES":"true"}}'`

// call is one request. In its texts {NAME} is the address of a pod, or of a Service.
type call struct {
	from string // a pod; empty: client
	to   string
	// args are for curl and for meshtop, which have these flags in common; with curl meshtop is given
	// the whole command. They hold no spaces then.
	args []string
	curl bool
	// real is what the real client gets: a regular expression.
	real string
	// quiet: no Envoy on the caller's side meets it.
	quiet bool
	// behind: what the caller sees comes from behind the caller's Envoy, which no configuration
	// tells, and is no answer: a port that nobody listens on, an address that nobody has.
	behind bool
}

// nowhere is an address that nobody has.
const nowhere = "198.51.100.9"

// common are the calls of every scene. What the mesh does not know goes past it, or is refused with
// REGISTRY_ONLY: by an answer to HTTP, by an end of the connection to anything else.
func common(registry bool) []call {
	strange, raw, lost, old, shut := `app=ext`, `app=ext`, `curl:503:0`, `curl:426:0`, `curl:503:0`
	if registry {
		strange, raw, lost, old, shut = `curl:502:0`, ended, `curl:502:0`, ended, ended
	}
	return []call{
		{to: "http://{server}/", args: []string{"-H", "Host: server"}, real: `app=server-v[12]`},
		{to: "http://{server}/", real: `app=server-v[12]`},
		{to: "http://{server}/a?b=c", args: []string{"-H", "Host: server.{space}.svc.cluster.local", "-d", "x"}, real: `app=server-v[12]`},
		{to: "http://{other}/", args: []string{"-H", "Host: other"}, real: `app=server-v1`},
		{to: "http://{server}:9000/", real: `app=server-v[12]`},
		{to: "http://{server-v1}:8080/", args: []string{"-H", "Host: headless"}, real: `app=server-v1`},
		{to: "http://{nobody}/", args: []string{"-H", "Host: nobody"}, real: `curl:503:0`},
		{to: "http://{plain}/", args: []string{"-H", "Host: plain"}, real: `app=ext`},
		{to: "http://{ext}/", args: []string{"-H", "Host: ext.example.com"}, real: strange},
		{to: "http://{ext}:8444/", real: raw},
		{to: "http://{ext}:8443/", real: ended, behind: !registry},
		{to: "http://" + nowhere + "/", real: lost, behind: !registry},
		{to: "http://" + nowhere + ":8443/", real: ended, behind: !registry},
		{to: "http://{server}/", args: []string{"--http2-prior-knowledge", "-H", "Host:server"}, curl: true, real: `app=server-v[12]`},
		{to: "http://{server}/", args: []string{"-0", "-H", "Host:server"}, curl: true, real: old, behind: !registry}, // goes past the routes
		{to: "http://{server-v1}:7071/", real: shut, behind: !registry},                                               // a port that no Service has
		{to: "http://127.0.0.1:8080/", real: `app=client`, quiet: true},
		{to: "http://{client}:8080/", real: `app=client`, quiet: true},
		{from: "server-v1", to: "http://{other}/", args: []string{"-H", "Host: other"}, real: `app=server-v1`},
	}
}

// routed are the calls of the scene routing.
func routed() []call {
	at := func(path, real string, args ...string) call {
		return call{to: "http://{server}" + path, args: append([]string{"-H", "Host: server"}, args...), real: real}
	}
	out := []call{
		at("/", "app=server-v2", "-H", "end-user: tester"),
		at("/", "app=server-v", "-H", "end-user: Tester"),
		at("/", "app=server-v2", "-H", "x-canary: yes-please"),
		at("/", "app=server-v", "-H", "x-canary: yes", "-d", "x"),
		at("/", "app=server-v2", "-H", "x-canary: banana"),
		at("/old", `location: http://new\.example\.com/new`),
		at("/old/", "app=server-v"),
		at("/direct", "curl:451:0"),
		at("/", "curl:418:0", "-H", "x-fault: abort"),
		at("/api/x", `app=server-v1 path=/x host=rewritten\.example\.com`),
		at("/?ver=2", "app=server-v2"),
		at("/sticky", "app=server-v2", "-H", "x-user: u1"),
		at("/v3", "curl:503:0"),
		at("/app-server", "app=server-v"),
		at("/cAsE", "app=server-v2"),
		at("/case", "app=server-v", "-H", "x-no: 1"),
		at("/ghost", "curl:503:0"),
		{to: "http://{server}:9000/", real: "app=server-v"},
		{to: "http://{server}/", args: []string{"-H", "Host: shop.example.com"}, real: "app=server-v1"},
		{to: "http://{other}/", args: []string{"-H", "Host: other"}, real: "app=server-v1"},
		{from: "server-v1", to: "http://{server}/app-server", args: []string{"-H", "Host: server"}, real: "app=server-v2"},
	}
	for range 4 {
		out = append(out, at("/", "app=server-v"))
	}
	return out
}

func settings() []setting {
	return []setting{
		{name: "allow-any", calls: common(false)},
		{name: "routing", file: "istio/routing.yaml", calls: routed(),
			finds: []string{
				"problem VirtualService scene-istio-routing/server: route ghost sends to outbound|80||ghost.scene-istio-routing.svc.cluster.local, a cluster that Envoy does not have",
				"warning VirtualService scene-istio-routing/server: route nobody sends to outbound|80|v3|server.scene-istio-routing.svc.cluster.local, which has no endpoints",
			},
			made: []string{"namespaces/scene-istio-routing/virtual-service/server", "namespaces/scene-istio-routing/destination-rule/server"}},
		{name: "native-nftables", annotations: native, calls: common(false)},
		{name: "tproxy-nftables", annotations: "sidecar.istio.io/interceptionMode: TPROXY, " + native, calls: common(false)},
		{name: "registry-only", registry: true, calls: common(true)},
	}
}

// TestIstio judges meshtop on a real mesh, scene by scene: istiod, the sidecars that it injects, and
// the rules that pilot-agent writes. It is long, and so not in the gate (.ci/long has it).
func TestIstio(t *testing.T) {
	c := &cluster{*istioCluster}
	if c.run == "" {
		power.Tools(t, "jq")
		c = up(t)
		c.do(t, "istio/setup")
		c.do(t, "istio/up")
	}
	m := c.client(t)
	var count tally
	scenes, all := 0, true // all have passed
	for _, s := range settings() {
		if *istioScene != "" && *istioScene != s.name {
			continue
		}
		scenes++
		all = t.Run(s.name, func(t *testing.T) { m.mesh(t, s, &count) }) && all
	}
	t.Logf("requests of real clients: %d outbound and %d inbound hops as Envoy logged them, %d past Envoy, %d unknown; of meshtop's own %d confirmed, of %d not all could be seen",
		count.out.Load(), count.in.Load(), count.past.Load(), count.unknown.Load(), count.confirmed.Load(), count.unseen.Load())
	switch {
	case scenes == 0:
		t.Errorf("no scene is called %q", *istioScene)
	case all && (count.out.Load() == 0 || count.in.Load() == 0):
		t.Error("the scenes passed, and no hop of a real request was compared")
	}
}

// tally is what was judged, over all scenes.
type tally struct{ out, in, past, unknown, confirmed, unseen atomic.Int64 }

// mesh brings a scene up, judges it, and takes it away.
func (c client) mesh(t *testing.T, s setting, count *tally) {
	m := &meshed{client: c, T: t, setting: s, count: count, scene: "istio-" + s.name}
	m.mode(map[bool]string{false: "ALLOW_ANY", true: "REGISTRY_ONLY"}[s.registry])
	c.kubectl(t, m.scene, "create", "namespace", m.space())
	defer func() {
		if t.Failed() {
			c.show(t)
		}
		c.kubectl(t, m.scene, "delete", "namespace", m.space(), "--timeout=90s")
	}()
	c.kubectl(t, m.scene, "label", "namespace", m.space(), "istio-injection=enabled")
	c.kubectl(t, m.scene, "wait", "--for=create", "--timeout=30s", "serviceaccount/default")
	m.apply()
	m.addresses()
	m.judge()
}

// apply makes the workloads and the objects, and waits for the pods.
func (m *meshed) apply() {
	m.Helper()
	raw, err := os.ReadFile("istio/mesh.yaml.in")
	if err != nil {
		m.Fatal(err)
	}
	pods := filepath.Join(m.TempDir(), "mesh.yaml")
	if err := os.WriteFile(pods, []byte(strings.ReplaceAll(string(raw), "@ANNOTATIONS@", "{"+m.annotations+"}")), 0o644); err != nil {
		m.Fatal(err)
	}
	if m.file != "" {
		m.kubectl(m.T, m.scene, "apply", "-f", m.file)
	}
	m.kubectl(m.T, m.scene, "apply", "-f", pods)
	m.kubectl(m.T, m.scene, "wait", "--for=condition=Ready", "--timeout=120s", "pod", "--all")
}

// mode says what the mesh does with what it does not know.
func (m *meshed) mode(word string) {
	m.Helper()
	at := []string{"./ctl", "kubectl", "-n", "istio-system"}
	mesh := m.do(m.T, at[0], append(at[1:], "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}")...)
	var kept []string
	lines := strings.Split(mesh, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "outboundTrafficPolicy:") {
			i++
			continue
		}
		kept = append(kept, lines[i])
	}
	text := "outboundTrafficPolicy:\n  mode: " + word + "\n" + strings.Join(kept, "\n")
	if text == mesh {
		return
	}
	file := filepath.Join(m.TempDir(), "mesh")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		m.Fatal(err)
	}
	patch, err := exec.Command("jq", "-Rs", "{data: {mesh: .}}", file).Output()
	if err != nil {
		m.Fatal(fmt.Errorf("jq: %w", err))
	}
	m.do(m.T, at[0], append(at[1:], "patch", "configmap", "istio", "--type", "merge", "-p", string(patch))...)
}

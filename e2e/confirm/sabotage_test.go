package confirm

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// removal is a rule that is taken away, and the case that meets it.
type removal struct{ tables, chain, number, hit string }

func (r removal) subject(b lab.Backend) string {
	out := map[string]string{"iptables": "ip", "ip6tables": "ip6"}[r.tables] + " nat " + r.chain + " " + r.number
	if b == lab.Legacy {
		out = "legacy " + out
	}
	return out
}

// twins are, for each scene, the case that is sent and what is done to the pod after it was
// read: each kind of sabotage that the scene has something for.
var twins = map[string]struct {
	hit   string
	rules []removal
	// still: the cluster has no endpoint that could be another one.
	still bool
	// lost are cases whose packets are lost, each with the steps that cannot be verified then:
	// conntrack shows the others where it follows connections, and so do the counters where
	// Envoy's own count tells that no other connection came unseen.
	lost map[string][]string
}{
	"allow-all": {hit: "svc-80", rules: []removal{{"iptables", "OUTPUT", "2", "svc-80"}}, lost: map[string][]string{
		"svc-80": nil, "ipv6": {"0 socket", "0 wire"}, "closed-loopback": {"0 socket"}}},
	"block-all": {hit: "svc-80", rules: []removal{{"iptables", "OUTPUT", "2", "svc-80"}}, still: true, lost: map[string][]string{
		"svc-80": nil, "ipv6": {"0 socket", "0 wire"}, "closed-loopback": {"0 socket"}}},
	"mesh": {hit: "svc", rules: []removal{{"iptables", "OUTPUT", "2", "svc"}}, lost: map[string][]string{
		"ipv6": {"0 socket", "0 wire"}}},
	"both": {hit: "in-80", rules: []removal{{"iptables", "PREROUTING", "1", "in-80"}, {"iptables", "OUTPUT", "2", "out-svc"}}, lost: map[string][]string{
		"in-8081": nil, "in-closed": {"0 socket"}, "in-ipv6": {"0 socket", "0 socket"}, "out-ipv6": {"0 socket", "0 wire"}}},
	"dual": {hit: "in-v6", rules: []removal{{"iptables", "PREROUTING", "1", "in-v4"}, {"iptables", "OUTPUT", "2", "out-svc4"},
		{"ip6tables", "PREROUTING", "1", "in-v6"}, {"ip6tables", "OUTPUT", "2", "out-svc6"}}, lost: map[string][]string{
		"in-v4-8081": nil, "in-v6-8081": {"0 socket"}}}, // the app listens on IPv4 alone
	"inbound": {hit: "get-80", rules: []removal{{"iptables", "PREROUTING", "1", "get-80"}}, lost: map[string][]string{
		"get-8081": nil, "closed-port": {"0 socket"}, "ipv6-80": {"0 socket", "0 socket"}}},
	"header-match":   {hit: "v2", lost: map[string][]string{"v2": all, "to-app-80": {"0 socket", "0 socket"}}},
	"weights":        {hit: "draw-0", lost: map[string][]string{"draw-0": all}},
	"tcp-ratelimit":  {hit: "first", lost: map[string][]string{"first": all, "to-app-80": {"0 socket", "0 socket"}}},
	"http-ratelimit": {hit: "bb", lost: map[string][]string{"bb": all}},
	"auth":           {hit: "public", lost: map[string][]string{"public": all}},
}

// all are the steps that are lost where no nat is, so that conntrack follows nothing.
var all = []string{"0 socket", "0 listener", "0 cluster", "0 endpoint", "1 socket", "1 wire"}

// Each scene has twins that were tampered with after they were read, and the report
// contradicts exactly the step that it concerns; where the ring loses packets, it contradicts
// nothing and says exactly what it could not see.
func TestSabotage(t *testing.T) {
	everywhere(t, func(t *testing.T, name string, b lab.Backend) {
		tw, ok := twins[name]
		if !ok {
			t.Fatal("the scene has no twin")
		}
		for range *runs {
			r := raise(t, lab.Options{Scene: name, Backend: b}, local.Options{})
			c := caseOf(t, r, tw.hit)
			for hit, lost := range tw.lost {
				t.Run("tiny ring/"+hit, func(t *testing.T) { tinyRing(t, r, caseOf(t, r, hit).Request, lost) })
			}
			for _, rule := range tw.rules {
				t.Run(rule.subject(b)+" removed", func(t *testing.T) {
					inPod(t, r, rule.tables+"-"+string(b), "-t", "nat", "-D", rule.chain, rule.number)
					at(t, r.confirm(t, caseOf(t, r, rule.hit).Request), flow.Netfilter, rule.subject(b))
					reload(t, r)
				})
			}
			t.Run("Envoy killed", func(t *testing.T) {
				killEnvoy(t, r)
				at(t, r.confirm(t, c.Request), flow.Listener, "")
			})
			t.Run("cluster swapped", func(t *testing.T) { other(t, r, c, flow.Cluster, swapClusters) })
			if !tw.still {
				t.Run("other endpoint", func(t *testing.T) { other(t, r, c, flow.Endpoint, moveEndpoints) })
			}
		}
	})
}

// at checks that the request was seen to go as predicted up to the first step of a stage on
// its own connection, that this step alone is contradicted, and that nothing is claimed of
// what comes after it. subject, if not empty, is which step of the stage.
func at(t *testing.T, rep confirm.Report, stage flow.Stage, subject string) {
	t.Helper()
	n := slices.IndexFunc(rep.Steps, func(w confirm.Step) bool {
		return w.Leg == 0 && w.Stage == stage && (subject == "" || w.Subject == subject)
	})
	if n < 0 {
		t.Fatalf("no step %v %s\n%s", stage, subject, render.ReportText(rep))
	}
	wrong := unseen(rep, n)
	for i, w := range rep.Steps[n:] {
		if want := i == 0; (w.Word == confirm.Contradicted) != want || w.Word == confirm.Confirmed {
			wrong = append(wrong, place(w)+" is "+w.Word.String())
		}
	}
	if rep.Word != confirm.Contradicted || len(wrong) > 0 {
		t.Errorf("%v, want one step contradicted, %v %s: %s\n%s", rep.Word, stage, subject, strings.Join(wrong, ", "), render.ReportText(rep))
	}
}

func inPod(t *testing.T, r *rig, name string, args ...string) {
	t.Helper()
	if _, err := r.lab.InPod(name, args...); err != nil {
		t.Fatal(err)
	}
}

// reload makes the scene's rules what they were.
func reload(t *testing.T, r *rig) {
	t.Helper()
	for _, tables := range []string{"iptables", "ip6tables"} {
		inPod(t, r, tables+"-"+string(r.lab.Backend), "-t", "nat", "-F")
	}
	for _, rule := range r.lab.Scene.Rules {
		words := strings.Fields(rule)
		inPod(t, r, words[0]+"-"+string(r.lab.Backend), words[1:]...)
	}
}

func killEnvoy(t *testing.T, r *rig) {
	t.Helper()
	p, err := os.FindProcess(r.lab.EnvoyPID())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	inPod(t, r, "sh", "-c", "while ss -tln | grep -qE ':(15001|15006|8080) '; do :; done")
}

// other confirms the case in a pod whose Envoy has another configuration than the one that
// was read.
func other(t *testing.T, read *rig, c scenes.Case, stage flow.Stage, tamper func(tree map[string]any)) {
	t.Helper()
	var tree map[string]any
	if err := yaml.Unmarshal(read.lab.Scene.Envoy, &tree); err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	tamper(tree)
	conf, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if string(conf) == string(before) {
		t.Fatal("nothing was changed")
	}
	r := raise(t, lab.Options{Scene: read.lab.Scene.Name, Backend: read.lab.Backend, Config: conf}, local.Options{})
	r.reading = read.reading
	at(t, r.confirm(t, c.Request), stage, "")
}

// each calls f for every object of a tree.
func each(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, x := range v {
			each(x, f)
		}
	case []any:
		for _, x := range v {
			each(x, f)
		}
	}
}

// swapClusters makes every route and TCP proxy lead to a twin of its cluster; one without
// endpoints gets them instead.
func swapClusters(tree map[string]any) {
	static := tree["static_resources"].(map[string]any)
	swapped := map[string]bool{}
	swap := func(o map[string]any, field string) {
		if name, ok := o[field].(string); ok {
			swapped[name] = true
			o[field] = "swapped " + name
		}
	}
	each(static["listeners"], func(o map[string]any) {
		swap(o, "cluster")
		if w, ok := o["weighted_clusters"].(map[string]any); ok {
			for _, c := range w["clusters"].([]any) {
				swap(c.(map[string]any), "name")
			}
		}
	})
	clusters := static["clusters"].([]any)
	for _, c := range static["clusters"].([]any) {
		c := c.(map[string]any)
		if name := c["name"].(string); swapped[name] {
			twin := maps.Clone(c)
			twin["name"] = "swapped " + name
			if name == "BlockAllCluster" {
				twin["type"], twin["lb_policy"] = "ORIGINAL_DST", "CLUSTER_PROVIDED"
			}
			if a, ok := twin["load_assignment"].(map[string]any); ok {
				a = maps.Clone(a)
				a["cluster_name"] = twin["name"]
				twin["load_assignment"] = a
			}
			clusters = append(clusters, twin)
		}
	}
	static["clusters"] = clusters
}

// moveEndpoints gives every cluster that routes lead to another endpoint, which answers, too;
// one that takes the destination of the connection gets an endpoint of its own.
func moveEndpoints(tree map[string]any) {
	clusters := tree["static_resources"].(map[string]any)["clusters"]
	each(clusters, func(o map[string]any) {
		if o["type"] == "ORIGINAL_DST" {
			o["type"] = "STATIC"
			delete(o, "lbPolicy")
			o["load_assignment"] = map[string]any{"cluster_name": o["name"], "endpoints": []any{map[string]any{"lb_endpoints": []any{
				map[string]any{"endpoint": map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": "10.107.42.21", "port_value": 80}}}}}}}}
		}
	})
	each(clusters, func(o map[string]any) {
		address, ok := o["address"].(string)
		if _, port := o["port_value"]; !ok || !port || strings.HasPrefix(address, "auth.") {
			return
		}
		o["address"], o["port_value"] = "10.107.42.21", 80
		if strings.Contains(address, ".v1.") {
			o["address"] = "10.107.42.22"
		}
	})
}

package confirm

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/netns"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// twins are, for each scene, the case that is sent and what is done to the pod after it was
// read: each kind of sabotage that the scene has something for.
var twins = map[string]struct {
	cases string
	rules map[string]string // rules that are taken away, each with the case that meets it
	moved bool              // the cluster has an endpoint that may be another one
}{
	"allow-all":      {cases: "svc-80", rules: map[string]string{"iptables -D OUTPUT 2": "svc-80"}},
	"block-all":      {cases: "svc-80", rules: map[string]string{"iptables -D OUTPUT 2": "svc-80"}},
	"mesh":           {cases: "svc", rules: map[string]string{"iptables -D OUTPUT 2": "svc"}, moved: true},
	"both":           {cases: "in-80", rules: map[string]string{"iptables -D PREROUTING 1": "in-80", "iptables -D OUTPUT 2": "out-svc"}, moved: true},
	"dual":           {cases: "in-v6", rules: map[string]string{"ip6tables -D PREROUTING 1": "in-v6", "ip6tables -D OUTPUT 2": "out-svc6"}, moved: true},
	"inbound":        {cases: "get-80", rules: map[string]string{"iptables -D PREROUTING 1": "get-80"}, moved: true},
	"header-match":   {cases: "v2", moved: true},
	"weights":        {cases: "draw-0", moved: true},
	"tcp-ratelimit":  {cases: "first", moved: true},
	"http-ratelimit": {cases: "bb", moved: true},
	"auth":           {cases: "public", moved: true},
}

// Each scene has twins that were tampered with after they were read, and the report
// contradicts exactly the step that it concerns; where the ring loses packets, it contradicts
// nothing and says what it could not see.
func TestSabotage(t *testing.T) {
	for _, name := range scenes.Names() {
		tw, ok := twins[name]
		if !ok {
			if name != "loop" { // never sent
				t.Errorf("scene %s has no twin", name)
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := raise(t, lab.Options{Scene: name}, local.Options{})
			c := caseOf(t, r, tw.cases)
			t.Run("tiny ring", func(t *testing.T) { tinyRing(t, r, c.Request) })
			for rule, hit := range tw.rules {
				t.Run("rule removed", func(t *testing.T) {
					words := strings.Fields(rule)
					inPod(t, r, words[0]+"-nft", append([]string{"-t", "nat"}, words[1:]...)...)
					at(t, r.confirm(t, caseOf(t, r, hit).Request), flow.Netfilter)
					reload(t, r)
				})
			}
			t.Run("Envoy killed", func(t *testing.T) {
				killEnvoy(t, r)
				at(t, r.confirm(t, c.Request), flow.Listener)
			})
			t.Run("cluster swapped", func(t *testing.T) { other(t, r, c, flow.Cluster, swapClusters) })
			if tw.moved {
				t.Run("other endpoint", func(t *testing.T) { other(t, r, c, flow.Endpoint, moveEndpoints) })
			}
		})
	}
}

// at checks that the one step which is contradicted is of the stage.
func at(t *testing.T, rep confirm.Report, stage flow.Stage) {
	t.Helper()
	n, where := 0, flow.StageNone
	for _, st := range rep.Steps {
		if st.Word == confirm.Contradicted {
			n, where = n+1, st.Stage
		}
	}
	if n != 1 || where != stage || rep.Word != confirm.Contradicted {
		t.Errorf("%v, %d contradicted, the last at %v, want one at %v\n%s", rep.Word, n, where, stage, render.ReportText(rep))
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
	for _, save := range []string{"iptables", "ip6tables"} {
		inPod(t, r, save+"-nft", "-t", "nat", "-F")
	}
	for _, rule := range r.lab.Scene.Rules {
		words := strings.Fields(rule)
		inPod(t, r, words[0]+"-nft", words[1:]...)
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
	r := raise(t, lab.Options{Scene: read.lab.Scene.Name, Config: conf}, local.Options{})
	r.reading = read.reading
	at(t, r.confirm(t, c.Request), stage)
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

// moveEndpoints gives every cluster that routes lead to another endpoint, which answers, too.
func moveEndpoints(tree map[string]any) {
	each(tree["static_resources"].(map[string]any)["clusters"], func(o map[string]any) {
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

// tinyRing watches with a ring of one page, into which more goes than it holds while the
// request is made.
func tinyRing(t *testing.T, r *rig, req flow.Request) {
	p, err := local.Named(r.lab.Pod(), local.Options{Ring: capture.RingOptions{BlockSize: 4096, Blocks: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	from := r.lab.Pod()
	if req.Dir == flow.Inbound {
		from = r.lab.Out()
	}
	space, err := netns.Named(from)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	flood := func(ctx context.Context, q flow.Request) (inspect.Sent, error) {
		if err := space.Do(func() error { return burst(q) }); err != nil {
			return inspect.Sent{}, err
		}
		return r.sender()(ctx, q)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, rep, err := session.Confirm(ctx, p, r.reading, req, session.ConfirmOptions{Send: true, Sender: flood})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Loss.Dropped == 0 {
		t.Fatal("the ring lost nothing: the test shows nothing")
	}
	if rep.Count(confirm.Contradicted)+rep.Count(confirm.NotObserved) > 0 {
		t.Errorf("packets were lost: nothing is contradicted by it, and what was not seen is unverifiable\n%s", render.ReportText(rep))
	}
}

// burst sends datagrams to where the request goes: they pass the watch's filter.
func burst(q flow.Request) error {
	c, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 200)
	for range 20_000 {
		// A full buffer or an answer by ICMP is as good: the ring's reader is to be too slow.
		_, _ = c.WriteTo(b, net.UDPAddrFromAddrPort(q.Dst))
	}
	return nil
}

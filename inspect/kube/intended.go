package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// intended is the pod as it was to be: the rules that its init containers write, as far as they
// are told by its object, and Envoy's static configuration from ConfigMaps. Nothing is asked of
// the pod itself, and every part says that it is an intent (meta.json).
func (c *cluster) intended(o *v1.Pod) *lesser {
	return &lesser{cluster: c, object: o, way: "by intent", brings: "what its object and ConfigMaps say that it was to be, and not what is", read: func(ctx context.Context, l *look) {
		if !l.whole() {
			return // there is nothing more to have
		}
		meant := c.intendedRules(ctx, o, l)
		l.lack([]string{"addr.json", "route.json", "sockets", "conntrack"}, errors.New("only who is inside the pod can read it"))
		if l.wants("config_dump.json") {
			start := time.Now()
			from, dump, err := c.intendedConfig(ctx, o)
			l.call("GET the ConfigMaps of container "+proxy(o), start, len(dump), err)
			if err != nil {
				l.gap("config_dump.json", err)
			} else {
				l.keep("config_dump.json", dump)
				meant = append(meant, "config_dump.json")
				l.call("read "+from, start, len(dump), nil)
			}
		}
		meta, _ := json.Marshal(map[string]any{"taken": time.Now().UTC().Format(time.RFC3339), "intent": meant}) // of strings: it cannot fail
		l.keep("meta.json", meta)
	}}
}

// intendedRules keeps the rules that the object tells, and gives the parts that it kept.
func (c *cluster) intendedRules(ctx context.Context, o *v1.Pod, l *look) []string {
	w := &writer{servers: func() ([]string, string, error) { return c.nameServers(ctx, o) }}
	if err := w.pod(o); err != nil {
		l.lack([]string{"iptables-save", "ip6tables-save"}, err)
		return nil
	}
	var meant []string
	for _, part := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		if set := w.sets[part]; set != nil && l.wants(part) {
			l.keep(part, set.text())
			meant = append(meant, part)
		}
	}
	if len(meant) == 0 && l.wants("iptables-save") {
		l.keep("iptables-save", nil)
		meant = append(meant, "iptables-save")
	}
	for _, what := range w.assumed {
		l.gap(meant[0], errors.New(what))
	}
	for _, k := range o.Spec.Containers {
		if powerful(k.SecurityContext) {
			l.gap(meant[0], fmt.Errorf("container %s may change the rules at any time (NET_ADMIN)", k.Name))
		}
	}
	return meant
}

// pod reads what writes rules in the pod. An error says what is not known.
func (w *writer) pod(o *v1.Pod) error {
	wrote := false
	for _, k := range o.Spec.InitContainers {
		if k.RestartPolicy != nil || !powerful(k.SecurityContext) {
			continue
		}
		wrote = true
		if err := w.container(k, o.Annotations); err != nil {
			return fmt.Errorf("init container %s: %w", k.Name, err)
		}
	}
	if wrote {
		return w.bothFamilies(o)
	}
	if told, err := w.plugin(o); told || err != nil {
		return errors.Join(err, w.bothFamilies(o))
	}
	if why := byOthers(o); why != "" {
		return fmt.Errorf("no init container writes rules, and %s", why)
	}
	return nil
}

// bothFamilies refuses what is written for IPv6, too, and is read for IPv4 alone.
func (w *writer) bothFamilies(o *v1.Pod) error {
	twice := func(k v1.Container) bool { return k.Name == "istio-init" || k.Name == "kuma-init" }
	if len(o.Status.PodIPs) > 1 && w.sets["ip6tables-save"] == nil && (slices.ContainsFunc(o.Spec.InitContainers, twice) || o.Annotations[kumaMark] == "enabled") {
		return errors.New("the pod has addresses of both families, and what istio-iptables and kumactl write for IPv6 is not read")
	}
	return nil
}

// kumaMark says that Kuma takes the traffic of a pod.
const kumaMark = "kuma.io/transparent-proxying"

// plugin writes what a CNI plugin writes that is told by annotations; false: none is.
func (w *writer) plugin(o *v1.Pod) (bool, error) {
	text, consul := o.Annotations[consulMark]
	switch {
	case consul && o.Annotations["consul.hashicorp.com/transparent-proxy-status"] == "enabled":
		w.assumed = append(w.assumed, "the annotation "+consulMark+" says what Consul's CNI plugin was told to write")
		return true, w.consul(text)
	case o.Annotations[kumaMark] == "enabled":
		w.assumed = append(w.assumed, "annotations say what Kuma's CNI plugin was told to write")
		return true, w.kumaByMarks(o.Annotations)
	}
	return false, nil
}

// nameServers are those of the pod's resolv.conf, as kubelet writes it. What the cluster's own
// name server is, kubelet's configuration says (clusterDNS), and nothing that can be read here.
func (c *cluster) nameServers(ctx context.Context, o *v1.Pod) (list []string, assumed string, err error) {
	var own []string
	if o.Spec.DNSConfig != nil {
		own = o.Spec.DNSConfig.Nameservers
	}
	switch dnsPolicy(o) {
	case v1.DNSNone:
		return own, "", nil
	case v1.DNSDefault:
		return nil, "", errors.New("they are those of its node (dnsPolicy Default)")
	}
	var s v1.Service
	if c.api == nil {
		return nil, "", errors.New("nobody can be asked for the cluster's name server")
	}
	if err := c.api.get(ctx, services, "kube-system", "kube-dns", &s); err != nil {
		return nil, "", fmt.Errorf("the cluster's name server, mostly Service kube-system/kube-dns: %w", err)
	}
	return append(slices.Clone(s.Spec.ClusterIPs), own...), "Service kube-system/kube-dns is taken for the pod's name server, which kubelet's configuration alone would tell", nil
}

// byOthers says what shows that something outside the pod writes its rules.
func byOthers(o *v1.Pod) string {
	for _, k := range o.Spec.InitContainers {
		if k.Name == "istio-validation" {
			return "istio-validation shows that Istio's CNI plugin does, which says nowhere how"
		}
	}
	for key, value := range o.Annotations {
		switch {
		case key == "ambient.istio.io/redirection" && value == "enabled":
			return "Istio's ambient mode does, by its node agent"
		case key == "sidecar.istio.io/status" && o.Annotations["sidecar.istio.io/interceptionMode"] != "NONE" && !strings.Contains(o.Annotations["inject.istio.io/templates"], "gateway"):
			return "Istio has put a sidecar there, so that its CNI plugin may"
		case key == "consul.hashicorp.com/transparent-proxy-status" && value == "enabled":
			return "the annotation " + key + " shows that a CNI plugin does"
		}
	}
	return ""
}

// powerful says whether a container's processes may write rules (CAP_NET_ADMIN).
func powerful(s *v1.SecurityContext) bool {
	if s == nil {
		return false
	}
	return s.Privileged != nil && *s.Privileged ||
		s.Capabilities != nil && slices.ContainsFunc(s.Capabilities.Add, func(c v1.Capability) bool {
			return c == "ALL" || c == "CAP_ALL" || c == "NET_ADMIN" || c == "CAP_NET_ADMIN"
		})
}

// container reads what one init container runs.
func (w *writer) container(k v1.Container, marks map[string]string) error {
	argv := slices.Concat(k.Command, k.Args)
	if i := slices.IndexFunc(k.Env, func(e v1.EnvVar) bool { return e.Name == consulVariable }); i >= 0 && k.Env[i].ValueFrom == nil {
		return w.consul(k.Env[i].Value)
	}
	if len(argv) == 0 {
		return errors.New("what it runs is in its image")
	}
	if base := path.Base(argv[0]); len(k.EnvFrom) > 0 && (base == "istio-iptables" || base == "pilot-agent" || base == "kumactl") {
		return errors.New("its environment comes from elsewhere (envFrom)")
	}
	switch path.Base(argv[0]) {
	case "istio-iptables":
		return w.istio(argv[1:], k.Env)
	case "pilot-agent":
		if len(argv) > 1 && argv[1] == "istio-iptables" {
			return w.istio(argv[2:], k.Env)
		}
	case "kumactl":
		if len(argv) > 2 && argv[1] == "install" && argv[2] == "transparent-proxy" {
			args := argv[3:]
			if uid := marks["kuma.io/sidecar-uid"]; uid != "" { // an argument that comes later counts
				args = append([]string{"--kuma-dp-uid=" + uid}, args...)
			}
			return w.kuma(args, k.Env)
		}
	case "consul":
		if len(argv) > 2 && argv[1] == "connect" && argv[2] == "redirect-traffic" {
			return w.consulArgs(argv[3:])
		}
	case "sh", "bash", "ash", "dash":
		if len(k.Command) == 0 {
			break // then it is an argument of the image's entry point
		}
		return w.shell(argv[1:])
	}
	if len(k.Command) == 0 {
		return fmt.Errorf("what its image makes of %q is not known", strings.Join(argv, " "))
	}
	return w.command(argv)
}

// shell reads the arguments of a shell: flags with a c among them, then the script.
func (w *writer) shell(argv []string) error {
	script := false
	for i, a := range argv {
		switch {
		case strings.HasPrefix(a, "-") && strings.Trim(a, "-ceux") == "":
			script = script || strings.Contains(a, "c")
		case script && len(argv) == i+1:
			return w.script(a)
		default:
			return fmt.Errorf("the shell's argument %q is not read", a)
		}
	}
	return errors.New("the shell has no script")
}

// errNoConfigMap says why there is no configuration of Envoy.
var errNoConfigMap = errors.New("no ConfigMap that is mounted holds its configuration: it comes from its image, or from a control plane")

// intendedConfig is what Envoy was started with, as a config dump, and where that stands.
func (c *cluster) intendedConfig(ctx context.Context, o *v1.Pod) (from string, dump []byte, err error) {
	k := proxyContainer(o)
	file := configFile(k)
	for _, m := range k.VolumeMounts {
		source := mapOf(o, m.Name)
		if source == nil {
			continue
		}
		var cm v1.ConfigMap
		if err := c.api.get(ctx, configmaps, o.Namespace, source.Name, &cm); err != nil {
			return "", nil, worded(err)
		}
		for key, text := range cm.Data {
			at := path.Join(m.MountPath, mounted(source, key))
			if m.SubPath != "" {
				if m.SubPath != mounted(source, key) {
					continue
				}
				at = m.MountPath
			}
			if at == file {
				from = "ConfigMap " + cm.Name + ", " + key
				if c.bootstrap == nil {
					return from, nil, errors.New("this build reads no bootstrap")
				}
				dump, err = c.bootstrap(from, []byte(text))
				return from, dump, err
			}
		}
	}
	return "", nil, errNoConfigMap
}

// proxyContainer is the container that runs Envoy.
func proxyContainer(o *v1.Pod) v1.Container {
	name := proxy(o)
	for _, k := range slices.Concat(o.Spec.Containers, o.Spec.InitContainers) {
		if k.Name == name {
			return k
		}
	}
	return v1.Container{}
}

// configFile is what Envoy reads: -c, or what its own image takes (/etc/envoy/envoy.yaml).
func configFile(k v1.Container) string {
	argv := slices.Concat(k.Command, k.Args)
	for i, a := range argv {
		if name, value, ok := strings.Cut(a, "="); ok && (name == "--config-path" || name == "-c") {
			return path.Clean(value)
		}
		if (a == "-c" || a == "--config-path") && i+1 < len(argv) {
			return path.Clean(argv[i+1])
		}
	}
	return "/etc/envoy/envoy.yaml"
}

// mapOf is the ConfigMap of a volume; nil: it is another kind of volume.
func mapOf(o *v1.Pod, volume string) *v1.ConfigMapVolumeSource {
	for _, v := range o.Spec.Volumes {
		if v.Name == volume {
			return v.ConfigMap
		}
	}
	return nil
}

// mounted is where below the mount a key stands; empty: nowhere.
func mounted(source *v1.ConfigMapVolumeSource, key string) string {
	if len(source.Items) == 0 {
		return key
	}
	for _, i := range source.Items {
		if i.Key == key {
			return i.Path
		}
	}
	return ""
}

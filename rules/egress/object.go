package egress

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// hostNetwork is why a pod's egress cannot be changed that has no network of its own.
func hostNetwork(name string) error {
	return fmt.Errorf("pod %s runs in the machine's own network (hostNetwork), where a block would cut off every pod and the node itself", name)
}

// object plans an object of Kubernetes, which is printed and not applied: Istio's Sidecar,
// or a NetworkPolicy. Both choose pods by labels, never one pod.
func (p *pod) object(c *flow.Change) error {
	o, ok := podObject(p.s.Files)
	switch {
	case !ok:
		return fmt.Errorf("--driver %s needs the pod's labels, and its object was not read (part pod.json)", c.Driver)
	case len(o.Metadata.Labels) == 0:
		return fmt.Errorf("--driver %s: pod %s has no labels to select it by, and an empty selector would take its whole namespace", c.Driver, o.Metadata.Name)
	case o.Spec.HostNetwork:
		return hostNetwork(o.Metadata.Name)
	case c.Driver == flow.Sidecar && p.s.Envoy == nil && !p.captured:
		return errors.New("--driver sidecar: no proxy takes this pod's connections, so that an Istio Sidecar object changes nothing for it")
	}
	head := func(api, kind string) []string {
		return []string{"apiVersion: " + api, "kind: " + kind, "metadata:", "  name: " + quoted(objectName(o.Metadata.Name)), "  namespace: " + quoted(o.Metadata.Namespace), "spec:"}
	}
	labels := func(indent string) []string {
		var out []string
		for _, k := range keys(o.Metadata.Labels) {
			out = append(out, indent+quoted(k)+": "+quoted(o.Metadata.Labels[k]))
		}
		return out
	}
	c.Kept, c.Untraced = p.kept(c), p.untraced
	if c.Driver == flow.Sidecar {
		p.sidecar(c, objectName(o.Metadata.Name), head("networking.istio.io/v1", "Sidecar"), labels("      "))
	} else {
		p.networkPolicy(c, objectName(o.Metadata.Name), head("networking.k8s.io/v1", "NetworkPolicy"), labels("      "))
	}
	c.NotCovered = append(c.NotCovered, flow.Reach{What: "pods", Whose: "every pod with these labels is selected; how many is unknown without the cluster, as is an object that conflicts"})
	return nil
}

// objectName names the pod that an object was planned for, within what Kubernetes takes for a name
// (a DNS subdomain of at most 253 characters).
func objectName(pod string) string {
	name := "meshtop-block-all-" + pod
	return strings.TrimRight(name[:min(len(name), 253)], "-.")
}

// sidecar imports no host and sends unknown ones nowhere. REGISTRY_ONLY alone would block
// only what the mesh does not know.
func (p *pod) sidecar(c *flow.Change, name string, head, labels []string) {
	c.Edits = append(append(head, "  workloadSelector:", "    labels:"), labels...)
	c.Edits = append(c.Edits, "  outboundTrafficPolicy:", "    mode: REGISTRY_ONLY", "  egress:", "  - hosts:", `    - "~/*"`)
	c.Undo = []string{"delete sidecar " + name}
	p.reachOfProxy(c)
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) {
		if redirected(t) {
			e.After = flow.Refused
		}
	})
}

// networkPolicy allows nothing but the holes. What enforces it is the cluster's network
// plugin, and there may be none that does.
func (p *pod) networkPolicy(c *flow.Change, name string, head, labels []string) {
	c.Edits = append(append(head, "  podSelector:", "    matchLabels:"), labels...)
	c.Edits = append(c.Edits, "  policyTypes:", "  - Egress")
	if len(c.Except) == 0 {
		c.Edits = append(c.Edits, "  egress: []")
	} else {
		c.Edits = append(c.Edits, "  egress:")
	}
	for _, h := range c.Except {
		c.Edits = append(c.Edits, "  - to:", "    - ipBlock:", "        cidr: "+quoted(h.Prefix.Masked().String()))
		if h.Port != 0 {
			c.Edits = append(c.Edits, "    ports:", "    - protocol: TCP", "      port: "+strconv.Itoa(int(h.Port)), "    - protocol: UDP", "      port: "+strconv.Itoa(int(h.Port)))
		}
	}
	c.Undo = []string{"delete networkpolicy " + name}
	c.Covers = []flow.Reach{{What: "tcp4"}, {What: "tcp6"}, {What: "udp"}, {What: "dns"}, {What: "proxy"}}
	c.NotCovered = []flow.Reach{{What: "loopback"}, {What: "own address", Whose: p.addresses()}, {What: "node", Whose: "the node that runs the pod"},
		{What: "plugin", Whose: "whether the cluster's network plugin enforces it is not known, nor whether other policies allow more"}, established(len(c.Kept))}
	for _, h := range c.Except {
		c.NotCovered = append(c.NotCovered, flow.Reach{What: "except", Whose: h.String()})
	}
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) {
		if !inHole(c.Except, t.Request.Dst) {
			e.After = flow.Refused
		}
	})
}

func keys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// quoted is a YAML string that means just that text: Go's escapes are YAML's.
func quoted(s string) string {
	return strconv.QuoteToASCII(s)
}

package egress

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// exempt fills in whose connections the plain block and allow-all leave alone: those of the
// proxy, by its uid where that is the proxy's alone, else by its gid. They are read of the
// proxy, never assumed.
func (p *pod) exempt(c *flow.Change) error {
	uid, gid, known := p.s.ProxyOwner()
	strong := c.Kind == flow.BlockAll && c.Strong
	if !known {
		if strong {
			return nil
		}
		return p.unknownProxy(c.Kind)
	}
	who, shared := p.sharing(uid, gid)
	switch {
	case !shared:
		c.ProxyUIDs = []uint32{uid}
	case p.groupAlone(gid):
		c.ProxyGIDs = []uint32{gid}
	case strong:
		c.ProxyUIDs = []uint32{uid}
	default:
		return fmt.Errorf("the proxy's uid %d is also %s's, whose connections would go on like the proxy's%s: run the application as another user", uid, who, orStrong(c.Kind))
	}
	return nil
}

// orStrong is the other way out, where there is one.
func orStrong(k flow.PolicyKind) string {
	if k == flow.BlockAll {
		return " (--strong blocks both)"
	}
	return ""
}

// unknownProxy is nil where it is a fact that nothing takes the pod's connections: then there
// is no proxy to leave alone.
func (p *pod) unknownProxy(k flow.PolicyKind) error {
	if uid, _, _ := p.s.ProxyOwner(); uid != 0 || p.captured {
		return fmt.Errorf("which user the proxy runs as was not read (an owner rule is only a hint), so that its connections cannot be told from others%s: read the sockets as root (part sockets)", orStrong(k))
	}
	for _, g := range p.s.Gaps {
		if g.Part == "sockets" {
			return fmt.Errorf("whether this pod has a proxy is not known, since its sockets could not be read (%s)%s", g.Reason, orStrong(k))
		}
	}
	if _, read := p.s.Files["sockets"]; !read {
		return fmt.Errorf("whether this pod has a proxy is not known, since its sockets were not read%s: read them as root (part sockets)", orStrong(k))
	}
	return nil
}

// sidecars are the processes that belong to the proxy: Envoy, and what starts it in Istio's
// proxy container.
var sidecars = []string{"envoy", "pilot-agent", "istio-agent", "envoy-wrapper", "cilium-envoy", "consul-dataplane"}

func isSidecar(process string) bool {
	for _, s := range sidecars {
		if process == s || strings.HasPrefix(process, s+":") {
			return true
		}
	}
	return false
}

// sharing is a process that has the proxy's uid and is none of the proxy's, as far as
// sockets and the pod's object tell. A socket that says no gid, or the proxy's, tells nothing
// against the gid.
func (p *pod) sharing(uid, gid uint32) (string, bool) {
	for _, k := range p.sockets() {
		if k.Owned && k.UID == uid && k.Process != "" && !isSidecar(k.Process) && !p.asks(k) {
			return k.Process, true
		}
	}
	return p.containerOf(uid)
}

// groupAlone says whether the gid is known to be the proxy's alone.
func (p *pod) groupAlone(gid uint32) bool {
	if g, known := p.s.ProxyGroup(); !known || g != gid {
		return false
	}
	for _, k := range p.sockets() {
		if k.Owned && k.Process != "" && !isSidecar(k.Process) && !p.asks(k) && (!k.Grouped || k.GID == gid) {
			return false
		}
	}
	return !p.groupOfContainer(gid)
}

// sockets are those of the snapshot.
func (p *pod) sockets() []netfilter.Socket {
	if p.s.Host == nil {
		return nil
	}
	return p.s.Host.Sockets
}

// asks says whether a socket is a connection to Envoy's admin interface: meshtop itself reads
// it as the proxy's user.
func (p *pod) asks(k netfilter.Socket) bool {
	if k.Proto != flow.TCP || p.s.Envoy.Takes(k.Peer, flow.TCP) != flow.Yes {
		return false
	}
	for _, l := range p.s.Envoy.Places() {
		for _, a := range l.Addrs {
			if l.Binds && a.Port() == k.Peer.Port() {
				return false
			}
		}
	}
	return true
}

// container is what of a container (v1.Container) says who it runs as.
type container struct {
	Name            string   `yaml:"name"`
	Image           string   `yaml:"image"`
	SecurityContext security `yaml:"securityContext"`
}

type security struct {
	RunAsUser  *uint32 `yaml:"runAsUser"`
	RunAsGroup *uint32 `yaml:"runAsGroup"`
}

// object is what of the pod's object (v1.Pod) a plan needs.
type object struct {
	Metadata struct {
		Name      string            `yaml:"name"`
		Namespace string            `yaml:"namespace"`
		Labels    map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec struct {
		HostNetwork     bool        `yaml:"hostNetwork"`
		SecurityContext security    `yaml:"securityContext"`
		Containers      []container `yaml:"containers"`
	} `yaml:"spec"`
}

// podObject reads the pod's object; false where it was not read.
func podObject(files map[string][]byte) (object, bool) {
	var o object
	for _, part := range []string{"pod.json", "pod.yaml"} {
		if raw, ok := files[part]; ok {
			return o, yaml.Unmarshal(raw, &o) == nil // JSON is YAML
		}
	}
	return o, false
}

// containerOf is an application's container that runs as the user.
func (p *pod) containerOf(uid uint32) (string, bool) {
	return p.applications(func(c, pod security) bool { return id(c.RunAsUser, pod.RunAsUser) == int64(uid) })
}

func (p *pod) groupOfContainer(gid uint32) bool {
	_, ok := p.applications(func(c, pod security) bool { return id(c.RunAsGroup, pod.RunAsGroup) == int64(gid) })
	return ok
}

// applications finds a container that is not the proxy's.
func (p *pod) applications(fits func(c, pod security) bool) (string, bool) {
	o, _ := podObject(p.s.Files)
	for _, c := range o.Spec.Containers {
		if c.Name != "istio-proxy" && !strings.Contains(c.Name, "envoy") && !strings.Contains(c.Image, "envoy") && fits(c.SecurityContext, o.Spec.SecurityContext) {
			return "container " + c.Name, true
		}
	}
	return "", false
}

// id is the container's own, else the pod's; -1: the image says.
func id(own, pod *uint32) int64 {
	for _, n := range []*uint32{own, pod} {
		if n != nil {
			return int64(*n)
		}
	}
	return -1
}

package rules

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
)

// proxyOwner is the uid and gid that the proxy's own connections have, with what is
// taken for granted about them.
type proxyOwner struct {
	uid, gid uint32
	known    bool
	grouped  bool // gid was read, too
	assumed  []flow.Assumption
}

// findOwner tells the proxy's uid: from the socket that listens on its capture port,
// else from what the recording says, else from the pod's security context, else from the
// rule that exempts it. Its gid: from the socket's process, else from the recording or the
// security context, else from a gid rule, else the same number as the uid. (Istio writes each owner rule once for the
// uid and once for the gid; under TPROXY Envoy runs as uid 0 with gid 1337, so that only
// the gid rules hit.)
func findOwner(s *Snapshot) proxyOwner {
	uids, gids := ownerRules(s.Files)
	pod, inPod := podProxy(s.Files)
	o := proxyOwner{known: true}
	socket, listens := socketOwner(s)
	switch {
	case listens:
		o.uid = socket.UID
	case s.Meta.EnvoyUID != nil:
		o.uid = *s.Meta.EnvoyUID
	case inPod && pod.RunAsUser != nil:
		o.uid = *pod.RunAsUser
	case len(uids) > 0:
		o.assume(uids[0])
	case len(gids) > 0:
		o.assume(gids[0])
	default:
		o.known = false
	}
	o.gid = o.uid
	o.grouped = true
	switch {
	case listens && socket.Grouped:
		o.gid = socket.GID
	case s.Meta.EnvoyGID != nil:
		o.gid = *s.Meta.EnvoyGID
	case inPod && pod.RunAsGroup != nil:
		o.gid = *pod.RunAsGroup
	case len(gids) > 0:
		o.gid, o.grouped = gids[0].id, false
	default:
		o.grouped = false
	}
	return o
}

// assume takes the uid from a rule, and says so.
func (o *proxyOwner) assume(r ownerRule) {
	o.uid = r.id
	o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyProxyUIDRules, utoa(r.id), r.where)})
}

// socketOwner is the socket on which a capturing listener of Envoy listens.
func socketOwner(s *Snapshot) (netfilter.Socket, bool) {
	if s.Host == nil {
		return netfilter.Socket{}, false
	}
	for _, k := range s.Host.Sockets {
		if !k.Owned || !strings.HasPrefix(strings.ToUpper(k.State), "LISTEN") {
			continue
		}
		if k.Process == "envoy" || (s.Envoy != nil && k.Process == "" && s.Envoy.Takes(k.Local, flow.TCP) == flow.Yes) {
			return k, true
		}
	}
	return netfilter.Socket{}, false
}

type ownerRule struct {
	id    uint32
	where string
}

var (
	ownerSave = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^(?:\[\d+:\d+\] )?-A (\S+) [^\n]*--(uid|gid)-owner (\d+)(?:\s|$)`)
	})
	ownerNFT = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`"key": ?"sk(uid|gid)"\}\}, ?"right": ?(\d+)`) })
)

// ownerRules are the ids that owner tests name, in the order of the rules.
func ownerRules(files map[string][]byte) (uids, gids []ownerRule) {
	add := func(kind, id, where string) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return
		}
		if r := (ownerRule{uint32(n), where}); kind == "uid" {
			uids = append(uids, r)
		} else {
			gids = append(gids, r)
		}
	}
	for _, part := range ruleParts {
		if part == "nft.json" {
			for _, m := range ownerNFT().FindAllSubmatch(files[part], -1) {
				add(string(m[1]), string(m[2]), part)
			}
			continue
		}
		for _, m := range ownerSave().FindAllSubmatch(files[part], -1) {
			add(string(m[2]), string(m[3]), string(m[1]))
		}
	}
	return uids, gids
}

// securityContext is a container's (v1.SecurityContext), as far as it says who it runs as.
type securityContext struct {
	RunAsUser  *uint32 `yaml:"runAsUser"`
	RunAsGroup *uint32 `yaml:"runAsGroup"`
}

// podProxy is the security context of the proxy's container, from pod.json or pod.yaml
// (v1.Pod: spec.containers, and spec.initContainers, which a native sidecar is one of):
// the one that is called istio-proxy, or whose name or image has "envoy" in it.
func podProxy(files map[string][]byte) (securityContext, bool) {
	raw, ok := files["pod.json"]
	if !ok {
		if raw, ok = files["pod.yaml"]; !ok {
			return securityContext{}, false
		}
	}
	type container struct {
		Name            string          `yaml:"name"`
		Image           string          `yaml:"image"`
		SecurityContext securityContext `yaml:"securityContext"`
	}
	var pod struct {
		Spec struct {
			Containers     []container `yaml:"containers"`
			InitContainers []container `yaml:"initContainers"`
		} `yaml:"spec"`
	}
	if yaml.Unmarshal(raw, &pod) != nil { // JSON is YAML
		return securityContext{}, false
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.Name == "istio-proxy" || strings.Contains(c.Name, "envoy") || strings.Contains(c.Image, "envoy") {
			return c.SecurityContext, true
		}
	}
	return securityContext{}, false
}

func utoa(u uint32) string { return strconv.FormatUint(uint64(u), 10) }

// ProxyOwner is the uid and gid of the proxy's own connections; known is false where
// only an owner rule, or nothing, tells them.
func (s *Snapshot) ProxyOwner() (uid, gid uint32, known bool) {
	return s.owner.uid, s.owner.gid, s.owner.known && len(s.owner.assumed) == 0
}

// ProxyGroup is the gid of the proxy's own connections; known is false where it was not read
// of the proxy's process, its recording or its security context.
func (s *Snapshot) ProxyGroup() (gid uint32, known bool) {
	return s.owner.gid, s.owner.known && s.owner.grouped
}

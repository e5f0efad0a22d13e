package rules

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// proxyOwner is the uid and gid that the proxy's own connections have, with what is
// taken for granted about them.
type proxyOwner struct {
	uid, gid uint32
	known    bool
	assumed  []flow.Assumption
}

// findOwner tells the proxy's uid: from the socket that listens on its capture port,
// else from what the recording says, else from the rule that exempts it. Its gid: from
// the pod's security context, else from a gid rule, else the same number as the uid.
// (Istio writes each owner rule once for the uid and once for the gid; under TPROXY
// Envoy runs as uid 0 with gid 1337, so that only the gid rules hit.)
func findOwner(s *Snapshot) proxyOwner {
	uids, gids := ownerRules(s.Files)
	o := proxyOwner{}
	if uid, ok := socketOwner(s); ok {
		o.uid, o.known = uid, true
	} else if s.Meta.EnvoyUID != nil {
		o.uid, o.known = *s.Meta.EnvoyUID, true
	} else if len(uids) > 0 {
		o.uid, o.known = uids[0].id, true
		o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyProxyUIDRules, utoa(o.uid), uids[0].where)})
	} else if len(gids) > 0 {
		o.uid, o.known = gids[0].id, true
		o.assumed = append(o.assumed, flow.Assumption{Reason: flow.Because(flow.WhyProxyUIDRules, utoa(o.uid), gids[0].where)})
	}
	o.gid = o.uid
	switch gid, ok := podGroup(s.Files, o.uid); {
	case s.Meta.EnvoyGID != nil:
		o.gid = *s.Meta.EnvoyGID
	case ok:
		o.gid = gid
	case len(gids) > 0:
		o.gid = gids[0].id
	}
	return o
}

// socketOwner is the uid of the socket on which a capturing listener of Envoy listens.
func socketOwner(s *Snapshot) (uint32, bool) {
	if s.Host == nil {
		return 0, false
	}
	for _, k := range s.Host.Sockets {
		if !strings.HasPrefix(strings.ToUpper(k.State), "LISTEN") {
			continue
		}
		if k.Process == "envoy" || (s.Envoy != nil && k.Process == "" && s.Envoy.Takes(k.Local, flow.TCP) == flow.Yes) {
			return k.UID, true
		}
	}
	return 0, false
}

type ownerRule struct {
	id    uint32
	where string
}

var (
	ownerSave = regexp.MustCompile(`(?m)^(?:\[\d+:\d+\] )?-A (\S+) [^\n]*--(uid|gid)-owner (\d+)(?:\s|$)`)
	ownerNFT  = regexp.MustCompile(`"key": ?"sk(uid|gid)"\}\}, ?"right": ?(\d+)`)
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
			for _, m := range ownerNFT.FindAllSubmatch(files[part], -1) {
				add(string(m[1]), string(m[2]), part)
			}
			continue
		}
		for _, m := range ownerSave.FindAllSubmatch(files[part], -1) {
			add(string(m[2]), string(m[3]), string(m[1]))
		}
	}
	return uids, gids
}

// podGroup is runAsGroup of the container that runs as uid, from pod.json (v1.Pod,
// spec.containers and spec.initContainers: a native sidecar is one of the latter).
func podGroup(files map[string][]byte, uid uint32) (uint32, bool) {
	raw, ok := files["pod.json"]
	if !ok {
		return 0, false
	}
	type container struct {
		SecurityContext struct{ RunAsUser, RunAsGroup *uint32 }
	}
	var pod struct {
		Spec struct{ Containers, InitContainers []container }
	}
	if json.Unmarshal(raw, &pod) != nil {
		return 0, false
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if u, g := c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup; u != nil && g != nil && *u == uid {
			return *g, true
		}
	}
	return 0, false
}

func utoa(u uint32) string { return strconv.FormatUint(uint64(u), 10) }

// ProxyOwner is the uid and gid of the proxy's own connections; known is false where
// only an owner rule, or nothing, tells them.
func (s *Snapshot) ProxyOwner() (uid, gid uint32, known bool) {
	return s.owner.uid, s.owner.gid, s.owner.known && len(s.owner.assumed) == 0
}

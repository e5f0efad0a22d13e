package envoy

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// readClusters reads /clusters?format=json: the hosts of each cluster with their live
// health. There is one of all clusters, clusters.json, or one for each that was asked for by
// name, clusters/NAME.json. As with the dump, only names and places are kept.
func (c *Config) readClusters(name string, raw []byte) error {
	if err := notJSON(raw); err != nil {
		return err
	}
	p := &part{name: name, raw: raw}
	s := tree.Scanner{Raw: raw, Notes: new(tree.Notes)}
	found := map[string]*entry{}
	end, err := s.Object(s.Space(0), func(key []byte, at int) (int, error) {
		if !tree.Named(key, "cluster_statuses") {
			return s.Skip(at)
		}
		base := "/" + string(key)
		return s.List(at, func(n, at int) (int, error) {
			e := &entry{part: p, start: at, base: &base, n: int32(n)}
			end, err := s.Object(at, func(key []byte, at int) (int, error) {
				if string(key) == "name" {
					var err error
					e.name, at, err = s.String(at)
					return at, err
				}
				return s.Skip(at)
			})
			e.end = end
			if err == nil && e.piece() >= tree.MaxDoc {
				c.oddities = append(c.oddities, flow.Gap{Part: name, Broken: true,
					Reason: fmt.Sprintf("the status of cluster %.100q takes %d bytes: an object of 256 MiB or more is not read", e.name, e.piece())})
				return end, err
			}
			found[e.name] = e
			return end, err
		})
	})
	if err != nil {
		return err
	}
	if end = s.Space(end); end != len(raw) {
		return &tree.SyntaxError{At: int64(end), Msg: "more text after the value"}
	}
	c.odd(name, s.Notes, func(at int) string {
		for _, e := range found {
			if e.start <= at && at < e.end {
				return "cluster " + strconv.Quote(e.name)
			}
		}
		return ""
	})
	c.parts = append(c.parts, p)
	if c.hosts == nil {
		c.hosts = found
		return nil
	}
	for name, e := range found {
		c.hosts[name] = e
	}
	return nil
}

// count sums up what the hosts of a cluster have open.
func (s *hostSet) count(n tree.Node) {
	for _, e := range n.Field("host_statuses").All() {
		for _, st := range e.Field("stats").All() {
			switch v := st.Field("value").Uint(0); st.Field("name").Str() {
			case "cx_active":
				s.live.connections += v
			case "rq_active":
				s.live.requests += v
			case "rq_pending_active":
				s.live.pending += v
			}
		}
	}
}

// listed reads the hosts as /clusters lists them, where nothing else does.
func (s *hostSet) listed(n tree.Node) {
	l := localities{}
	s.fields[0] = n.FieldName("host_statuses")
	for i, e := range n.Field("host_statuses").All() {
		h := host{priority: priorityOf(e), weight: e.Field("weight").Uint(1), name: e.Field("hostname").Str(), socket: s.of.socketOf(tree.Node{}, tree.Node{})}
		h.at = place{start: int(e.Offset()), end: int(e.Offset()) + len(e.Raw()), number: int32(i)}
		h.locality = l.number(h.priority, e.Field("locality"))
		h.address(e.Field("address"))
		h.status(e.Field("health_status"))
		h.text = h.printed()
		s.hosts = append(s.hosts, h)
	}
}

// overlay takes the health from /clusters, which knows why.
func (s *hostSet) overlay(n tree.Node) {
	if !n.Exists() {
		return
	}
	at := map[netip.AddrPort]tree.Node{}
	for _, e := range n.Field("host_statuses").All() {
		if a, ok := readAddress(e.Field("address")); ok {
			at[a.AddrPort] = e
		}
	}
	for i := range s.hosts {
		if e, ok := at[s.hosts[i].addr]; ok {
			s.hosts[i].status(e.Field("health_status"))
		}
	}
}

// status reads a HostHealthStatus (envoy/admin/v3/clusters.proto).
func (h *host) status(n tree.Node) {
	h.health, h.why = healthy, ""
	for _, f := range []string{"failed_active_degraded_check"} {
		if n.Field(f).Bool(false) {
			h.health, h.why = degraded, f
		}
	}
	switch eds := n.Field("eds_health_status").Enum(); eds {
	case "DEGRADED":
		h.health, h.why = degraded, edsHealth(eds)
	case "UNHEALTHY", "DRAINING", "TIMEOUT":
		h.health, h.why = unhealthy, edsHealth(eds)
	}
	for _, f := range []string{"failed_active_health_check", "failed_outlier_check"} {
		if n.Field(f).Bool(false) {
			h.health, h.why = unhealthy, f
		}
	}
	h.excluded = n.Field("excluded_via_immediate_hc_fail").Bool(false) || n.Field("pending_active_hc").Bool(false) ||
		n.Field("eds_health_status").Is("DRAINING")
}

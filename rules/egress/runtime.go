package egress

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// runtime plans limits of 0 in the layer of Envoy's runtime that its admin interface writes:
// no connection for the listeners that capture, and no request for the clusters that open
// HTTP connections can still choose. Nothing is closed.
func (p *pod) runtime(c *flow.Change) error {
	if p.s.Envoy == nil {
		return errors.New("the configuration of Envoy was not read, and its runtime is what --driver runtime sets: say where its admin interface is (--admin)")
	}
	values, has := p.s.Envoy.AdminLayer()
	switch has {
	case flow.No:
		return errors.New("this Envoy's runtime has no admin layer (bootstrap, layered_runtime), so that it takes no limits while it runs: use --driver kernel")
	case flow.Maybe:
		return errors.New("whether this Envoy's runtime has an admin layer is not known, since its bootstrap or /runtime was not read: read them, or use --driver kernel")
	}
	capturing := p.capturing()
	if len(capturing) == 0 {
		return errors.New("no connection of this pod is redirected to a listener of Envoy's, so that Envoy's limits block none of them: use --driver kernel")
	}
	set := func(key string) {
		before, had := values[key]
		c.Runtime = append(c.Runtime, flow.Setting{Key: key, Value: "0", Before: before, Had: had})
	}
	for _, l := range capturing {
		set(listenerKey(l.Name))
	}
	for _, name := range p.routed() {
		set("circuit_breakers." + name + ".default.max_requests")
		set("circuit_breakers." + name + ".high.max_requests")
	}
	c.Capture, c.Kept, c.Untraced = p.capture, p.kept(c), p.untraced
	p.reachOfProxy(c)
	if p.handsOff() {
		c.Covers = append(c.Covers, flow.Reach{What: "handoff"})
	}
	if len(c.Runtime) > len(capturing) {
		c.Covers = append(c.Covers, flow.Reach{What: "http", Whose: "requests on open connections"})
	}
	limited := p.limited(c.Runtime)
	c.Effects = p.effects(func(t flow.Trace, e *flow.Effect) { e.After = verdict(rules.Trace(limited, t.Request)) })
	return nil
}

// reachOfProxy is what a policy that the proxy carries out covers: what is redirected to it.
func (p *pod) reachOfProxy(c *flow.Change) {
	for _, six := range []bool{false, true} {
		r := flow.Reach{What: "tcp4"}
		if six {
			r.What = "tcp6"
		}
		taken, seen := true, false
		for _, d := range p.dests {
			for _, t := range d.traces {
				if d.dst.Addr().Is6() == six && d.proto == flow.TCP && !d.live {
					taken, seen = taken && redirected(t), true
				}
			}
		}
		if taken && seen {
			c.Covers = append(c.Covers, r)
			continue
		}
		if r.Whose = "not redirected"; !seen {
			r.Whose = "the pod has no address of it"
		}
		c.NotCovered = append(c.NotCovered, r)
	}
	c.NotCovered = append(c.NotCovered, flow.Reach{What: "udp"}, flow.Reach{What: "dns"})
	if uid, _, known := p.s.ProxyOwner(); known {
		c.NotCovered = append(c.NotCovered, flow.Reach{What: "proxy", Whose: "uid " + utoa(uid)})
	}
	c.NotCovered = append(c.NotCovered, flow.Reach{What: "loopback"}, flow.Reach{What: "own address", Whose: p.addresses()}, flow.Reach{What: "excluded", Whose: "ports and ranges that the rules do not redirect"})
	if !c.CloseOpen {
		c.NotCovered = append(c.NotCovered, established(len(c.Kept)))
	}
}

// listenerKey is the runtime's key for the connections of a listener. An unnamed listener
// has an empty name there, not the one that /listeners shows (measured on 1.40).
func listenerKey(name string) string {
	return "envoy.resource_limits.listener." + name + ".connection_limit"
}

// capturing are the listeners whose sockets take what is redirected.
func (p *pod) capturing() []envoy.Place {
	var out []envoy.Place
	for _, l := range p.s.Envoy.Places() {
		for _, a := range l.Addrs {
			if l.Binds && slices.Contains(p.capture, a.Port()) {
				out = append(out, l)
				break
			}
		}
	}
	return out
}

// routed are the clusters that requests on outbound HTTP connections are sent to, those that
// inbound ones use too left out.
func (p *pod) routed() []string {
	in, out := map[string]bool{}, map[string]bool{}
	capturing := p.capturing()
	f := finder{s: p.s, forms: map[string]listenerForm{}}
	for _, l := range p.s.Envoy.Places() {
		into := out
		if l.Directed && l.Direction == flow.Inbound {
			into = in
		} else if l.Binds && !slices.ContainsFunc(capturing, func(c envoy.Place) bool { return c.Ref == l.Ref }) {
			into = in // a gateway's, or one for the pod itself
		}
		for _, name := range f.form(l.Ref).clusters {
			into[name] = true
		}
	}
	var names []string
	for name := range out {
		if !in[name] && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// limited is the pod with these values in the runtime.
func (p *pod) limited(set []flow.Setting) *rules.Snapshot {
	var doc map[string]json.RawMessage
	entries := map[string]json.RawMessage{}
	if json.Unmarshal(p.s.Files["runtime.json"], &doc) != nil {
		doc = map[string]json.RawMessage{}
	}
	_ = json.Unmarshal(doc["entries"], &entries)
	for _, s := range set {
		entries[s.Key], _ = json.Marshal(map[string]any{"final_value": s.Value})
	}
	doc["entries"], _ = json.Marshal(entries)
	files := maps.Clone(p.s.Files)
	files["runtime.json"], _ = json.Marshal(doc)
	return parsed(p.s, files)
}

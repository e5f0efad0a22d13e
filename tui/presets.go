package tui

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/live"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// presets are requests worth a look: those of the scene, live connections, what each
// route would match, what was traced before, and edge cases of the one at hand.
func presets(s *state) []preset {
	var out []preset
	group := func(title string, list []preset) {
		if len(list) > 0 {
			out = append(append(out, preset{text: title}), list...)
		}
	}
	var given []preset
	if s.opt.Request != nil {
		given = append(given, preset{render.RequestLine(*s.opt.Request), s.opt.Request})
	}
	for _, r := range s.opt.Requests {
		given = append(given, preset{render.RequestLine(r), &r})
	}
	group("given", given)
	group("live connections", livePresets(s.survey.conns))
	group("listeners and routes", s.survey.routes)
	var recent []preset
	for _, r := range s.recent {
		recent = append(recent, preset{render.RequestLine(r), &r})
	}
	group("recent", recent)
	group("edge cases", edges(s))
	return out
}

// livePresets are the connections that are open, those alike once, and those to Envoy's
// admin interface, which meshtop itself makes, not at all.
func livePresets(conns []conn) []preset {
	const most = 8
	var out []preset
	seen := map[string]bool{}
	for _, c := range conns {
		r := c.Request()
		words := map[flow.Direction]string{flow.Outbound: "out ", flow.Inbound: "in  "}[c.Dir] + c.Dst.String() + " from " + c.Src.Addr().String()
		if key := words + " " + utoa(c.UID); !c.admin && !seen[key] && len(out) < most {
			seen[key] = true
			out = append(out, preset{words, &r})
		}
	}
	return out
}

// edges are the request at hand, changed in one thing that often decides.
func edges(s *state) []preset {
	if !s.req.Dst.IsValid() {
		return nil
	}
	var out []preset
	add := func(text string, change func(*flow.Request)) {
		r := s.req
		change(&r)
		out = append(out, preset{text, &r})
	}
	if s.req.Dir == flow.Outbound {
		if u, g, ok := s.survey.proxyUser(); ok {
			add("same, sent by the proxy's uid "+utoa(u), func(r *flow.Request) { r.UID, r.GID = u, g })
		}
		add("same, sent by uid 0", func(r *flow.Request) { r.UID, r.GID = 0, 0 })
	}
	add("same, over UDP", func(r *flow.Request) { r.Proto, r.HTTP, r.TLS = flow.UDP, nil, nil })
	add("same, to 127.0.0.1", func(r *flow.Request) {
		r.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Dst.Port())
	})
	add("same, raw TCP bytes", func(r *flow.Request) { r.HTTP, r.TLS = nil, nil })
	add("same, another host", func(r *flow.Request) {
		r.HTTP = &flow.HTTP{Authority: "nobody.example", Path: "/"}
	})
	return out
}

// routeForm is what of a route (envoy.config.route.v3.Route) a request can be made from.
type routeForm struct {
	Match struct {
		Prefix  *string `json:"prefix"`
		Path    *string `json:"path"`
		Sep     *string `json:"path_separated_prefix"`
		Headers []struct {
			Name   string `json:"name"`
			Exact  string `json:"exact_match"`
			String struct {
				Exact  string `json:"exact"`
				Prefix string `json:"prefix"`
			} `json:"string_match"`
		} `json:"headers"`
	} `json:"match"`
	Route struct {
		Cluster string `json:"cluster"`
		Weights struct {
			Clusters []struct {
				Name string `json:"name"`
			} `json:"clusters"`
		} `json:"weighted_clusters"`
	} `json:"route"`
}

// listenerForm is what of a listener (envoy.config.listener.v3.Listener) says which
// requests come to it.
type listenerForm struct {
	Address struct {
		Socket struct {
			Address string `json:"address"`
			Port    uint16 `json:"port_value"`
		} `json:"socket_address"`
	} `json:"address"`
	Binds    *bool `json:"bind_to_port"`
	Original bool  `json:"use_original_dst"`
}

// addr is where the listener is, if it says an IP address.
func (l listenerForm) addr() (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(l.Address.Socket.Address)
	return netip.AddrPortFrom(a, l.Address.Socket.Port), err == nil
}

// to is base as it would come to the listener.
func (v *survey) to(l listenerForm, base flow.Request) flow.Request {
	at, ok := l.addr()
	r := base
	switch {
	case !ok || l.Original || at == base.Dst:
		return base
	case !at.Addr().IsUnspecified() && !live.Own(at.Addr(), v.own):
		r.Dir, r.Dst, r.Src, r.In = flow.Outbound, at, netip.AddrPort{}, ""
		return r
	case !at.Addr().IsUnspecified():
		return v.inward(base, at)
	case l.Binds != nil && !*l.Binds:
		r.Dst = netip.AddrPortFrom(base.Dst.Addr(), at.Port())
		return r
	}
	for _, o := range v.own {
		if o.Is4() == at.Addr().Is4() {
			return v.inward(base, netip.AddrPortFrom(o, at.Port()))
		}
	}
	return base
}

// inward is base from outside to a place of the pod.
func (v *survey) inward(base flow.Request, at netip.AddrPort) flow.Request {
	if base.Dir == flow.Inbound && base.Dst == at {
		return base
	}
	return flow.Request{Dir: flow.Inbound, Src: v.peer(at.Addr()), Dst: at, Proto: flow.TCP, HTTP: base.HTTP}
}

// makeRoutes makes a request for each route, as far as its match says how; base is what
// else it holds. The routes of a listener's own table are asked where the listener is.
func (v *survey) makeRoutes(snap *rules.Snapshot, base flow.Request) {
	const most = 100
	domains := map[string][]string{}
	var at listenerForm
	here := base
	for _, o := range snap.Envoy.Objects() {
		if len(v.routes) == most {
			return
		}
		raw := func() []byte {
			b, _ := snap.Envoy.Raw(o.Ref)
			return b
		}
		switch o.Kind {
		case flow.Listener:
			at = listenerForm{}
			_ = json.Unmarshal(raw(), &at) // what it does not say, nobody knows
		case flow.RouteConfig:
			if here = base; o.Parent != "" {
				here = v.to(at, base)
			}
		case flow.VirtualHost:
			var h struct {
				Domains []string `json:"domains"`
			}
			if json.Unmarshal(raw(), &h) == nil {
				domains[o.Name] = h.Domains
			}
		case flow.Route:
			var f routeForm
			if json.Unmarshal(raw(), &f) == nil {
				v.routes = append(v.routes, routePreset(here, domains[o.Parent], f))
			}
		}
	}
}

// routePreset is the request at hand with what the route asks for.
func routePreset(base flow.Request, domains []string, f routeForm) preset {
	r := base
	r.Proto, r.Payload = flow.TCP, nil
	h := flow.HTTP{Method: "GET", Path: "/"}
	for _, d := range domains {
		if d != "*" && h.Authority == "" {
			h.Authority = strings.Replace(d, "*", "any", 1)
		}
		if a, err := netip.ParseAddrPort(d); err == nil && base.Dir == flow.Outbound {
			r.Dst = a
		}
	}
	if h.Authority == "" && r.Dst.IsValid() {
		h.Authority = r.Dst.Addr().String()
	}
	for _, p := range []*string{f.Match.Path, f.Match.Sep, f.Match.Prefix} {
		if p != nil && *p != "" {
			h.Path = *p
		}
	}
	words := h.Authority + h.Path
	for _, m := range f.Match.Headers {
		value := or(m.Exact, or(m.String.Exact, m.String.Prefix))
		if value == "" || strings.HasPrefix(m.Name, ":") {
			continue
		}
		h.Headers = append(h.Headers, [2]string{m.Name, value})
		words += " + " + m.Name + ": " + value
	}
	to := f.Route.Cluster
	for i, c := range f.Route.Weights.Clusters {
		if i > 0 {
			to += " | "
		}
		to += c.Name
	}
	if to != "" {
		words += " " + style.Arrow + " " + to
	}
	r.HTTP = &h
	return preset{render.Clean(words), &r}
}

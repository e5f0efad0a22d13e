package mesh

import (
	"fmt"
	"math/rand/v2"
)

// Request is one look-up with its answer, a line of a request file.
type Request struct {
	N         int               `json:"n"`
	Dst       string            `json:"dst"`
	Port      int               `json:"port"`
	Authority string            `json:"authority,omitempty"` // empty: plain TCP
	Path      string            `json:"path,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Expect    Answer            `json:"expect"`
}

// Answer is where a request ends: any of the clusters is right, and an empty one is none.
type Answer struct {
	Listener string   `json:"listener"`
	Table    string   `json:"table,omitempty"`
	VHost    string   `json:"vhost,omitempty"`
	Route    string   `json:"route,omitempty"` // by name; empty: any
	Clusters []string `json:"clusters"`
	Code     int      `json:"code,omitempty"` // what the caller gets; 0: any
}

// Requests are n look-ups.
func (m Mesh) Requests(n int) []Request {
	r := m.rand(9, 0)
	var out []Request
	for k := range n {
		s := m.service(r.IntN(m.Services))
		p := pick(r, s.ports...)
		q := Request{N: k, Dst: s.ip, Port: p.number}
		switch {
		case r.IntN(16) == 0:
			m.askOutside(r, &q)
		case p.proto != "http":
			q.Expect = Answer{Listener: fmt.Sprintf("%s_%d", s.ip, p.number), Clusters: []string{s.cluster(p.number, "")}}
		default:
			s.ask(r, p.number, &q)
		}
		out = append(out, q)
	}
	return out
}

// askOutside makes the request one to a host that is no service: below a zone that is
// known, or nowhere.
func (m Mesh) askOutside(r *rand.Rand, q *Request) {
	q.Dst, q.Port, q.Path = "203.0.113.7", pick(r, httpPorts...), "/"
	k := r.IntN(zones)
	q.Expect = Answer{Listener: fmt.Sprintf("0.0.0.0_%d", q.Port), Table: fmt.Sprint(q.Port)}
	switch r.IntN(3) {
	case 0: // the wildcard takes at least one label more than the zone
		q.Authority, q.Expect.VHost, q.Expect.Route, q.Expect.Clusters = zone(k), "allow_any", "allow_any", []string{"PassthroughCluster"}
	case 1:
		q.Authority, q.Expect.VHost, q.Expect.Route, q.Expect.Clusters = "elsewhere.example.org", "allow_any", "allow_any", []string{"PassthroughCluster"}
	default:
		q.Authority, q.Expect.VHost, q.Expect.Route, q.Expect.Clusters = "a.b."+zone(k), fmt.Sprintf("*.%s:%d", zone(k), q.Port), "default", []string{externalCluster(k)}
	}
	if r.IntN(2) == 0 {
		q.Authority += fmt.Sprintf(":%d", q.Port)
	}
}

// ask makes the request an HTTP one to the service.
func (s service) ask(r *rand.Rand, p int, q *Request) {
	q.Authority = pick(r, s.host(), s.name+"."+s.namespace, s.name+"."+s.namespace+".svc", s.ip)
	if r.IntN(2) == 0 {
		q.Authority += fmt.Sprintf(":%d", p)
	}
	t := pick(r, s.trials()...)
	q.Path = t.path
	if t.header[0] != "" {
		q.Headers = map[string]string{t.header[0]: t.header[1]}
	}
	q.Expect = Answer{Listener: fmt.Sprintf("0.0.0.0_%d", p), Table: fmt.Sprint(p), VHost: fmt.Sprintf("%s:%d", s.host(), p), Route: t.route, Code: t.code}
	for _, subset := range t.to {
		q.Expect.Clusters = append(q.Expect.Clusters, s.cluster(p, subset))
	}
	if t.cluster != "" || t.to == nil {
		q.Expect.Clusters = []string{t.cluster}
	}
}

// trial is a request with the route that takes it, as virtualHost writes them: one that
// is taken beside those that miss by one thing.
type trial struct {
	path    string
	header  [2]string
	route   string
	to      []string // subsets
	cluster string   // instead of them; both empty: none
	code    int
}

func (s service) trials() []trial {
	none := [2]string{}
	switch s.routing {
	case "weighted":
		return []trial{{path: "/api/items/17?x=1", route: "primary", to: []string{"v1", "v2"}}}
	case "canary":
		stable, canary := []string{"stable"}, []string{"canary"}
		return []trial{
			{"/api/items/17?x=1", none, "", stable, "", 0},
			{"/api/items/17?x=1", [2]string{"x-canary", "always"}, "canary-header", canary, "", 0},
			{"/api/items/17?x=1", [2]string{"x-canary", "always-not"}, "", stable, "", 0},
			{"/api/v2/items", [2]string{"cookie", "a=b; user=beta"}, "canary-cookie", canary, "", 0},
			{"/api/v2/items", [2]string{"cookie", "user=betas"}, "", stable, "", 0},
			{"/api/v1/items", [2]string{"cookie", "user=beta"}, "", stable, "", 0},
		}
	case "rich":
		return s.richTrials()
	case "strict":
		all := []string{""}
		return []trial{
			{"/shop/17", none, "shop", all, "", 0},
			{"/t/abc?x=1", none, "token", all, "", 0},
			{"/t/abc1", none, "", nil, "", 404},
			{"/shop", none, "", nil, "", 404},
		}
	}
	return []trial{{path: "/api/items/17?x=1", route: "default", to: []string{""}}}
}

func (s service) richTrials() []trial {
	none, rest := [2]string{}, []string{"v1", "v3"}
	v1, v2, v3 := []string{"v1"}, []string{"v2"}, []string{"v3"}
	return []trial{
		{"/api/items/17?x=1", none, "", rest, "", 0},
		{"/healthz?full=1", none, "health", v1, "", 0},
		{"/healthz/", none, "", rest, "", 0},
		{"/v1/items/93/" + s.name, none, "items", v2, "", 0},
		{"/v3/items/93/" + s.name, none, "", rest, "", 0},
		{"/v1/items/93/" + s.name + "/more", none, "", rest, "", 0}, // a regex takes the whole path
		{"/q?debug=1", none, "debug", v3, "", 0},
		{"/q?debug=10", none, "", rest, "", 0},
		{"/", [2]string{"user-agent", "acme-mobile/7.1"}, "mobile", v2, "", 0},
		{"/", [2]string{"user-agent", "not acme-mobile/7.1"}, "", rest, "", 0},
		{"/old/price", none, "moved", nil, "", 301},
		{"/admin", none, "sep", v1, "", 0},
		{"/admin/users", none, "sep", v1, "", 0},
		{"/administrator", none, "", rest, "", 0},
		{"/internal/keys", none, "internal", nil, "BlackHoleCluster", 503},
		{"/internal/keys", [2]string{"x-internal", "1"}, "", rest, "", 0},
	}
}

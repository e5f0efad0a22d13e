package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// The headers that the caller sees are those that the route's step tells.
func TestAnswerHeaders(t *testing.T) {
	if !Isolated(t) {
		return
	}
	add := func(action, value string) A {
		return A{M{"header": M{"key": "X-A", "value": value}, "append_action": action}}
	}
	const appends, absent, over, ifThere = "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
	const adds, removes = "response_headers_to_add", "response_headers_to_remove"
	cases := []struct {
		name              string
		route, host, more M
		want              string // of x-a; "-": not there
	}{
		{name: "added", route: M{adds: add(appends, "1")}, want: "1"},
		{name: "set by the virtual host", host: M{adds: add(over, "100%%")}, want: "100%"},
		{name: "the table is last", route: M{adds: add(over, "1")}, host: M{adds: add(over, "2")}, more: M{adds: add(over, "3")}, want: "3"},
		{name: "the route is last", route: M{adds: add(over, "1")}, more: M{adds: add(over, "3"), "most_specific_header_mutations_wins": true}, want: "1"},
		{name: "where there is none", route: M{adds: add(over, "1")}, host: M{adds: add(absent, "2")}, want: "1"},
		{name: "where there is one", route: M{adds: add(over, "1")}, host: M{adds: add(ifThere, "2")}, want: "2"},
		{name: "twice", route: M{adds: add(over, "a, b")}, host: M{adds: add(appends, "c (d)?")}, want: "a, b\nc (d)?"},
		{name: "removed", route: M{adds: add(over, "1")}, host: M{removes: A{"X-A"}}, want: "-"},
		{name: "removed and added", host: M{removes: A{"X-A"}, adds: add(appends, "2")}, route: M{adds: add(over, "1")}, want: "2"},
	}
	b := &Batch{World: World{ID: "answer", Family: "answer", Clusters: usualClusters(12)}}
	for i, c := range cases {
		for k, cluster := range []string{"c1", "c.empty", "c1"} { // an endpoint's answer, Envoy's own, and one before a route is looked for
			r := routeTo(cluster, everything, nil)
			rc := oneRoute(r)
			for _, x := range []struct{ to, from M }{{r, c.route}, {rc["virtual_hosts"].(A)[0].(M), c.host}, {rc, c.more}} {
				for key, v := range x.from {
					x.to[key] = v
				}
			}
			n := 3*i + k
			b.World.Listeners = append(b.World.Listeners, raw(web(rc, nil)(listener(listenerName(n), acceptAddr(n), acceptPort))))
			q := get("a.test", "/")
			q.ID, q.Accept = c.name+" "+cluster, acceptAt(n)
			if k == 2 {
				q.ID, q.HTTP.Target, q.HTTP.Headers = c.name+" early", "/x#fragment", [][2]string{{"x-forwarded-proto", "http"}}
			}
			b.Requests = append(b.Requests, q)
		}
	}
	r := runClear(t, startOracle(t), b)
	cfg, err := loadWhole(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b.Requests {
		seen, ok := r.Cases[n].Outcomes[0].Client.Headers["x-a"]
		if !ok {
			seen = "-"
		}
		conn, req, err := r.Cases[n].Request.Flow()
		if err != nil {
			t.Fatal(err)
		}
		said := "-"
		if lines, sure := alone(flow.ReadAnswer(cfg.Accept(conn, &req, new(flow.Choices)).Steps).Named["x-a"]); !sure || lines != "" {
			said = lines
		}
		if want := cases[n/3].want; seen != want || said != want {
			t.Errorf("%s: Envoy %q, meshtop %q, want %q", b.Requests[n].ID, seen, said, want)
		}
	}
}

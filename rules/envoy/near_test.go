package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// lost are the losers of the last step of a stage: name and reason.
func lost(r Result, stage flow.Stage) []string {
	var out []string
	for _, s := range r.Steps {
		if s.Stage != stage {
			continue
		}
		out = out[:0]
		for _, m := range s.Passed {
			e := s.Explain.Explain(m)
			text := e.Text + " " + strings.TrimSpace(strings.Join(e.Reason.Args[:], " "))
			if m.Near {
				text += " near"
			}
			out = append(out, text)
		}
	}
	return out
}

// Where traffic goes on to a catch-all, the listeners, clusters and hosts that it just
// missed are named, with the one difference.
func TestNearMisses(t *testing.T) {
	c := mesh{
		listeners: lis("out", "0.0.0.0", 15001, useOriginal, toC("out")) + lis("vip", "10.0.0.1", 80, noBind, toC("vip")) + lis("other", "10.0.0.2", 81, noBind, toC("other")) +
			lis("to", "10.0.0.9", 1, noBind, chainList(chainOf("f", "", tcp("outbound|80|v3|a")))) + lis("sick", "10.0.0.9", 2, noBind, chainList(chainOf("f", "", tcp("sick")))) +
			lis("sub", "10.0.0.9", 3, noBind, chainList(chainOf("f", "", netFilter("tcp_proxy", "TcpProxy", `'cluster': 'sub', 'metadata_match': {'filter_metadata': {'envoy.lb': {'v': '3'}}}`)))),
		clusters: static("c", "10.1.0.1:80") + static("outbound|80|v1|a") + static("outbound|80|v2|a") + static("outbound|81|v1|a") + static("OUTBOUND|80|v3|a") +
			`{'name': 'sick', 'common_lb_config': {'healthy_panic_threshold': {}}, 'load_assignment': {'endpoints': [` + group(0, "", ep("1.0.0.1", bad)) + `]}}` +
			`{'name': 'sub', 'lb_subset_config': {'subset_selectors': [{'keys': ['v']}]}, 'load_assignment': {'endpoints': [` + group(0, "", ep("1.0.0.1", lbMeta(`'v': '1'`)), ep("1.0.0.2")) + `]}}`,
	}.load(t)
	for _, row := range []struct {
		orig  string
		stage flow.Stage
		want  string
	}{
		{"10.0.0.1:81", flow.Handoff, "vip 10.0.0.1:80 81 near; other 10.0.0.2:81 10.0.0.1 near"},
		{"10.0.0.1:80", flow.Handoff, ""},
		{"10.7.7.7:7", flow.Handoff, ""},
		{"10.0.0.9:1", flow.Cluster, "OUTBOUND|80|v3|a OUTBOUND|80|v3|a near; outbound|80|v1|a outbound|80|v1|a near; outbound|80|v2|a outbound|80|v2|a near"},
		{"10.0.0.9:2", flow.Endpoint, "1.0.0.1:80 eds_health_status UNHEALTHY near"},
		{"10.0.0.9:3", flow.Endpoint, `1.0.0.1:80 {"v": "1"} near; 1.0.0.2:80 {} near`},
	} {
		r := c.Accept(Conn{Accept: addr("127.0.0.1:15001"), Orig: addr(row.orig), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, raw(), new(flow.Choices))
		if got := strings.Join(lost(r, row.stage), "; "); got != row.want {
			t.Errorf("%s, %v:\n got %s\nwant %s", row.orig, row.stage, got, row.want)
		}
	}
}

// A circuit breaker that was full in the snapshot may have room again: both ways are told.
func TestLiveBreakers(t *testing.T) {
	cl := func(name string) string {
		return strings.Replace(static(name, "10.1.0.1:80"), "'type'", "'circuit_breakers': {'thresholds': [{'max_connections': 2, 'max_requests': 3}]}, 'type'", 1)
	}
	live := func(name, cx, rq string) string {
		return `{'name': '` + name + `', 'host_statuses': [{'address': ` + sockaddr("10.1.0.1", 80) + `, 'health_status': {}, 'stats': [{'name': 'cx_active', 'type': 'GAUGE', 'value': '` + cx + `'}, {'name': 'rq_active', 'value': '` + rq + `'}]}]}`
	}
	c := mesh{clusters: cl("below") + cl("full"), files: map[string]string{"clusters.json": `{'cluster_statuses': [` + live("below", "1", "2") + "," + live("full", "2", "3") + `]}`}}.load(t)
	for _, row := range []struct {
		cluster string
		http    bool
		want    string
	}{{"below", false, ""}, {"below", true, ""}, {"full", false, "UO "}, {"full", true, "UO upstream_reset_before_response_started{overflow}"}} {
		var got []string
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			p := &pass{cfg: c, ch: ch, req: raw()}
			f := p.toCluster(row.cluster, lbHints{http: row.http})
			if !f.ok {
				got = append(got, f.flags+" "+f.details)
			}
		}
		if g := strings.Join(got, "|"); g != row.want {
			t.Errorf("%s, http %v: %q, want %q", row.cluster, row.http, g, row.want)
		}
	}
}

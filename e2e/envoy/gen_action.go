package envoy

import (
	"fmt"
	"strings"
)

// action gives a route its action. match is the route's match.
func (d *dice) action(route, match M) {
	_, template := match["path_match_policy"]
	switch n := d.IntN(20); {
	case n < 2:
		r := M{"status": pick(d, 200, 201, 204, 302, 403, 404, 418, 503, 599)}
		if d.chance(0.7) {
			r["body"] = M{"inline_string": "direct"}
		}
		route["direct_response"] = r
	case n < 5:
		route["redirect"] = d.redirect(template)
	case n == 5 && d.chance(0.2):
		route["non_forwarding_action"] = M{}
	default:
		route["route"] = d.forward(match, template)
	}
}

func (d *dice) redirect(template bool) M {
	r := M{}
	if d.chance(0.3) {
		r["host_redirect"] = pick(d, "new.example.com", "new.example.com:81")
	}
	switch d.IntN(5) {
	case 0:
		r["https_redirect"] = true
	case 1:
		r["scheme_redirect"] = pick(d, "https", "http", "HTTPS", "ftp")
	}
	if d.chance(0.3) {
		r["port_redirect"] = pick(d, 80, 443, 8443)
	}
	switch d.IntN(5) {
	case 0:
		r["path_redirect"] = pick(d, "/new", "/new?z=1", "new")
	case 1:
		if !template {
			r["prefix_rewrite"] = pick(d, "/pre", "/", "pre/")
		}
	case 2:
		r["regex_rewrite"] = d.regexRewrite()
	}
	if d.chance(0.3) {
		r["strip_query"] = true
	}
	if d.chance(0.5) {
		r["response_code"] = pick(d, "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT", "MOVED_PERMANENTLY")
	}
	if len(r) == 0 {
		r["https_redirect"] = true
	}
	return r
}

func (d *dice) regexRewrite() M {
	x := pick(d, [2]string{"^/api/(.*)$", `/new/\1`}, [2]string{"/", "//"}, [2]string{"[0-9]+", "N"}, [2]string{"^/(.*)/(.*)$", `/\2/\1`},
		[2]string{"x", ""}, [2]string{"/api", ""}, [2]string{"a*", "Z"})
	return M{"pattern": M{"regex": x[0]}, "substitution": x[1]}
}

// forward is a RouteAction.
func (d *dice) forward(match M, template bool) M {
	a := d.destination()
	switch d.IntN(7) {
	case 0:
		if !template || d.chance(0.1) { // refused beside a template
			a["prefix_rewrite"] = pick(d, "/pre", "/", "/pre/", "/q?r=1")
		}
	case 1:
		a["regex_rewrite"] = d.regexRewrite()
	case 2:
		if template {
			a["path_rewrite_policy"] = ext("envoy.path.rewrite.uri_template.uri_template_rewriter",
				"envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", M{"path_template_rewrite": d.templateRewrite(match)})
		}
	}
	switch d.IntN(9) {
	case 0:
		a["host_rewrite_literal"] = "lit.host"
	case 1:
		a["host_rewrite_header"] = pick(d, "x-a", "x-newhost")
	case 2:
		a["host_rewrite_path_regex"] = M{"pattern": M{"regex": "^/([a-z]+)/.*$"}, "substitution": `\1.host`}
	case 3:
		a["auto_host_rewrite"] = true
	}
	if d.chance(0.1) {
		a["append_x_forwarded_host"] = true
	}
	d.limits(a)
	return a
}

func (d *dice) templateRewrite(match M) string {
	t := match["path_match_policy"].(M)["typed_config"].(M)["path_template"].(string)
	switch {
	case strings.Contains(t, "{id}"):
		return pick(d, "/u-{id}", "/x/{id}/{id}")
	case strings.Contains(t, "{b="):
		return "/{b}/{a}"
	}
	return "/fixed"
}

// destination is where a RouteAction sends to.
func (d *dice) destination() M {
	switch n := d.IntN(24); {
	case n < 14:
		return M{"cluster": d.spokenTo(fmt.Sprintf("c%d", d.IntN(12)))}
	case n == 14:
		a := M{"cluster": pick(d, "nosuch", "nosuch2")}
		if d.chance(0.6) {
			a["cluster_not_found_response_code"] = pick(d, "NOT_FOUND", "INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE")
		}
		return a
	case n == 15:
		return M{"cluster": pick(d, "c.empty", "c.dead", "c.cb0")}
	case n < 18:
		return M{"cluster_header": pick(d, "x-cluster", "x-a", ":method", "X-Cluster")}
	case n < 20:
		return M{"weighted_clusters": d.weights()}
	case n < 22:
		return M{"cluster": pick(d, "c.odsthdr", "c.odsthdr2", "c.odst")}
	case d.certain:
		return M{"cluster": "c5"}
	}
	return M{"cluster": "c.many"}
}

func (d *dice) weights() M {
	var l A
	sum := 0
	for i := range 1 + d.IntN(3) {
		weight := d.IntN(4)
		sum += weight
		e := M{"weight": weight}
		if d.chance(0.15) {
			e["cluster_header"] = "x-cluster"
		} else {
			e["name"] = fmt.Sprintf("c%d", (i*3+d.IntN(3))%12)
		}
		if d.chance(0.2) {
			e["host_rewrite_literal"] = "weighted.host"
		}
		if d.chance(0.2) {
			e["request_headers_to_add"] = A{d.headerValue("x-add", "weighted")}
		}
		l = append(l, e)
	}
	if sum == 0 && d.chance(0.95) { // refused with 0
		l[0].(M)["weight"] = 2
	}
	if d.certain {
		l = l[:1]
		l[0].(M)["weight"] = 1
	}
	w := M{"clusters": l}
	if d.chance(0.5) {
		w["header_name"] = "x-rand"
	} else if d.chance(0.3) {
		w["runtime_key_prefix"] = "wk"
	}
	return w
}

func (d *dice) headerValue(name, value string) M {
	m := M{"header": M{"key": name, "value": value}}
	if d.chance(0.05) {
		m["keep_empty_value"] = true
	}
	if d.chance(0.7) {
		m["append_action"] = pick(d, "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
	}
	return m
}

// mutations gives a table, virtual host or route header mutations now and then.
func (d *dice) mutations(o M, level string) {
	if d.chance(0.25) {
		var l A
		for range 1 + d.IntN(2) {
			value := level
			if d.chance(0.3) {
				value = pick(d, formats...)
			}
			l = append(l, d.headerValue(pick(d, "x-add", "x-a", "x-lvl"), value))
		}
		o["request_headers_to_add"] = l
	}
	if d.chance(0.1) {
		o["request_headers_to_remove"] = A{pick(d, "x-a", "x-b", "x-add", "user-agent")}
	}
	if d.chance(0.1) {
		o["response_headers_to_add"] = A{d.headerValue("x-resp", level)}
	}
}

package envoy

import "fmt"

// Rules of RBAC (config.rbac.v3), of both filters.

// nested is a rule of rules, or nil: all names the And, any the Or, not the Not.
func (d *dice) nested(n int, list, all, any, not string, inner func() M) M {
	switch n {
	case 0:
		return M{not: inner()}
	case 1:
		return M{all: M{list: A{inner(), inner()}}}
	}
	return M{any: M{list: A{inner(), inner()}}}
}

func (d *dice) permissions(n, depth int, inner func(int) M) M {
	return d.nested(n, "rules", "and_rules", "or_rules", "not_rule", func() M { return inner(depth - 1) })
}

func (d *dice) principals(n, depth int, inner func(int) M) M {
	return d.nested(n, "ids", "and_ids", "or_ids", "not_id", func() M { return inner(depth - 1) })
}

func (d *dice) networkPermission(depth int) M {
	n := d.IntN(9)
	switch {
	case n == 0:
		return M{"any": true}
	case n == 1:
		return M{"destination_ip": cidr(d.prefix(ips4))}
	case n == 3:
		return M{"destination_port_range": M{"start": 80, "end": pick(d, 443, 444, 8080, 8081)}}
	case n == 4:
		return M{"requested_server_name": pick(d, M{"exact": "a.example.com"}, M{"suffix": ".example.com"}, M{"prefix": "a"},
			M{"exact": "A.Example.COM", "ignore_case": true}, M{"safe_regex": M{"regex": "[a-z.]*com"}}, M{"exact": ""})}
	case n == 5 && d.chance(0.03): // refused when loaded
		return M{"header": M{"name": "x-a", "string_match": M{"exact": "1"}, "invert_match": d.chance(0.5)}}
	case n >= 6 && depth > 0:
		return d.permissions(n-6, depth, d.networkPermission)
	}
	return M{"destination_port": pick(d, ports...)}
}

func (d *dice) networkPrincipal(depth int) M {
	n := d.IntN(9)
	switch {
	case n < 2:
		return M{"any": true}
	case n == 3:
		return M{"direct_remote_ip": cidr(d.prefix(append([]string{"10.1.2.3"}, clients...)))}
	case n == 4:
		return M{"remote_ip": cidr(d.prefix(ips4))}
	case n == 5:
		return M{"authenticated": M{}}
	case n >= 6 && depth > 0:
		return d.principals(n-6, depth, d.networkPrincipal)
	}
	return M{"source_ip": cidr(d.prefix(ips4))}
}

func (d *dice) networkRBAC() M {
	policies := M{}
	for i := range 1 + d.IntN(3) {
		var perms, ids A
		for range 1 + d.IntN(2) {
			perms, ids = append(perms, d.networkPermission(1)), append(ids, d.networkPrincipal(1))
		}
		policies[fmt.Sprintf("%c%d", pick(d, 'a', 'b', 'z'), i)] = M{"permissions": perms, "principals": ids}
	}
	rules := M{"action": pick(d, "ALLOW", "ALLOW", "DENY", "LOG"), "policies": policies}
	m := M{"stat_prefix": "rb", "rules": rules}
	if d.chance(0.15) {
		m["enforcement_type"] = "CONTINUOUS"
	}
	if d.chance(0.1) {
		delete(m, "rules")
		m["shadow_rules"] = rules
	}
	return ext("envoy.filters.network.rbac", filterNS+"network.rbac.v3.RBAC", m)
}

func (d *dice) httpPermission(depth int) M {
	n := d.IntN(11)
	switch {
	case n == 0:
		return M{"any": true}
	case n < 3:
		h, _ := d.headerMatcher()
		return M{"header": h}
	case n < 5:
		return M{"url_path": M{"path": pick(d, M{"prefix": "/api"}, M{"exact": "/x"}, M{"suffix": "v1"},
			M{"safe_regex": M{"regex": "/user/.*"}}, M{"exact": "/API", "ignore_case": true})}}
	case n == 5:
		return M{"destination_port": pick(d, 80, 443, acceptPort)}
	case n == 6:
		return M{"destination_ip": cidr("127.0.1.0/24")}
	case n < 10 && depth > 0:
		return d.permissions(n-7, depth, d.httpPermission)
	}
	return M{"header": M{"name": ":method", "string_match": M{"exact": pick(d, "GET", "POST")}}}
}

func (d *dice) httpPrincipal(depth int) M {
	n := d.IntN(11)
	switch {
	case n < 3:
		return M{"any": true}
	case n == 3:
		return M{pick(d, "source_ip", "direct_remote_ip", "remote_ip"): cidr(pick(d, "127.0.0.1/32", "127.0.0.0/8", "10.0.0.0/8", "127.1.2.0/24"))}
	case n == 4:
		return M{"authenticated": M{}}
	case n == 5:
		return M{"url_path": M{"path": M{"prefix": "/user"}}}
	case n < 9 && depth > 0:
		return d.principals(n-6, depth, d.httpPrincipal)
	}
	h, _ := d.headerMatcher()
	return M{"header": h}
}

func (d *dice) httpRBAC() M {
	policies := M{}
	for i := range 1 + d.IntN(3) {
		policies[fmt.Sprintf("%c%d", pick(d, 'a', 'b', 'z'), i)] = M{"permissions": A{d.httpPermission(1)}, "principals": A{d.httpPrincipal(1)}}
	}
	rules := M{"action": pick(d, "ALLOW", "DENY", "DENY", "LOG"), "policies": policies}
	if d.chance(0.1) {
		return M{"shadow_rules": rules}
	}
	return M{"rules": rules}
}

package envoy

import (
	"net/netip"
	"sort"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// rbac evaluates config.rbac.v3.RBAC. The network filter knows addresses, SNI and the
// client's certificate; the HTTP filter adds what a request shows.
type rbac struct {
	p *pass
	// remote is remote_ip: for HTTP what x-forwarded-for says.
	remote netip.Addr
	// other answers what only HTTP knows (header, url_path, metadata ...), by the name of
	// the rule's field; nil, or Maybe from it: not known.
	other func(field string, n tree.Node) flow.Answer
}

// verdict says whether the rules let the connection through, and the policy that matched.
func (r *rbac) verdict(rules tree.Node) (allowed flow.Answer, policy string) {
	action := rules.Field("action").Enum()
	var names []string
	policies := map[string]tree.Node{}
	for k, v := range rules.Field("policies").Members() {
		if _, twice := policies[k]; !twice {
			names = append(names, k)
		}
		policies[k] = v
	}
	sort.Strings(names) // Envoy keeps them in an ordered map
	matched := flow.No
	for _, name := range names {
		a := r.policy(policies[name])
		if a == flow.Yes || a == flow.Maybe && matched == flow.No {
			matched, policy = a, name
		}
		if a == flow.Yes {
			break
		}
	}
	switch action {
	case "LOG", "2":
		return flow.Yes, policy
	case "DENY", "1":
		return matched.Not(), policy
	}
	return matched, policy
}

func (r *rbac) policy(n tree.Node) flow.Answer {
	perm, prin := flow.No, flow.No
	for _, x := range n.Field("permissions").All() {
		perm = perm.Or(r.rule(x))
	}
	for _, x := range n.Field("principals").All() {
		prin = prin.Or(r.rule(x))
	}
	a := perm.And(prin)
	if c := n.Field("condition", "checked_condition", "cel_config"); c.Exists() {
		a = a.And(flow.Maybe)
	}
	return a
}

func (r *rbac) all(list tree.Node) flow.Answer {
	a := flow.Yes
	for _, x := range list.All() {
		a = a.And(r.rule(x))
	}
	return a
}

func (r *rbac) any(list tree.Node) flow.Answer {
	a := flow.No
	for _, x := range list.All() {
		a = a.Or(r.rule(x))
	}
	return a
}

// rule is a Permission or a Principal: a message with one field.
func (r *rbac) rule(n tree.Node) flow.Answer {
	p := r.p
	for field, v := range n.Members() {
		switch snake(field) {
		case "any":
			return flow.Is(v.Bool(true))
		case "and_rules":
			return r.all(v.Field("rules"))
		case "or_rules":
			return r.any(v.Field("rules"))
		case "and_ids":
			return r.all(v.Field("ids"))
		case "or_ids":
			return r.any(v.Field("ids"))
		case "not_rule", "not_id":
			return r.rule(v).Not()
		case "destination_ip":
			return inRanges(v, p.local.Addr())
		case "destination_port":
			return flow.Is(v.Uint(0) == uint64(p.local.Port()))
		case "destination_port_range":
			port := int64(p.local.Port())
			return flow.Is(port >= v.Field("start").Int(0) && port < v.Field("end").Int(0))
		case "source_ip":
			return inRanges(v, p.remote.Addr())
		case "direct_remote_ip":
			return inRanges(v, p.direct.Addr())
		case "remote_ip":
			return inRanges(v, r.remote)
		case "requested_server_name":
			return p.cfg.stringMatch(v, p.sni)
		case "authenticated":
			return r.authenticated(v)
		default:
			if r.other == nil {
				return flow.Maybe
			}
			return r.other(snake(field), v)
		}
	}
	return flow.No
}

// authenticated is a TLS connection, and with principal_name a name of the client's
// certificate.
func (r *rbac) authenticated(n tree.Node) flow.Answer {
	t := r.p.downTLS
	if t == nil {
		return flow.No
	}
	name := n.Field("principal_name")
	if !name.Exists() {
		return flow.Yes
	}
	return r.p.principal(name)
}

// snake is a protobuf field name in snake_case.
func snake(s string) string {
	var b []byte
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			if b == nil {
				b = append(make([]byte, 0, len(s)+4), s[:i]...)
			}
			b = append(b, '_', c+'a'-'A')
		} else if b != nil {
			b = append(b, c)
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

// rbac is the network filter: it decides on the first data.
func (n *network) rbac(e extension, f tree.Node) bool {
	if m := e.config.Field("matcher"); m.Exists() {
		return n.rbacMatcher(e, f, m)
	}
	rules := e.config.Field("rules")
	if !rules.Exists() {
		n.step(e, f, flow.Because(flow.WhyNetRBACNoRules))
		return true
	}
	r := rbac{p: n.pass, remote: n.remote.Addr()}
	allowed, policy := r.verdict(rules)
	var unsaid []flow.Assumption
	if allowed == flow.Maybe {
		allowed, unsaid = n.ch.Answer(n.ref("rbac "+e.name+" "+policy), flow.Unmodelled), n.namesUnsaid()
	}
	if allowed == flow.Yes {
		n.rbacAllows(e, f, policy)
		n.last().Assumed = unsaid
		return true
	}
	n.rbacDenies(e, f, policy)
	return false
}

func (n *network) rbacAllows(e extension, f tree.Node, policy string) {
	n.step(e, f, flow.Because(flow.WhyNetRBACAllows, policy))
	n.last().Origin = n.cfg.policyOrigin(policy, e.config.Field("stat_prefix").Str())
}

func (n *network) rbacDenies(e extension, f tree.Node, policy string) {
	details := "rbac_access_denied_matched_policy[" + orDefault(policy, "none") + "]"
	n.refuse(flow.Step{Stage: flow.NetworkFilter, Subject: e.name, Reason: flow.Because(flow.WhyNetRBACDenies, policy), Evidence: n.evidence(f),
		Origin: n.cfg.policyOrigin(policy, e.config.Field("stat_prefix").Str())}, "", details)
}

// rbacMatcher is the filter with an xds matcher in place of rules: no match denies.
func (n *network) rbacMatcher(e extension, f, m tree.Node) bool {
	t := matcher{p: n.pass, ref: "rbac " + e.name, input: n.networkInput}
	action, ok := t.eval(m)
	if n.over {
		return false
	}
	_, config := action.Field("typed_config").Any()
	switch config.Field("action").Enum() {
	case "", "ALLOW", "LOG", "0", "2":
		if ok {
			n.rbacAllows(e, f, config.Field("name").Str())
			return true
		}
	}
	n.rbacDenies(e, f, config.Field("name").Str())
	return false
}

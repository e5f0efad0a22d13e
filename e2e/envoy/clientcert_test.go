package envoy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// certContexts are the ways in which a chain looks at its clients' certificates.
func certContexts(o *certificate) map[string]M {
	ca := M{"inline_string": string(o.cert)}
	sans := func(more ...any) A { return A(more) }
	san := func(kind string, m M) M { return M{"san_type": kind, "matcher": m} }
	dns := sans(san("DNS", M{"exact": "oracle.test"}))
	whole, key := sha256.Sum256(o.leaf.Raw), sha256.Sum256(o.leaf.RawSubjectPublicKeyInfo)
	hash, spki, other := A{hex.EncodeToString(whole[:])}, A{base64.StdEncoding.EncodeToString(key[:])}, A{hex.EncodeToString(make([]byte, 32))}
	const untrusted = "ACCEPT_UNTRUSTED"
	asks := func(require bool, v M) M {
		common := M{}
		if v != nil {
			common["validation_context"] = v
		}
		return M{"require_client_certificate": require, "common_tls_context": common}
	}
	return map[string]M{
		"nothing":           asks(false, nil),
		"an empty context":  asks(false, M{}),
		"required only":     asks(true, nil),
		"required, empty":   asks(true, M{}),
		"authority":         asks(false, M{"trusted_ca": ca}),
		"required":          asks(true, M{"trusted_ca": ca}),
		"DNS":               asks(false, M{"trusted_ca": ca, "match_typed_subject_alt_names": dns}),
		"URI":               asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("URI", M{"prefix": "spiffe://mesh/"}))}),
		"IP or DNS":         asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("IP_ADDRESS", M{"exact": "127.0.0.1"}), san("DNS", M{"exact": "svc.test"}))}),
		"of another kind":   asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("DNS", M{"prefix": "spiffe://mesh/"}))}),
		"case, wildcard":    asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("DNS", M{"exact": "ORACLE.test"}), san("DNS", M{"exact": "*.test"}))}),
		"a wildcard's name": asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("DNS", M{"exact": "any.Wild.test"}))}),
		"two labels":        asks(true, M{"trusted_ca": ca, "match_typed_subject_alt_names": sans(san("DNS", M{"exact": "a.any.wild.test"}))}),
		"hash":              asks(false, M{"verify_certificate_hash": hash}),
		"key":               asks(true, M{"verify_certificate_spki": spki}),
		"authority, hash":   asks(true, M{"trusted_ca": ca, "verify_certificate_hash": hash}),
		"hash or key":       asks(true, M{"trusted_ca": ca, "verify_certificate_hash": other, "verify_certificate_spki": spki}),
		"untrusted":         asks(true, M{"trusted_ca": ca, "trust_chain_verification": untrusted}),
		"untrusted, DNS":    asks(false, M{"trusted_ca": ca, "trust_chain_verification": untrusted, "match_typed_subject_alt_names": dns}),
		"untrusted, hash":   asks(true, M{"trust_chain_verification": untrusted, "verify_certificate_hash": hash}),
		"ended is fine":     asks(true, M{"trusted_ca": ca, "allow_expired_certificate": true}),
	}
}

// mutual is a listener whose chain looks at certificates so.
func mutual(l, context M) M {
	s := serverTLS(nil)
	config := s["typed_config"].(M)
	maps.Copy(config["common_tls_context"].(M), context["common_tls_context"].(M))
	config["require_client_certificate"] = context["require_client_certificate"]
	l["filter_chains"].(A)[0].(M)["transport_socket"] = s
	return l
}

// asClient is a request of a client with that certificate; none: it has none.
func asClient(pair string) Request {
	t := &TLS{SNI: "oracle.test", Handshake: true, Cert: pair != "none", Pair: pair}
	if pair == "none" {
		t.Pair = ""
	}
	return get("a.test", "/").over(t)
}

// clientFlow is the case's request as rules take it, with the certificate that was presented.
func clientFlow(t *testing.T, o *Oracle, q *Request) (envoy.Conn, flow.Request) {
	t.Helper()
	conn, req, err := q.Flow()
	if err != nil {
		t.Fatal(err)
	}
	if q.TLS.Cert {
		req.TLS.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.pairs[q.TLS.Pair].Certificate[0]})
	}
	return conn, req
}

func assumes(r *envoy.Result, kind flow.ReasonKind) bool {
	for _, s := range r.Steps {
		if slices.ContainsFunc(s.Assumed, func(a flow.Assumption) bool { return a.Reason.Kind == kind }) {
			return true
		}
	}
	return false
}

// Who presents which certificate to which chain: the handshake, and what routes see of it.
func TestClientCertificates(t *testing.T) {
	if !Isolated(t) {
		return
	}
	o := startOracle(t)
	b := &Batch{World: World{ID: "certs", Family: "certs", Clusters: usualClusters(12)}}
	seen := func(validated bool) M {
		return M{"prefix": "/", "tls_context": M{"presented": true, "validated": validated}}
	}
	rc := oneRoute(routeTo("c1", seen(true), nil), routeTo("c2", seen(false), nil), routeTo("c3", everything, nil))
	contexts := certContexts(o.cert)
	for i, name := range slices.Sorted(maps.Keys(contexts)) {
		b.World.Listeners = append(b.World.Listeners, raw(mutual(web(rc, nil)(listener(listenerName(i), acceptAddr(i), acceptPort)), contexts[name])))
		for _, pair := range []string{"none", "", "workload", "bare", "ended", "stranger", "wild"} {
			for _, old := range []bool{false, true} {
				q := asClient(pair)
				q.ID, q.Accept, q.TLS.Old = fmt.Sprintf("%s: %q, TLS 1.2 %v", name, pair, old), acceptAt(i), old
				b.Requests = append(b.Requests, q)
			}
		}
	}
	r := runClear(t, o, b)
	cfg, err := loadWhole(r.Files)
	if err != nil || len(r.Refused) > 0 {
		t.Fatal(err, r.Refused)
	}
	none := map[string]*Case{}
	for i := range r.Cases {
		c := &r.Cases[i]
		conn, req := clientFlow(t, o, &c.Request)
		vs, _ := Variants(cfg.Accept, conn, &req)
		if c.Request.TLS.Pair == "ended" && assumes(&vs[0].Result, flow.WhyAssumedDated) {
			continue // a trace asks no clock, and says so
		}
		if j := Judge(c, vs); j.Word != Agree {
			t.Errorf("%s: %s", c.Request.ID, j.Why)
		}
		if names := map[string][]string{"": {"oracle.test", "127.0.0.1"}, "workload": {"spiffe://mesh/ns/a/sa/x", "svc.test"}, "wild": {"*.wild.test", "a@wild.test"}}[c.Request.TLS.Pair]; req.TLS.Certificate != nil && names != nil {
			req.TLS.Certificate, req.TLS.SANs = nil, names
			named, _ := Variants(cfg.Accept, conn, &req)
			if j := Judge(c, named); j.Word != Agree && !assumes(&named[0].Result, flow.WhyAssumedPin) {
				t.Errorf("%s, only its names said: %s", c.Request.ID, j.Why)
			}
		}
		refused := c.Outcomes[0].Client
		if end := vs[0].Steps[len(vs[0].Steps)-1]; vs[0].Verdict == flow.Refused && (refused.TLSError != c.Request.TLS.Old || len(end.Facts) != 1 || end.Facts[0].Kind != flow.WhyHandshakeEnd) {
			t.Errorf("%s: the client sees %+v, meshtop says %+v", c.Request.ID, refused, end.Facts)
		}
		if !c.Request.TLS.Cert && !c.Request.TLS.Old {
			none[c.Request.Accept] = c
		}
	}
	for _, c := range none {
		judgeUnsaid(t, cfg, c)
	}
}

// judgeUnsaid asks without a word of a certificate: where none is needed that is as a client
// without one fares, else as one that is accepted, and both are said.
func judgeUnsaid(t *testing.T, cfg *envoy.Config, c *Case) {
	conn, req, err := c.Request.Flow()
	if err != nil {
		t.Fatal(err)
	}
	req.TLS.Cert = flow.Maybe
	vs, _ := Variants(cfg.Accept, conn, &req)
	r := &vs[0].Result
	switch o := c.Outcomes[0]; {
	case len(vs) > 1:
		t.Errorf("%s: %d variants", c.Request.ID, len(vs))
	case o.Cluster == "": // refused without one
		if r.Outcome.Cluster != "c1" || !assumes(r, flow.WhyAssumedCert) {
			t.Errorf("%s, unsaid: %+v", c.Request.ID, r.Outcome)
		}
	case r.Outcome.Cluster != o.Cluster || assumes(r, flow.WhyAssumedCert):
		t.Errorf("%s, unsaid: %+v, Envoy goes to %s", c.Request.ID, r.Outcome, o.Cluster)
	}
}

// The names by which rules know a client's certificate: RBAC takes URI, DNS name or subject,
// an input only its own kind.
func TestPrincipals(t *testing.T) {
	if !Isolated(t) {
		return
	}
	o := startOracle(t)
	b := &Batch{World: World{ID: "principals", Family: "certs", Clusters: usualClusters(12)}}
	context := M{"require_client_certificate": false, "common_tls_context": M{"validation_context": M{"trusted_ca": M{"filename": "@DIR@/ca.pem"}}}}
	add := func(what string, rules M) {
		i := len(b.World.Listeners)
		f := ext("envoy.filters.http.rbac", filterNS+"http.rbac.v3.RBAC", rules)
		l := web(oneRoute(routeTo("c1", everything, nil)), M{"http_filters": A{f, router()}})(listener(listenerName(i), acceptAddr(i), acceptPort))
		b.World.Listeners = append(b.World.Listeners, raw(mutual(l, context)))
		for _, pair := range []string{"none", "", "workload", "bare", "wild"} {
			q := asClient(pair)
			q.ID, q.Accept = fmt.Sprintf("%s: %q", what, pair), acceptAt(i)
			b.Requests = append(b.Requests, q)
		}
	}
	for _, m := range []M{{"exact": ""}, {"prefix": "spiffe://mesh/"}, {"exact": "svc.test"}, {"exact": "SVC.test"}, {"exact": "any.wild.test"}, {"exact": "oracle.test"}, {"exact": "127.0.0.1"},
		{"contains": "CN=bare"}, {"exact": "CN=bare,O=test"}, {"contains": "CN=workload"}, {"contains": "CN=oracle"}, {"suffix": "/x"}} {
		for _, not := range []bool{false, true} {
			p := M{"authenticated": M{"principal_name": m}}
			if not {
				p = M{"not_id": p}
			}
			add(fmt.Sprint("RBAC ", m, " not ", not), M{"rules": M{"action": "ALLOW", "policies": M{"p": M{"permissions": A{M{"any": true}}, "principals": A{p}}}}})
		}
	}
	for _, in := range []string{"UriSanInput", "DnsSanInput", "SubjectInput"} {
		for _, m := range []M{{"exact": "spiffe://mesh/ns/a/sa/x"}, {"exact": "svc.test"}, {"exact": ""}, {"exact": "CN=bare,O=test"}, {"prefix": "C"}, {"prefix": "*"}} {
			predicate := M{"single_predicate": M{"input": ext("in", "envoy.extensions.matching.common_inputs.ssl.v3."+in, nil), "value_match": m}}
			allow := M{"action": ext("a", "envoy.config.rbac.v3.Action", M{"name": "x"})}
			add(fmt.Sprint(in, " ", m), M{"matcher": M{"matcher_list": M{"matchers": A{M{"predicate": predicate, "on_match": allow}}}}})
		}
	}
	r := runClear(t, o, b)
	cfg, err := loadWhole(r.Files)
	if err != nil || len(r.Refused) > 0 {
		t.Fatal(err, r.Refused)
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		conn, req := clientFlow(t, o, &c.Request)
		vs, _ := Variants(cfg.Accept, conn, &req)
		if j := Judge(c, vs); j.Word != Agree {
			t.Errorf("%s: %s", c.Request.ID, j.Why)
		}
	}
}

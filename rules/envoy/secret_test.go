package envoy

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// A secret that SDS has not brought ends the connection on either side, whatever the client
// does; one of the same name that came does not.
func TestSecretAwaited(t *testing.T) {
	const common = `'common_tls_context': {'tls_certificate_sds_secret_configs': [{'name': 'own'}]}`
	secret := func(list string) string {
		return `, {'@type': 'type.googleapis.com/envoy.admin.v3.SecretsConfigDump', '` + list + `': [{'name': 'own', 'secret': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret', 'name': 'own'}}]}`
	}
	upstream := `{'name': 'c', 'type': 'STATIC', 'transport_socket': {'name': 't', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', ` + common + `}},
		'load_assignment': {'endpoints': [` + group(0, "", ep("10.1.0.1")) + `]}}`
	for name, c := range map[string]struct {
		more           string
		waits, nowhere bool
	}{
		"served":  {secret("dynamic_active_secrets"), false, false},
		"static":  {secret("static_secrets"), false, false},
		"warming": {secret("dynamic_warming_secrets"), true, false},
		"nowhere": {`, {'@type': 'type.googleapis.com/envoy.admin.v3.SecretsConfigDump'}`, false, true}, // Envoy's own whole dump lists it as warming
		"cut out": {``, false, true},
	} {
		cfg := mesh{listeners: lis("tls", "0.0.0.0", 1, chainList(withTLS(chainOf("f", "", tcp("p")), ", "+common))) + lis("up", "0.0.0.0", 2, toC("up")),
			clusters: static("p", "10.1.0.1:80") + upstream, more: c.more}.load(t)
		for what, at := range map[string]struct {
			port string
			req  *flow.Request
		}{"a client's TLS": {"1", hello("x")}, "plain text": {"1", raw()}, "to the endpoint": {"2", raw()}} {
			r := cfg.Accept(Conn{Accept: addr("10.5.5.5:" + at.port), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, at.req, new(flow.Choices))
			waits, taken := false, 0
			for _, s := range r.Steps {
				for _, a := range s.Assumed {
					if a.Reason == flow.Because(flow.WhySecretTaken, "own") {
						taken++
					}
				}
				waits = waits || s.Reason == flow.Because(flow.WhySecretAwaited, "own") && s.Verdict == flow.Refused
			}
			if handshakes := what != "plain text"; (taken == 1) != (c.nowhere && handshakes) {
				t.Errorf("%s, %s: the secret is taken as supplied %d times", name, what, taken)
			}
			if waits != c.waits || waits && r.Verdict != flow.Refused || waits && at.port == "2" && (r.Caller.Flags != "UF,URX" || r.Upstream.Addr.IsValid()) {
				t.Errorf("%s, %s: %+v %+v", name, what, r.Caller, r.Steps[len(r.Steps)-1])
			}
		}
	}
}

// Where Go writes a subject otherwise than `openssl x509 -subject -nameopt RFC2253` does, a
// principal by it is not known.
func TestSubject(t *testing.T) {
	empty := mesh{}.load(t)
	id := func(n ...int) asn1.ObjectIdentifier { return n }
	at := func(n int, v string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: id(2, 5, 4, n), Value: v}
	}
	one := func(a ...pkix.AttributeTypeAndValue) pkix.RDNSequence { return pkix.RDNSequence{a} }
	for want, rdn := range map[string]pkix.RDNSequence{
		`CN=client,OU=x,O=Mesh\, Inc,L=Town,ST=Hesse,C=DE`: {one(at(6, "DE"))[0], one(at(8, "Hesse"))[0], one(at(7, "Town"))[0], one(at(10, "Mesh, Inc"))[0], one(at(11, "x"))[0], one(at(3, "client"))[0]},
		`CN=\ lead#\"x\"\;\<z\>\\=1\ `:                     one(at(3, ` lead#"x";<z>\=1 `)),
		`CN=\#x`:                                           one(at(3, "#x")),
		`?email`:                                           one(pkix.AttributeTypeAndValue{Type: id(1, 2, 840, 113549, 1, 9, 1), Value: "a@b"}),
		`?domain`:                                          one(pkix.AttributeTypeAndValue{Type: id(0, 9, 2342, 19200300, 100, 1, 25), Value: "example"}),
		`?serialNumber`:                                    one(at(5, "7")),
		`?street`:                                          one(at(9, "Road 1")),
		`?postalCode`:                                      one(at(17, "12345")),
		`?CN=\C3\A9`:                                       one(at(3, "é")),
		`?a tab`:                                           one(at(3, "a\tb")),
		`?O=a=b+C=DE`:                                      one(at(6, "DE"), at(10, "a=b")),
	} {
		rawSubject, err := asn1.Marshal(rdn)
		if err != nil {
			t.Fatal(err)
		}
		pub, key, _ := ed25519.GenerateKey(nil)
		plan := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: rawSubject}
		der, err := x509.CreateCertificate(nil, plan, plan, pub, key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		n := clientNames{known: true}
		n.subject, n.strange = subjectOf(cert)
		p := &pass{cfg: empty, downTLS: &flow.TLS{Cert: flow.Yes}, client: n}
		_, in := p.certInput("SubjectInput")
		is := p.principal(node(t, `{"exact": "another"}`))
		if strange := want[0] == '?'; n.strange != strange || !strange && n.subject != want || (in == inputUnknown) != strange || (is == flow.Maybe) != strange {
			t.Errorf("%s: %q, strange %v, %v, %v", want, n.subject, n.strange, in, is)
		}
	}
}

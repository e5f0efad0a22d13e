package envoy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// clientCertificate is the handshake's part that the client's certificate decides; it sets
// what of it the rest of the pass sees. False: the pass has ended, and s is added.
func (p *pass) clientCertificate(s *flow.Step, config tree.Node, hello *flow.TLS) bool {
	k := p.cfg.clientCheck(config)
	p.valid, p.client = flow.No, clientNames{}
	p.downTLS.Cert = flow.No
	if !k.asked {
		return true
	}
	presented := hello.Cert
	if presented == flow.Maybe {
		presented = flow.Is(k.needed)
		why, flag := flow.WhyAssumedNoCert, "--cert FILE"
		if k.needed {
			why, flag = flow.WhyAssumedCert, "--cert none or --cert FILE"
		}
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: flow.Because(why), Flag: flag})
	}
	if presented == flow.No {
		if k.needed {
			return p.badHandshake(s, flow.Because(flow.WhyClientCertMissing))
		}
		return true
	}
	p.downTLS.Cert = flow.Yes
	if hello.Cert == flow.Yes {
		p.client = namesOf(hello)
	}
	if k.custom.Exists() {
		p.valid = flow.Maybe
		return p.opaque(flow.TransportSocket, "client certificate", flow.Because(flow.WhyNotModelled, "custom_validator_config"), k.custom)
	}
	return p.checkCertificate(s, k, hello.Cert == flow.Yes)
}

// checkCertificate holds a presented certificate against the chain's checks. What cannot be
// known is taken as passing, and said; said is whether the request names the certificate.
func (p *pass) checkCertificate(s *flow.Step, k *clientCheck, said bool) bool {
	n := &p.client
	var wanted []string
	for i := range k.sans {
		wanted = append(wanted, k.sans[i].want)
	}
	p.valid = flow.Yes
	for _, x := range []struct {
		is     flow.Answer
		failed flow.Reason
		taken  flow.Reason
		flag   string
	}{
		{k.trusted(n), flow.Because(flow.WhyClientCertUntrusted, n.text()), flow.Because(flow.WhyAssumedTrusted), "--cert FILE"},
		{k.names(n), flow.Because(flow.WhyClientCertNames, strings.Join(wanted, ", "), n.text()), flow.Because(flow.WhyAssumedNames, strings.Join(wanted, ", ")), "--san NAME or --cert FILE"},
		{k.pinned(n), flow.Because(flow.WhyClientCertPin), flow.Because(flow.WhyAssumedPin), "--cert FILE"},
	} {
		switch {
		case x.is == flow.No && !k.untrusted:
			return p.badHandshake(s, x.failed)
		case x.is == flow.No:
			p.valid = flow.No
		case x.is == flow.Maybe && said:
			s.Assumed = append(s.Assumed, flow.Assumption{Reason: x.taken, Flag: x.flag})
		}
	}
	if n.chain != nil && k.ca && k.dated {
		s.Assumed = append(s.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyAssumedDated, n.chain[0].NotAfter.UTC().Format("2006-01-02T15:04:05Z"))})
	}
	return true
}

// badHandshake ends the pass at a handshake that fails for the client's certificate.
func (p *pass) badHandshake(s *flow.Step, why flow.Reason) bool {
	s.Reason = why
	s.Facts = append(s.Facts, flow.Because(flow.WhyHandshakeEnd))
	p.refuse(*s, "", "")
	return false
}

// principal says whether the client's certificate has a name that a matcher fits: a URI, a
// DNS name, or its subject; without a certificate the name is "" (rbac/matchers.cc, measured
// in e2e/envoy, TestPrincipals).
func (p *pass) principal(m tree.Node) flow.Answer {
	if p.downTLS.Cert == flow.No {
		return p.cfg.stringMatch(m, "")
	}
	if !p.client.known {
		return flow.Maybe
	}
	a := flow.Maybe
	if !p.client.strange {
		a = p.cfg.stringMatch(m, p.client.subject)
	}
	for _, n := range p.client.sans {
		if n.kind == sanURI || n.kind == sanDNS {
			a = a.Or(p.cfg.stringMatch(m, n.text))
		}
	}
	return a
}

// certInput answers the inputs of envoy.extensions.matching.common_inputs.ssl.v3.
func (p *pass) certInput(kind string) (string, presence) {
	if p.downTLS == nil || p.downTLS.Cert == flow.No {
		return "", inputAbsent
	}
	if !p.client.known {
		return "", inputUnknown
	}
	var all []string
	switch kind {
	case "UriSanInput":
		all = p.client.of(sanURI)
	case "DnsSanInput":
		all = p.client.of(sanDNS)
	case "SubjectInput":
		if p.client.strange {
			return "", inputUnknown
		}
		if p.client.subject != "" {
			all = []string{p.client.subject}
		}
	}
	switch len(all) {
	case 0:
		return "", inputAbsent
	case 1:
		return all[0], inputPresent
	}
	return "", inputUnknown
}

// subjectOf is a certificate's subject as Envoy writes it (X509_NAME_print_ex, RFC 2253):
// strange where Go writes it in another way, or may, which is all but printable ASCII in
// attributes that both name alike, one in each part.
func subjectOf(c *x509.Certificate) (text string, strange bool) {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &names); err != nil || len(rest) > 0 {
		return "", true
	}
	for _, part := range names {
		for _, a := range part {
			value, ok := a.Value.(string)
			named := slices.ContainsFunc([]int{3, 6, 7, 8, 10, 11}, func(n int) bool { return a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, n}) }) // CN C L ST O OU
			plain := strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) < 0
			strange = strange || !ok || !named || !plain || len(part) > 1
		}
	}
	return names.String(), strange
}

// namesUnsaid is what to say where a rule asks for names of a certificate of which none are
// known.
func (p *pass) namesUnsaid() []flow.Assumption {
	if p.downTLS == nil || p.downTLS.Cert != flow.Yes || p.client.known {
		return nil
	}
	return []flow.Assumption{{Reason: flow.Because(flow.WhyNamesUnsaid), Flag: "--san NAME or --cert FILE"}}
}

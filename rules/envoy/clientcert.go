package envoy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// clientCheck is what a chain's TLS context wants of its clients' certificates, compiled
// (common/tls/cert_validator/default_validator.cc, server_context_impl.cc; measured in
// e2e/envoy, TestClientCertificates).
type clientCheck struct {
	// asked: the server asks for one, which it does where it has something to check it by.
	// needed: without one the handshake fails. require_client_certificate alone does neither.
	asked, needed bool
	// ca: a chain to trusted_ca is checked. open says that not all of what it holds is known.
	ca, open  bool
	roots     []*x509.Certificate
	sans      []sanTest
	pins      map[string]bool // SHA-256 in hex of a certificate or of its public key
	untrusted bool            // what fails the checks is accepted, and counts as not validated
	dated     bool            // the dates are checked
	custom    tree.Node       // a validator of its own
}

// sanTest is one SubjectAltNameMatcher.
type sanTest struct {
	kind  sanKind // sanAny: of the deprecated lists, which match every kind
	exact string  // of a DNS name, which may fit the certificate's wildcard; empty: text decides
	text  stringTest
	want  string // for a reader
}

type sanKind uint8

const (
	sanAny sanKind = iota
	sanEmail
	sanDNS
	sanURI
	sanIP
	sanOther
)

// clientCheck compiles the validation of a DownstreamTlsContext.
func (c *Config) clientCheck(config tree.Node) *clientCheck {
	return memo(c, config, func() *clientCheck {
		k := &clientCheck{dated: true}
		common := config.Field("common_tls_context")
		k.read(c, common.Field("validation_context"))
		k.secret(c, common.Field("validation_context_sds_secret_config"))
		both := common.Field("combined_validation_context")
		k.read(c, both.Field("default_validation_context"))
		k.secret(c, both.Field("validation_context_sds_secret_config"))
		for _, n := range []tree.Node{common, both} {
			if n.Field("validation_context_certificate_provider", "validation_context_certificate_provider_instance").Exists() {
				k.ca, k.open = true, true
			}
		}
		names := len(k.sans) > 0 || len(k.pins) > 0
		k.asked = k.ca || names || k.custom.Exists()
		k.needed = k.ca && config.Field("require_client_certificate").Bool(false) || names && !k.untrusted
		return k
	})
}

// secret adds a validation context that came by SDS. One that was not read leaves open what
// it holds; Envoy serves nothing before it came.
func (k *clientCheck) secret(c *Config, n tree.Node) {
	if !n.Exists() {
		return
	}
	if e := c.secrets[n.Field("name").Str()]; e != nil {
		k.read(c, e.node().Field("validation_context"))
		return
	}
	k.ca, k.open = true, true
}

// read adds a CertificateValidationContext.
func (k *clientCheck) read(c *Config, v tree.Node) {
	if !v.Exists() {
		return
	}
	if ca := v.Field("trusted_ca"); ca.Exists() {
		k.ca = true
		k.roots = certificatesIn(inlineBytes(ca))
		k.open = k.open || len(k.roots) == 0
	}
	if v.Field("system_root_certs", "ca_certificate_provider_instance").Exists() {
		k.ca, k.open = true, true
	}
	k.open = k.open || v.Field("crl", "max_verify_depth", "only_verify_leaf_cert_crl").Exists()
	switch v.Field("trust_chain_verification").Enum() {
	case "ACCEPT_UNTRUSTED", "1":
		k.untrusted = true
	}
	k.dated = k.dated && !v.Field("allow_expired_certificate").Bool(false)
	for _, m := range v.Field("match_typed_subject_alt_names").All() {
		k.sans = append(k.sans, readSANTest(sanKindOf(m.Field("san_type").Enum()), m.Field("matcher"), c.version))
	}
	for _, m := range v.Field("match_subject_alt_names").All() {
		k.sans = append(k.sans, readSANTest(sanAny, m, c.version))
	}
	for _, m := range v.Field("verify_certificate_hash").All() {
		k.pin(strings.ReplaceAll(lower(m.Str()), ":", ""))
	}
	for _, m := range v.Field("verify_certificate_spki").All() {
		if b, err := base64.StdEncoding.DecodeString(m.Str()); err == nil {
			k.pin(hex.EncodeToString(b))
		}
	}
	if x := v.Field("custom_validator_config"); x.Exists() {
		k.custom = x
	}
}

func (k *clientCheck) pin(digest string) {
	if k.pins == nil {
		k.pins = map[string]bool{}
	}
	k.pins[digest] = true
}

func sanKindOf(enum string) sanKind {
	switch enum {
	case "EMAIL", "1":
		return sanEmail
	case "DNS", "2":
		return sanDNS
	case "URI", "3":
		return sanURI
	case "IP_ADDRESS", "4":
		return sanIP
	}
	return sanOther
}

func readSANTest(kind sanKind, m tree.Node, v Version) sanTest {
	t := sanTest{kind: kind, text: readStringMatcher(m, v), want: sanText(m)}
	if exact := m.Field("exact"); exact.Exists() && (kind == sanDNS || kind == sanAny) {
		t.exact = exact.Str()
	}
	return t
}

// match says whether one of the names fits.
func (t *sanTest) match(names []san) flow.Answer {
	if t.kind == sanOther {
		return flow.Maybe // names of that kind are not read
	}
	a := flow.No
	for _, n := range names {
		switch {
		case t.kind != sanAny && t.kind != n.kind:
		case t.exact != "" && n.kind == sanDNS:
			a = a.Or(flow.Is(dnsFits(lower(t.exact), lower(n.text))))
		default:
			a = a.Or(t.text.match(n.text))
		}
	}
	return a
}

// dnsFits says whether a name fits the DNS name of a certificate, in which the first label
// may hold a * (tls/utility.cc, dnsNameMatch).
func dnsFits(name, pattern string) bool {
	if name == pattern {
		return true
	}
	first, rest, ok1 := strings.Cut(name, ".")
	glob, after, ok2 := strings.Cut(pattern, ".")
	head, tail, ok3 := strings.Cut(glob, "*")
	if !ok1 || !ok2 || !ok3 || strings.Contains(after, "*") || strings.Contains(tail, "*") || strings.HasPrefix(glob, "xn--") {
		return false
	}
	return rest == after && len(glob) <= len(first)+1 && strings.HasPrefix(first, head) && strings.HasSuffix(first, tail)
}

// san is a name of a certificate.
type san struct {
	kind sanKind
	text string
}

// clientNames is what is known of the certificate that the client presented.
type clientNames struct {
	known   bool
	sans    []san
	subject string
	strange bool                // how Envoy writes its subject is not known
	chain   []*x509.Certificate // its own first; nil: only names are known
}

// namesOf reads what the client says of its certificate.
func namesOf(t *flow.TLS) clientNames {
	var n clientNames
	if n.chain = certificatesIn(t.Certificate); n.chain != nil {
		leaf := n.chain[0]
		n.known = true
		n.subject, n.strange = subjectOf(leaf)
		for _, x := range leaf.URIs {
			n.sans = append(n.sans, san{sanURI, x.String()})
		}
		for _, x := range leaf.DNSNames {
			n.sans = append(n.sans, san{sanDNS, x})
		}
		for _, x := range leaf.EmailAddresses {
			n.sans = append(n.sans, san{sanEmail, x})
		}
		for _, x := range leaf.IPAddresses {
			n.sans = append(n.sans, san{sanIP, x.String()})
		}
		return n
	}
	n.known = len(t.SANs) > 0
	for _, x := range t.SANs {
		n.sans = append(n.sans, san{sanKindLike(x), x})
	}
	return n
}

// sanKindLike is the kind of a name by its form.
func sanKindLike(s string) sanKind {
	if strings.Contains(s, "://") {
		return sanURI
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return sanIP
	}
	if strings.Contains(s, "@") {
		return sanEmail
	}
	return sanDNS
}

// of are the names of one kind.
func (n *clientNames) of(kind sanKind) (out []string) {
	for _, x := range n.sans {
		if x.kind == kind {
			out = append(out, x.text)
		}
	}
	return out
}

// text is the names for a reader.
func (n *clientNames) text() string {
	var out []string
	for _, x := range n.sans {
		out = append(out, x.text)
	}
	if len(out) == 0 && n.subject != "" {
		return n.subject
	}
	return strings.Join(out, ", ")
}

// certificatesIn are the certificates of a PEM text; nil where there is none, or where one
// of them cannot be read.
func certificatesIn(text []byte) (out []*x509.Certificate) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return out
		}
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil
		}
		out = append(out, cert)
	}
}

// names says whether the certificate has a name that is asked for.
func (k *clientCheck) names(n *clientNames) flow.Answer {
	switch {
	case len(k.sans) == 0:
		return flow.Yes
	case !n.known:
		return flow.Maybe
	}
	a := flow.No
	for i := range k.sans {
		a = a.Or(k.sans[i].match(n.sans))
	}
	return a
}

// pinned says whether it is a certificate, or has a key, that is listed.
func (k *clientCheck) pinned(n *clientNames) flow.Answer {
	switch {
	case len(k.pins) == 0:
		return flow.Yes
	case n.chain == nil:
		return flow.Maybe
	}
	whole, key := sha256.Sum256(n.chain[0].Raw), sha256.Sum256(n.chain[0].RawSubjectPublicKeyInfo)
	return flow.Is(k.pins[hex.EncodeToString(whole[:])] || k.pins[hex.EncodeToString(key[:])])
}

// trusted says whether a certificate of trusted_ca signed it. The dates are not looked at: a
// trace asks no clock.
func (k *clientCheck) trusted(n *clientNames) flow.Answer {
	switch {
	case !k.ca:
		return flow.Yes
	case n.chain == nil || k.open:
		return flow.Maybe
	}
	opt := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range k.roots {
		opt.Roots.AddCert(c)
	}
	for _, c := range n.chain[1:] {
		opt.Intermediates.AddCert(c)
	}
	for _, c := range append(slices.Clip(n.chain), k.roots...) {
		if c.NotBefore.After(opt.CurrentTime) {
			opt.CurrentTime = c.NotBefore
		}
	}
	if chains, err := n.chain[0].Verify(opt); err == nil {
		top := chains[0][len(chains[0])-1]
		if string(top.RawSubject) == string(top.RawIssuer) {
			return flow.Yes
		}
		return flow.Maybe // Envoy may want a chain up to a root
	}
	return k.signedByNone(n.chain)
}

// signedByNone is No where no certificate of trusted_ca can have signed one of the chain,
// else Maybe: what Go refuses for another reason, Envoy need not.
func (k *clientCheck) signedByNone(chain []*x509.Certificate) flow.Answer {
	for _, c := range chain {
		for _, ca := range k.roots {
			if string(c.RawIssuer) != string(ca.RawSubject) {
				continue
			}
			if err := ca.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err == nil || !plainlyWrong(c, ca) {
				return flow.Maybe
			}
		}
	}
	return flow.No
}

// plainlyWrong says that a signature that does not fit was checked by an algorithm that Go
// knows and does not call too weak.
func plainlyWrong(c, ca *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS, x509.PureEd25519:
		return ca.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm
	}
	return false
}

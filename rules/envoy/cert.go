package envoy

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// certificate says of the first certificate of a chain (core.v3.DataSource) its names and
// when it ends, such as "a.example.com until 2026-11-24T03:17:03Z"; for a file what /certs
// knows of it, else its path; empty where nothing is known.
func (c *Config) certificate(chain tree.Node) string {
	if !chain.Exists() {
		return ""
	}
	return *memo(c, chain, func() *string {
		s := ""
		switch text := inlineBytes(chain); {
		case text != nil:
			s = describeCertificate(text)
		case chain.Field("filename").Exists():
			path := chain.Field("filename").Str()
			if s = c.certs[path]; s == "" {
				s = "file " + path
			}
		}
		return &s
	})
}

// inlineBytes is the content of a DataSource that holds it.
func inlineBytes(n tree.Node) []byte {
	if b := n.Field("inline_bytes"); b.Exists() {
		text, err := base64.StdEncoding.DecodeString(b.Str())
		if err != nil {
			return []byte{} // redacted by another tool
		}
		return text
	}
	if s := n.Field("inline_string"); s.Exists() {
		return []byte(s.Str())
	}
	return nil
}

// describeCertificate reads the first certificate of a PEM text.
func describeCertificate(text []byte) string {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return ""
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return ""
		}
		var names []string
		for _, u := range cert.URIs {
			names = append(names, u.String())
		}
		names = append(names, cert.DNSNames...)
		for _, ip := range cert.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			names = append(names, cert.Subject.String())
		}
		return strings.Join(names, ", ") + " until " + cert.NotAfter.UTC().Format("2006-01-02T15:04:05Z")
	}
}

// certificates says of all certificates that a CommonTlsContext presents, inline or by SDS.
func (c *Config) certificates(common tree.Node) string {
	var out []string
	add := func(chain tree.Node) {
		if s := c.certificate(chain); s != "" {
			out = append(out, s)
		}
	}
	for _, n := range common.Field("tls_certificates").All() {
		add(n.Field("certificate_chain"))
	}
	for _, n := range common.Field("tls_certificate_sds_secret_configs").All() {
		if e := c.secrets[n.Field("name").Str()]; e != nil {
			add(e.node().Path("tls_certificate", "certificate_chain"))
		}
	}
	return strings.Join(out, "; ")
}

// unreadSecrets are the secrets of a CommonTlsContext that came by SDS and that a partial
// reading has not brought yet.
func (c *Config) unreadSecrets(common tree.Node) (names []string) {
	if c.complete[dynamicListeners] {
		return nil
	}
	for _, name := range sdsSecrets(common) {
		if c.secrets[name] == nil && c.has(name, staticSecrets, dynamicActiveSecrets) == unread {
			names = append(names, name)
		}
	}
	return names
}

// unsupplied is a secret of a CommonTlsContext that Envoy waits for still: it opens no
// connection by such a context, nor keeps one (ssl_socket.cc, NotReadySslSocket). The reason
// is none where it has them all, and where that is not known.
func (c *Config) unsupplied(common tree.Node) (flow.Reason, []flow.Evidence) {
	for _, name := range sdsSecrets(common) {
		switch e := c.awaited[name]; {
		case c.secrets[name] != nil:
		case e != nil:
			return flow.Because(flow.WhySecretAwaited, name), evidence(e.node())
		case !c.complete[dynamicListeners] && c.has(name, staticSecrets, dynamicActiveSecrets) == absent:
			// It was asked for by name. A whole dump lists it as warming; of one in which it is nowhere see taken.
			return flow.Because(flow.WhySecretAwaited, name), nil
		}
	}
	return flow.Reason{}, nil
}

// taken are the secrets of a CommonTlsContext that a whole dump does not have at all, as one
// that was cut or made by others: whether they came is not known.
func (c *Config) taken(common tree.Node) (out []flow.Assumption) {
	if !c.complete[dynamicListeners] {
		return nil
	}
	for _, name := range sdsSecrets(common) {
		if c.secrets[name] == nil && c.awaited[name] == nil {
			out = append(out, flow.Assumption{Reason: flow.Because(flow.WhySecretTaken, name)})
		}
	}
	return out
}

// sdsSecrets are the names of the secrets that a CommonTlsContext takes by SDS.
func sdsSecrets(common tree.Node) (names []string) {
	add := func(n tree.Node) {
		if n.Exists() {
			names = append(names, n.Field("name").Str())
		}
	}
	for _, n := range common.Field("tls_certificate_sds_secret_configs").All() {
		add(n)
	}
	add(common.Field("validation_context_sds_secret_config"))
	add(common.Path("combined_validation_context", "validation_context_sds_secret_config"))
	return names
}

// lacks names secrets that a further read can bring.
func (p *pass) lacks(secrets []string) {
	for _, name := range secrets {
		p.res.Needs = append(p.res.Needs, flow.Need{Part: partSecret, Name: name})
	}
}

// readCerts reads /certs, for certificates that are files (envoy/admin/v3/certs.proto).
func (c *Config) readCerts(name string, raw []byte) error {
	n, err := document(name, raw)
	if err != nil {
		return err
	}
	c.certs = map[string]string{}
	for _, list := range n.Field("certificates").All() {
		for _, d := range list.Field("cert_chain").All() {
			var names []string
			for _, san := range d.Field("subject_alt_names").All() {
				for _, v := range san.Members() {
					names = append(names, v.Str())
				}
			}
			c.certs[d.Field("path").Str()] = strings.TrimSpace(strings.Join(names, ", ") + " until " + d.Field("expiration_time").Str())
		}
	}
	return nil
}

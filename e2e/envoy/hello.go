package envoy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"
)

// certificate is one self-signed pair that plays server, client and authority, and what
// other clients present.
type certificate struct {
	cert, key []byte // PEM
	pair      tls.Certificate
	pairs     map[string]tls.Certificate // by what TLS.Pair says
	leaf      *x509.Certificate
	signer    *ecdsa.PrivateKey
}

func newCertificate() (*certificate, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "oracle"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		DNSNames: []string{"oracle.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	kb, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, err
	}
	c := &certificate{cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kb})}
	c.pair, err = tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, err
	}
	c.pairs = map[string]tls.Certificate{"": c.pair}
	c.leaf, c.signer = c.pair.Leaf, k
	return c, c.others()
}

// others makes the clients' other certificates: signed by the oracle's, of which one has
// names of two kinds, one a wildcard, one none at all, and one has ended; and one that a stranger signed with
// the oracle's names.
func (c *certificate) others() error {
	workload := &url.URL{Scheme: "spiffe", Host: "mesh", Path: "/ns/a/sa/x"}
	for name, t := range map[string]*x509.Certificate{
		"workload": {URIs: []*url.URL{workload}, DNSNames: []string{"svc.test"}},
		"wild":     {DNSNames: []string{"*.wild.test"}, EmailAddresses: []string{"a@wild.test"}},
		"bare":     {},
		"ended":    {DNSNames: c.leaf.DNSNames, NotAfter: time.Now().Add(-time.Minute)},
		"stranger": {DNSNames: c.leaf.DNSNames, IPAddresses: c.leaf.IPAddresses},
	} {
		t.SerialNumber, t.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name, Organization: []string{"test"}}
		t.NotBefore, t.KeyUsage = time.Now().Add(-time.Hour), x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if t.NotAfter.IsZero() {
			t.NotAfter = time.Now().Add(time.Hour)
		}
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		parent, signer := c.leaf, c.signer
		if name == "stranger" {
			parent, signer = t, k
		}
		der, err := x509.CreateCertificate(rand.Reader, t, parent, &k.PublicKey, signer)
		if err != nil {
			return err
		}
		c.pairs[name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
	return nil
}

// clientHello is a TLS record made by hand, so that any name and any ALPN can be sent
// (RFC 8446, 4.1.2).
func clientHello(sni string, alpn []string) []byte {
	u16 := func(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
	sized := func(b []byte) []byte { return append(u16(len(b)), b...) }
	extension := func(kind int, b []byte) []byte { return append(u16(kind), sized(b)...) }
	random := make([]byte, 96)
	rand.Read(random)
	var ext []byte
	if sni != "" {
		ext = append(ext, extension(0, sized(append([]byte{0}, sized([]byte(sni))...)))...)
	}
	ext = append(ext, extension(10, []byte{0, 4, 0, 29, 0, 23})...)           // supported_groups
	ext = append(ext, extension(11, []byte{1, 0})...)                         // ec_point_formats
	ext = append(ext, extension(13, []byte{0, 8, 4, 3, 8, 4, 4, 1, 5, 3})...) // signature_algorithms
	ext = append(ext, extension(43, []byte{4, 3, 4, 3, 3})...)                // supported_versions 1.3, 1.2
	ext = append(ext, extension(45, []byte{1, 1})...)                         // psk_key_exchange_modes
	ext = append(ext, extension(51, append([]byte{0, 36, 0, 29, 0, 32}, random[64:]...))...)
	if len(alpn) > 0 {
		var l []byte
		for _, a := range alpn {
			l = append(append(l, byte(len(a))), a...)
		}
		ext = append(ext, extension(16, sized(l))...)
	}
	body := append([]byte{3, 3}, random[:32]...)
	body = append(append(body, 32), random[32:64]...)
	body = append(body, sized([]byte{0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0, 0x9c})...)
	body = append(body, 1, 0) // no compression
	body = append(body, sized(ext)...)
	message := append([]byte{1, 0}, sized(body)...)
	return append([]byte{22, 3, 1}, sized(message)...)
}

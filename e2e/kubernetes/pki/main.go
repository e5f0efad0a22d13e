// Command pki writes the keys of a cluster that lives for a test: one authority, what it
// signed for each component, and their kubeconfigs.
//
//	pki DIR SERVER NODE ADDRESS...
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pki:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return errors.New("want DIR SERVER NODE ADDRESS")
	}
	dir, server, node := args[0], args[1], args[2]
	var addrs []net.IP
	for _, a := range args[3:] {
		ip := net.ParseIP(a)
		if ip == nil {
			return fmt.Errorf("%q is no address", a)
		}
		addrs = append(addrs, ip)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", node}
	for _, c := range []struct {
		file   string
		sign   x509.Certificate
		config bool // with a kubeconfig
	}{
		{"apiserver", subject("kube-apiserver", names, addrs), false},
		{"kubelet-server", subject(node, []string{node}, addrs), false},
		{"apiserver-kubelet", subject("kube-apiserver-kubelet-client", nil, nil, "system:masters"), false},
		{"admin", subject("kubernetes-admin", nil, nil, "system:masters"), true},
		{"manager", subject("system:kube-controller-manager", nil, nil), true},
		{"scheduler", subject("system:kube-scheduler", nil, nil), true},
		{"proxy", subject("system:kube-proxy", nil, nil), true},
		{"kubelet", subject("system:node:"+node, nil, nil, "system:nodes"), true},
	} {
		crt, key, err := a.issue(c.file, c.sign)
		if err != nil {
			return err
		}
		if c.config {
			if err := a.put(c.file+".kubeconfig", kubeconfig(server, a.pem, crt, key)); err != nil {
				return err
			}
		}
	}
	return a.accounts()
}

func subject(name string, names []string, addrs []net.IP, groups ...string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: groups}, DNSNames: names, IPAddresses: addrs}
}

// authority signs.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	pem    []byte
	serial int64
}

func newAuthority(dir string) (*authority, error) {
	key, _, err := newKey()
	if err != nil {
		return nil, err
	}
	now := time.Now().Add(-time.Hour) // the clocks of two namespaces are one, those of two machines are not
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "meshtop-test"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, cert: c, key: key, pem: block("CERTIFICATE", der), serial: 1}
	return a, a.put("ca.crt", a.pem)
}

func (a *authority) put(name string, b []byte) error {
	return os.WriteFile(filepath.Join(a.dir, name), b, 0o600)
}

// issue signs c for a new key, and writes both.
func (a *authority) issue(file string, c x509.Certificate) (crt, key []byte, err error) {
	k, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	a.serial++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.serial), a.cert.NotBefore, a.cert.NotAfter
	c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, &c, a.cert, &k.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	crt = block("CERTIFICATE", der)
	return crt, key, errors.Join(a.put(file+".crt", crt), a.put(file+".key", key))
}

// accounts writes the key that signs the tokens of ServiceAccounts.
func (a *authority) accounts() error {
	k, key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return err
	}
	return errors.Join(a.put("sa.key", key), a.put("sa.pub", block("PUBLIC KEY", der)))
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(k)
	return k, block("EC PRIVATE KEY", der), err
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func kubeconfig(server string, ca, crt, key []byte) []byte {
	b := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: test
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: test
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: test
  context: {cluster: test, user: test}
current-context: test
`, server, b(ca), b(crt), b(key))
}

// Package request reads one request as programs and people write it (the JSON form of
// docs/architecture.md, a curl command, an address or URL) and writes it as JSON. It
// decides nothing about where the request goes.
package request

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Form is the JSON form of a request. What is absent means its default; TLS absent
// means no TLS, HTTP absent raw bytes.
type Form struct {
	Direction string            `json:"direction"`
	Src       string            `json:"src"`
	Dst       string            `json:"dst"`
	Proto     string            `json:"proto"`
	UID       uint32            `json:"uid"`
	GID       uint32            `json:"gid"`
	Mark      uint32            `json:"mark"`
	In        string            `json:"in"`
	TLS       *TLSForm          `json:"tls,omitempty"`
	Pick      map[string]string `json:"pick"`
	HTTP      *HTTPForm         `json:"http,omitempty"`
	// Payload is what a raw client sends first; absent means bytes of no known protocol,
	// empty a client that waits.
	Payload *string `json:"payload,omitempty"`
	// Named is where the address of dst came from; absent: it was written as an address.
	Named *NamedForm `json:"named,omitempty"`
}

// NamedForm is the JSON form of where an address came from.
type NamedForm struct {
	Name    string       `json:"name"`
	Full    string       `json:"full,omitempty"`
	By      string       `json:"by"` // hosts, server, program, service, localhost
	Where   string       `json:"where,omitempty"`
	Addrs   []netip.Addr `json:"addrs"`
	NoRoute int          `json:"noRoute,omitempty"`
	Via     string       `json:"via,omitempty"` // where the rules bring the question instead
	Picked  bool         `json:"picked,omitempty"`
}

func namedForm(n *flow.Named) *NamedForm {
	if n == nil {
		return nil
	}
	f := &NamedForm{Name: n.Name, Full: n.Full, By: n.By.String(), Where: n.Where, Addrs: n.Addrs, NoRoute: n.NoRoute, Picked: n.Picked}
	if n.Via.IsValid() {
		f.Via = n.Via.String()
	}
	return f
}

// named is what the form means. Who answered is kept as it was said.
func (f *NamedForm) named() (*flow.Named, error) {
	if f == nil {
		return nil, nil
	}
	n := &flow.Named{Name: f.Name, Full: f.Full, By: flow.ParseNamedBy(f.By), Where: f.Where, Addrs: f.Addrs, NoRoute: f.NoRoute, Picked: f.Picked}
	if n.By == flow.NamedServer {
		n.Server, _ = netip.ParseAddrPort(f.Where)
	}
	if f.Via == "" {
		return n, nil
	}
	var err error
	if n.Via, err = netip.ParseAddrPort(f.Via); err != nil {
		return nil, fmt.Errorf("request: named: via: %w", err)
	}
	return n, nil
}

// TLSForm is the JSON form of what a TLS client says.
type TLSForm struct {
	SNI  string   `json:"sni"`
	ALPN []string `json:"alpn"`
	// Cert says whether the client presents a certificate; absent: nobody said. SANs and
	// Certificate (PEM) say which, and that it does.
	Cert        *bool    `json:"cert,omitempty"`
	SANs        []string `json:"sans,omitempty"`
	Certificate string   `json:"certificate,omitempty"`
}

// HTTPForm is the JSON form of an HTTP request.
type HTTPForm struct {
	Method    string      `json:"method"`
	Scheme    string      `json:"scheme,omitempty"`
	Authority string      `json:"authority"`
	Path      string      `json:"path"`
	Headers   [][2]string `json:"headers"`
	Version   string      `json:"version,omitempty"`
	// Body is what follows the head. It is only read: what is written has its size alone, in
	// bytes, negative where that is not known.
	Body     *string `json:"body,omitempty"`
	BodySize *int    `json:"bodySize,omitempty"`
}

// FormOf is the JSON form of r.
func FormOf(r flow.Request) Form {
	f := Form{Direction: r.Dir.String(), Src: AddrPort(r.Src), Dst: AddrPort(r.Dst), Proto: r.Proto.String(),
		UID: r.UID, GID: r.GID, Mark: r.Mark, In: r.In, Pick: r.Pick, Named: namedForm(r.Named)}
	if r.Proto == 0 {
		f.Proto = flow.TCP.String()
	}
	if f.Pick == nil {
		f.Pick = map[string]string{}
	}
	if r.TLS != nil {
		f.TLS = tlsForm(r.TLS)
	}
	if h := r.HTTP; h != nil {
		f.HTTP = &HTTPForm{Method: orElse(h.Method, "GET"), Scheme: h.Scheme, Authority: h.Authority,
			Path: orElse(h.Path, "/"), Headers: h.Headers, Version: h.Version}
		if f.HTTP.Headers == nil {
			f.HTTP.Headers = [][2]string{}
		}
		if h.Body != nil {
			f.HTTP.BodySize = &h.Body.Size
		}
	}
	if r.Payload != nil {
		s := string(r.Payload)
		f.Payload = &s
	}
	return f
}

func tlsForm(t *flow.TLS) *TLSForm {
	f := &TLSForm{SNI: t.SNI, ALPN: t.ALPN, SANs: t.SANs, Certificate: string(t.Certificate)}
	if f.ALPN == nil {
		f.ALPN = []string{}
	}
	if t.Cert != flow.Maybe {
		yes := t.Cert == flow.Yes
		f.Cert = &yes
	}
	return f
}

// tls is the client that the form means.
func (f *TLSForm) tls() (*flow.TLS, error) {
	t := &flow.TLS{SNI: f.SNI, ALPN: f.ALPN, SANs: f.SANs}
	named := f.SANs != nil || f.Certificate != ""
	switch {
	case f.Cert != nil && !*f.Cert && named:
		return nil, fmt.Errorf("request: tls: cert is false, so there are neither sans nor a certificate")
	case f.SANs != nil && f.Certificate != "":
		return nil, fmt.Errorf("request: tls: the certificate holds its names; sans cannot stand beside it")
	case f.Cert != nil || named:
		t.Cert = flow.Is(named || *f.Cert)
	}
	if f.Certificate == "" {
		return t, nil
	}
	return t, SetCertificate(t, []byte(f.Certificate))
}

// SetCertificate says that the client presents the certificates of a PEM text, its own first.
// What else the text holds, such as a private key, is left out.
func SetCertificate(t *flow.TLS, text []byte) error {
	var out []byte
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("client certificate: %w", err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})...)
	}
	if out == nil {
		return fmt.Errorf("client certificate: no CERTIFICATE in PEM")
	}
	t.Cert, t.SANs, t.Certificate = flow.Yes, nil, out
	return nil
}

// AddrPort writes an address as the JSON form does; a zero one is 0.0.0.0:0.
func AddrPort(a netip.AddrPort) string {
	if !a.Addr().IsValid() {
		return "0.0.0.0:" + strconv.Itoa(int(a.Port()))
	}
	return a.String()
}

// Parse reads the JSON form. A field that the form does not have is an error: a typing
// mistake must not read as a default.
func Parse(data []byte) (flow.Request, error) {
	f, err := parseForm(data)
	if err != nil {
		return flow.Request{}, err
	}
	return f.Request()
}

// ParseDraft is Parse of a form whose dst may be a name with its port, which somebody must look up.
func ParseDraft(data []byte) (Draft, error) {
	f, err := parseForm(data)
	if err != nil {
		return Draft{}, err
	}
	at := strings.LastIndexByte(f.Dst, ':')
	if _, bad := Addr(f.Dst, 0); bad == nil || at < 0 || hostName(f.Dst, f.Dst[:at]) != nil {
		r, err := f.Request()
		return Draft{Request: r}, err
	}
	host := f.Dst[:at]
	f.Dst = "0.0.0.0" + f.Dst[at:]
	r, err := f.Request()
	if err != nil {
		return Draft{}, err
	}
	r.Dst = netip.AddrPortFrom(netip.Addr{}, r.Dst.Port())
	if r.HTTP != nil && r.HTTP.Authority == "" {
		r.HTTP.Authority = host
	}
	return Draft{Request: r, Host: host}, nil
}

func parseForm(data []byte) (f Form, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return f, fmt.Errorf("request: %w", err)
	}
	if _, err := dec.Token(); err == nil {
		return f, fmt.Errorf("request: more text after the object")
	}
	return f, nil
}

// Request is the request that the form means.
func (f Form) Request() (flow.Request, error) {
	r := flow.Request{UID: f.UID, GID: f.GID, Mark: f.Mark, In: f.In}
	var err error
	if r.Dir, err = direction(f.Direction); err != nil {
		return r, err
	}
	if r.Proto, err = Proto(f.Proto); err != nil {
		return r, err
	}
	if f.Dst == "" {
		return r, fmt.Errorf("request: dst is missing")
	}
	if r.Dst, err = Addr(f.Dst, 0); err != nil {
		return r, fmt.Errorf("request: dst: %w", err)
	}
	if r.Dst.Port() == 0 && (r.Proto == flow.TCP || r.Proto == flow.UDP) {
		return r, fmt.Errorf("request: dst %q has no port", f.Dst)
	}
	if f.Src != "" {
		if r.Src, err = Addr(f.Src, 0); err != nil {
			return r, fmt.Errorf("request: src: %w", err)
		}
	}
	if f.TLS != nil {
		if r.TLS, err = f.TLS.tls(); err != nil {
			return r, err
		}
	}
	if h := f.HTTP; h != nil {
		r.HTTP = &flow.HTTP{Method: h.Method, Scheme: h.Scheme, Authority: h.Authority, Path: h.Path, Headers: h.Headers, Version: h.Version}
		if err := h.setBody(r.HTTP); err != nil {
			return r, fmt.Errorf("request: %w", err)
		}
	}
	if f.Payload != nil {
		r.Payload = []byte(*f.Payload)
	}
	if len(f.Pick) > 0 {
		r.Pick = f.Pick
	}
	r.Named, err = f.Named.named()
	return r, err
}

func direction(s string) (flow.Direction, error) {
	switch s {
	case "", "outbound":
		return flow.Outbound, nil
	case "inbound":
		return flow.Inbound, nil
	}
	return 0, fmt.Errorf("request: direction %q: outbound or inbound", s)
}

// Proto reads tcp, udp or a protocol number; empty is tcp.
func Proto(s string) (flow.Proto, error) {
	switch strings.ToLower(s) {
	case "", "tcp":
		return flow.TCP, nil
	case "udp":
		return flow.UDP, nil
	case "icmp":
		return 1, nil
	case "ipv6-icmp", "icmpv6":
		return 58, nil
	case "sctp":
		return 132, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("protocol %q: tcp, udp or a number from 1 to 255", s)
	}
	return flow.Proto(n), nil
}

func orElse(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

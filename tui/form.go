package tui

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

// fieldID names a row of the request form.
type fieldID uint8

const (
	fDirection fieldID = iota
	fTo
	fProtocol
	fMethod
	fHost
	fPath
	fHeaders // the first of them; more follow in form.headers
	fSNI
	fALPN
	fUID
	fGID
	fSource
	fMark
	fDevice
	fieldEnd
)

var fieldNames = [fieldEnd]string{"direction", "to", "protocol", "method", "host", "path", "headers", "SNI", "ALPN", "uid", "gid", "source", "mark", "device"}

// The choices of the two rows that are no text.
const (
	outbound, inbound = 0, 1

	protoHTTP = iota - 1
	protoHTTPS
	protoTCP
	protoTLS
	protoUDP
)

func choicesOf(id fieldID) []string {
	switch id {
	case fDirection:
		return []string{"outbound", "inbound"}
	case fProtocol:
		return []string{"http", "https", "tcp", "tls", "udp"}
	}
	return nil
}

// form is a request while it is made.
type form struct {
	text    [fieldEnd]field
	choice  [fieldEnd]int
	headers []field
	base    flow.Request // what the form has no row for: certificate, version, pick
}

// fill shows a request in the form.
func (f *form) fill(r flow.Request) {
	*f = form{base: r}
	f.choice[fDirection] = int(r.Dir)
	f.choice[fProtocol] = protocolOf(r)
	set := func(id fieldID, s string) { f.text[id].set(s) }
	if r.Dst.IsValid() {
		set(fTo, r.Dst.String())
	}
	set(fUID, fmt.Sprint(r.UID))
	set(fGID, fmt.Sprint(r.GID))
	if r.Mark != 0 {
		set(fMark, fmt.Sprintf("0x%x", r.Mark))
	}
	set(fDevice, r.In)
	if r.Src.Addr().IsValid() && !r.Src.Addr().IsUnspecified() {
		set(fSource, strings.TrimSuffix(r.Src.String(), ":0"))
	}
	if r.TLS != nil {
		set(fSNI, r.TLS.SNI)
		set(fALPN, strings.Join(r.TLS.ALPN, ","))
	}
	if h := r.HTTP; h != nil {
		set(fMethod, h.Method)
		if h.Authority != r.Dst.Addr().String() {
			set(fHost, h.Authority)
		}
		set(fPath, h.Path)
		for _, kv := range h.Headers {
			f.headers = append(f.headers, newField(kv[0]+": "+kv[1]))
		}
	}
	f.headers = append(f.headers, field{})
}

func protocolOf(r flow.Request) int {
	switch {
	case r.Proto == flow.UDP:
		return protoUDP
	case r.HTTP != nil && r.TLS != nil:
		return protoHTTPS
	case r.HTTP != nil:
		return protoHTTP
	case r.TLS != nil:
		return protoTLS
	}
	return protoTCP
}

// applies says whether a row means something for what is chosen; others are dimmed.
func (f *form) applies(id fieldID) bool {
	p := f.choice[fProtocol]
	switch id {
	case fMethod, fHost, fPath, fHeaders:
		return p == protoHTTP || p == protoHTTPS
	case fSNI, fALPN:
		return p == protoHTTPS || p == protoTLS
	case fUID, fGID, fMark:
		return f.choice[fDirection] == outbound
	case fDevice:
		return f.choice[fDirection] == inbound
	}
	return true
}

// hint is what an empty row means.
func (f *form) hint(id fieldID) string {
	switch {
	case !f.applies(id):
		switch id {
		case fSNI, fALPN:
			return "not tls"
		case fUID, fGID, fMark:
			return "of outbound only"
		case fDevice:
			return "of inbound only"
		}
		return "not http"
	case id == fMethod:
		return "GET"
	case id == fHost:
		return "auto: as in to"
	case id == fPath:
		return "/"
	case id == fHeaders:
		return "+ add   name: value"
	case id == fSNI:
		return "none"
	case id == fALPN:
		return "none"
	case id == fSource:
		if f.choice[fDirection] == inbound {
			return "any"
		}
		return "the pod's own"
	case id == fDevice:
		return "as the routes say"
	case id == fTo:
		return "HOST:PORT or a URL"
	}
	return "0"
}

// request is what the form means; its destination is an address.
func (f *form) request() (flow.Request, error) {
	d, err := f.draft()
	if err == nil && d.Host != "" {
		err = fmt.Errorf("%q is a name: the pod's own resolver is asked for its address first", d.Host)
	}
	return d.Request, err
}

// draft is what the form means; a name in to is not looked up yet.
func (f *form) draft() (request.Draft, error) {
	t, err := request.ParseTarget(strings.TrimSpace(f.text[fTo].String()))
	if err != nil {
		return request.Draft{Request: f.base}, err
	}
	r, err := f.to(t)
	return request.Draft{Request: r, Host: t.Host}, err
}

// to is the request that goes to t.
func (f *form) to(t request.Target) (flow.Request, error) {
	r := f.base
	r.Dir, r.Proto, r.TLS, r.HTTP, r.In = flow.Direction(f.choice[fDirection]), flow.TCP, nil, nil, ""
	r.UID, r.GID, r.Mark, r.Src = 0, 0, 0, netip.AddrPort{}
	r.Dst = netip.AddrPortFrom(t.Addr, t.Port)
	if r.Named != nil && !slices.Contains(r.Named.Addrs, t.Addr) {
		r.Named = nil // another address was written
	}
	var err error
	if r.Dir == flow.Outbound {
		for _, n := range []struct {
			id fieldID
			to *uint32
		}{{fUID, &r.UID}, {fGID, &r.GID}, {fMark, &r.Mark}} {
			if *n.to, err = number(fieldNames[n.id], f.text[n.id].String()); err != nil {
				return r, err
			}
		}
	} else {
		r.In = strings.TrimSpace(f.text[fDevice].String())
	}
	if s := strings.TrimSpace(f.text[fSource].String()); s != "" {
		if r.Src, err = request.Addr(s, 0); err != nil {
			return r, fmt.Errorf("source: %w", err)
		}
	}
	return r, f.layers(&r, t)
}

// url takes from a URL in to what it says of the other rows.
func (f *form) url() {
	t, err := request.ParseTarget(strings.TrimSpace(f.text[fTo].String()))
	if err != nil || t.Scheme == "" {
		return
	}
	f.choice[fProtocol] = protoHTTP
	if t.Scheme == "https" {
		f.choice[fProtocol] = protoHTTPS
	}
	f.text[fHost].set("")
	f.text[fPath].set(t.Path)
}

// layers adds TLS and HTTP.
func (f *form) layers(r *flow.Request, t request.Target) error {
	p := f.choice[fProtocol]
	if p == protoUDP {
		r.Proto = flow.UDP
	}
	if p == protoHTTPS || p == protoTLS {
		r.TLS = &flow.TLS{SNI: strings.TrimSpace(f.text[fSNI].String())}
		if f.base.TLS != nil {
			r.TLS.Cert, r.TLS.SANs, r.TLS.Certificate = f.base.TLS.Cert, f.base.TLS.SANs, f.base.TLS.Certificate
		}
		if s := strings.TrimSpace(f.text[fALPN].String()); s != "" {
			for _, a := range strings.Split(s, ",") {
				r.TLS.ALPN = append(r.TLS.ALPN, strings.TrimSpace(a))
			}
		}
	}
	if p != protoHTTP && p != protoHTTPS {
		return nil
	}
	r.Payload = nil
	h := &flow.HTTP{Method: or(strings.TrimSpace(f.text[fMethod].String()), "GET"), Authority: or(strings.TrimSpace(f.text[fHost].String()), t.Authority),
		Path: or(f.text[fPath].String(), or(t.Path, "/"))}
	if f.base.HTTP != nil {
		h.Version, h.Scheme, h.Body = f.base.HTTP.Version, f.base.HTTP.Scheme, f.base.HTTP.Body
	}
	for _, x := range f.headers {
		s := strings.TrimSpace(x.String())
		if s == "" {
			continue
		}
		k, v, ok := strings.Cut(s, ":")
		if !ok || strings.TrimSpace(k) == "" {
			return fmt.Errorf("header %q: want name: value", s)
		}
		h.Headers = append(h.Headers, [2]string{strings.TrimSpace(k), strings.TrimSpace(v)})
	}
	r.HTTP = h
	return nil
}

func number(what, s string) (uint32, error) {
	if s = strings.TrimSpace(s); s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%s %q: not a number from 0 to 4294967295", what, s)
	}
	return uint32(n), nil
}

func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

// requestJSON is the JSON form of a request.
func requestJSON(r flow.Request) string {
	b, err := json.MarshalIndent(request.FormOf(r), "", "  ")
	if err != nil {
		return ""
	}
	return string(b)
}

package plain

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/pflag"
)

// requestFlags say what request is made.
type requestFlags struct {
	to, curl, src, in, proto string
	inbound, outbound        bool
	uid, gid, mark           uint32
	container                string
	tls, raw                 bool
	sni                      string
	alpn, sans               []string
	cert                     string
	method, authority, path  string
	headers, picks           []string
	data                     string
	set                      func(name string) bool // the flag was given
}

func (r *requestFlags) register(f *pflag.FlagSet) {
	f.StringVar(&r.to, "to", "", "where to: HOST[:PORT], ADDR[:PORT], [V6]:PORT or a URL")
	f.StringVar(&r.curl, "curl", "", "the request as a curl command")
	f.BoolVar(&r.inbound, "inbound", false, "a request that comes to the pod")
	f.BoolVar(&r.outbound, "outbound", false, "a request that the pod makes (the default)")
	f.StringVar(&r.src, "src", "", "source: ADDR[:PORT]")
	f.Uint32Var(&r.uid, "uid", 0, "uid of the process that makes it")
	f.Uint32Var(&r.gid, "gid", 0, "gid of the process that makes it")
	f.StringVarP(&r.container, "container", "c", "", "the container that makes it, instead of --uid")
	f.StringVar(&r.proto, "proto", "tcp", "tcp or udp")
	f.Uint32Var(&r.mark, "mark", 0, "the socket's mark")
	f.StringVar(&r.in, "in", "", "device by which it comes in")
	f.BoolVar(&r.tls, "tls", false, "the client speaks TLS")
	f.StringVar(&r.sni, "sni", "", "server name of the ClientHello")
	f.StringSliceVar(&r.alpn, "alpn", nil, "protocols of the ClientHello; h2c: HTTP/2 without TLS")
	f.StringVar(&r.cert, "cert", "", "the client's certificate: a file in PEM, or none (unsaid: one that is accepted, where one is required)")
	f.StringArrayVar(&r.sans, "san", nil, "the client presents a certificate of that name, such as spiffe://...; instead of --cert FILE")
	f.BoolVar(&r.raw, "raw", false, "no HTTP: bytes of no known protocol")
	f.StringVarP(&r.method, "method", "X", "", "HTTP method")
	f.StringVar(&r.authority, "authority", "", "Host or :authority")
	f.StringVar(&r.path, "path", "", "path with query")
	f.StringArrayVarP(&r.headers, "header", "H", nil, "header 'Name: value'")
	f.StringVarP(&r.data, "data", "d", "", "body, as curl sends it: a POST unless -X says otherwise")
	f.StringArrayVar(&r.picks, "pick", nil, "pin a choice: REF=VALUE")
	r.set = f.Changed
}

// given says whether the command line names a request at all.
func (r *requestFlags) given() bool { return r.set("to") || r.set("curl") }

// httpFlags are the flags that only HTTP has.
var httpFlags = []string{"method", "authority", "path", "header", "data"}

// draft is the request that the flags say, checked.
func (r *requestFlags) draft() (request.Draft, error) {
	if err := r.conflicts(); err != nil {
		return request.Draft{}, err
	}
	d, scheme, err := r.base()
	if err != nil {
		return d, &failure{ExitUsage, err}
	}
	q := &d.Request
	if r.inbound {
		q.Dir = flow.Inbound
	}
	q.UID, q.GID, q.Mark, q.In = r.uid, r.gid, r.mark, r.in
	if r.src != "" {
		if q.Src, err = request.Addr(r.src, 0); err != nil {
			return d, usage("--src: %w", err)
		}
	}
	if q.Proto, err = request.Proto(r.proto); err != nil {
		return d, usage("--proto: %w", err)
	}
	if err := r.setTLS(q, d.Host, scheme); err != nil {
		return d, err
	}
	if err := r.setHTTP(q); err != nil {
		return d, err
	}
	if q.Pick, err = r.pick(); err != nil {
		return d, err
	}
	return d, r.families(q)
}

// conflicts finds flags that cannot stand together, before anything is done.
func (r *requestFlags) conflicts() error {
	both := func(a, b, why string) error {
		if r.set(a) && r.set(b) {
			return usage("--%s and --%s cannot stand together: %s", a, b, why)
		}
		return nil
	}
	for _, c := range [][3]string{
		{"inbound", "outbound", "a request has one direction"},
		{"container", "uid", "a container has a uid of its own"},
		{"inbound", "container", "an inbound request has no process in the pod"},
		{"inbound", "uid", "an inbound request has no process in the pod"},
		{"inbound", "gid", "an inbound request has no process in the pod"},
		{"inbound", "mark", "the mark is that of a socket in the pod"},
		{"outbound", "in", "an outbound request comes in by no device"},
		{"raw", "curl", "curl speaks HTTP"}, {"raw", "method", "raw bytes are no HTTP"}, {"raw", "authority", "raw bytes are no HTTP"},
		{"cert", "san", "a certificate holds its names"},
		{"raw", "path", "raw bytes are no HTTP"}, {"raw", "header", "raw bytes are no HTTP"},
		{"raw", "data", "raw bytes are no HTTP"}, {"curl", "data", "the command has a -d of its own"},
	} {
		if err := both(c[0], c[1], c[2]); err != nil {
			return err
		}
	}
	if r.set("in") && !r.inbound {
		return usage("--in %s: only a request with --inbound comes in by a device", r.in)
	}
	if r.proto == "udp" {
		for _, f := range append([]string{"tls", "sni", "alpn", "cert", "san", "curl"}, httpFlags...) {
			if r.set(f) {
				return usage("--proto udp and --%s cannot stand together: HTTP/3 and DTLS are not traced", f)
			}
		}
	}
	for _, f := range []string{"cert", "san"} {
		if r.set(f) && !r.speaksTLS() {
			return usage("--%s needs --tls: without TLS there is no certificate", f)
		}
	}
	if !r.speaksTLS() && r.set("alpn") && !slices.Equal(r.alpn, []string{"h2c"}) {
		return usage("--alpn %s needs --tls (without TLS only h2c means something)", strings.Join(r.alpn, ","))
	}
	return nil
}

// speaksTLS says whether the flags ask for TLS; a URL or a curl command may, too.
func (r *requestFlags) speaksTLS() bool {
	return r.tls || r.set("sni") || strings.HasPrefix(strings.ToLower(r.to), "https://") || strings.Contains(r.curl, "https://")
}

// base is the draft of --curl, of --to, or of --curl sent to where --to says.
func (r *requestFlags) base() (request.Draft, string, error) {
	var d request.Draft
	if r.curl != "" {
		var err error
		if d, err = request.Curl(r.curl); err != nil {
			return d, "", fmt.Errorf("--curl: %w", err)
		}
		if !r.set("to") {
			return d, "", nil
		}
	}
	t, err := request.ParseTarget(r.to)
	if err != nil {
		return d, "", fmt.Errorf("--to: %w", err)
	}
	if d.Request.HTTP == nil {
		d.Request.HTTP = &flow.HTTP{Method: "GET", Authority: t.Authority, Path: t.Path}
		if t.Path == "" {
			d.Request.HTTP.Path = "/"
		}
	}
	d.Host, d.Request.Dst = t.Host, netip.AddrPortFrom(t.Addr, t.Port)
	return d, t.Scheme, nil
}

func (r *requestFlags) setTLS(q *flow.Request, host, scheme string) error {
	if q.TLS == nil && (r.tls || r.set("sni") || scheme == "https") {
		q.TLS = &flow.TLS{SNI: host}
	}
	if q.TLS == nil {
		return nil
	}
	if r.set("sni") {
		q.TLS.SNI = r.sni
	}
	if r.set("alpn") {
		q.TLS.ALPN = r.alpn
	}
	return r.setCert(q.TLS)
}

// setCert says what certificate the client presents.
func (r *requestFlags) setCert(t *flow.TLS) error {
	switch {
	case r.set("san"):
		t.Cert, t.SANs = flow.Yes, r.sans
	case r.cert == "none":
		t.Cert = flow.No
	case r.set("cert"):
		text, err := os.ReadFile(r.cert)
		if err == nil {
			err = request.SetCertificate(t, text)
		}
		if err != nil {
			return usage("--cert %s: %w (or --cert none)", r.cert, err)
		}
	}
	return nil
}

func (r *requestFlags) setHTTP(q *flow.Request) error {
	if r.raw || q.Proto != flow.TCP {
		q.HTTP = nil
		return nil
	}
	h := q.HTTP
	if r.set("method") {
		h.Method = r.method
	}
	if r.set("path") {
		h.Path = r.path
		if !strings.HasPrefix(r.path, "/") && r.path != "*" {
			return usage("--path %q: a path begins with /", r.path)
		}
	}
	if slices.Equal(r.alpn, []string{"h2c"}) && q.TLS == nil {
		h.Version = "2"
	}
	for _, line := range r.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return usage("-H %q: want 'Name: value'", line)
		}
		value = strings.TrimLeft(value, " \t")
		if strings.EqualFold(name, "host") {
			h.Authority = value
			continue
		}
		h.Headers = append(h.Headers, [2]string{name, value})
	}
	if r.set("authority") {
		h.Authority = r.authority
	}
	if r.set("data") {
		if err := request.Data(h, r.data); err != nil {
			return usage("--data: %w", err)
		}
		if r.set("method") {
			h.Method = r.method
		}
	}
	return nil
}

// pick reads --pick REF=VALUE; a REF with = in it stands in quotes.
func (r *requestFlags) pick() (flow.Pick, error) {
	if len(r.picks) == 0 {
		return nil, nil
	}
	p := flow.Pick{}
	for _, s := range r.picks {
		ref, value, ok := strings.Cut(s, "=")
		if strings.HasPrefix(s, `"`) {
			if ref, value, ok = strings.Cut(s[1:], `"=`); !ok {
				ref, value, ok = strings.Cut(strings.Trim(s, `"`), "=")
			}
		}
		if !ok || ref == "" || value == "" {
			return nil, usage("--pick %q: want REF=VALUE, as the trace names it", s)
		}
		if old, twice := p[ref]; twice && old != value {
			return nil, usage("--pick: %q is both %q and %q", ref, old, value)
		}
		p[ref] = value
	}
	return p, nil
}

// families finds a source of the other IP version than the destination.
func (r *requestFlags) families(q *flow.Request) error {
	if a, b := q.Src.Addr(), q.Dst.Addr(); a.IsValid() && b.IsValid() && !a.IsUnspecified() && a.Unmap().Is4() != b.Unmap().Is4() {
		return usage("--src %s and --to %s: one is IPv4, the other IPv6", a, b)
	}
	return nil
}

package request

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Draft is a request whose destination may still be a name.
type Draft struct {
	Request flow.Request // Dst holds the port; its address is valid iff Host is empty
	Host    string       // the name that must be resolved
}

// At is the request with its name resolved to a.
func (d Draft) At(a netip.Addr) flow.Request {
	r := d.Request
	r.Dst = netip.AddrPortFrom(a.Unmap(), r.Dst.Port())
	return r
}

// Named is the request with its name looked up: it goes to the first address, of the family of
// its source where that is said.
func (d Draft) Named(n flow.Named) flow.Request {
	at := n.Addrs[0]
	if src := d.Request.Src.Addr(); src.IsValid() && !src.IsUnspecified() {
		for _, a := range n.Addrs {
			if a.Unmap().Is4() == src.Unmap().Is4() {
				at = a
				break
			}
		}
	}
	r := d.At(at)
	r.Named = &n
	return r
}

// CurlAgent is the User-Agent that a draft from a curl command carries: what decides is
// that there is one and that it begins with curl/.
const CurlAgent = "curl/8.14.1"

// Curl reads a curl command (curl(1)): what the client would send, and where to.
func Curl(command string) (Draft, error) {
	args, err := Words(command)
	if err != nil {
		return Draft{}, err
	}
	if len(args) > 0 && (args[0] == "curl" || strings.HasSuffix(args[0], "/curl")) {
		args = args[1:]
	}
	c := curl{agent: CurlAgent, accept: "*/*", alpn: []string{"h2", "http/1.1"}}
	if err := c.parse(args); err != nil {
		return Draft{}, fmt.Errorf("curl: %w", err)
	}
	d, err := c.draft()
	if err != nil {
		return Draft{}, fmt.Errorf("curl: %w", err)
	}
	return d, nil
}

// curl is a command while it is read.
type curl struct {
	url, method   string
	headers       [][2]string
	removed       []string // -H 'Name:' takes curl's own header away
	agent, accept string
	cookie, user  string
	referer       string
	body          []string
	unread        bool // a part of the body is in a file
	json, form    bool
	get, head     bool
	upload        bool
	asIs          bool
	compressed    bool
	version       string
	alpn          []string
	resolve       []string // host:port:addr
	connectTo     []string // host:port:host:port
	src           string
	srcPort       string
	cert          bool
}

// option is one option of curl that says something about the request.
type option struct {
	arg bool
	set func(c *curl, v string) error
}

func (c *curl) parse(args []string) error {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--next" || a == "-:":
			return fmt.Errorf("%s: one request at a time", a)
		case strings.HasPrefix(a, "--") && a != "--":
			name, v, eq := strings.Cut(a[2:], "=")
			o, err := long(name)
			if err != nil {
				return err
			}
			if o.arg && !eq {
				if i++; i >= len(args) {
					return fmt.Errorf("--%s needs a value", name)
				}
				v = args[i]
			}
			if err := o.run(c, v); err != nil {
				return err
			}
		case strings.HasPrefix(a, "-") && len(a) > 1 && a != "--":
			used, err := c.short(a[1:], args[i+1:])
			if err != nil {
				return err
			}
			i += used
		case a == "--":
		default:
			if err := c.setURL(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// short reads bundled one-letter options such as -sSLk, or -XPOST; it says how many of
// the following words it took.
func (c *curl) short(letters string, rest []string) (int, error) {
	for i := 0; i < len(letters); i++ {
		name, ok := shorts[letters[i]]
		if !ok {
			return 0, fmt.Errorf("option -%c is not known here: leave it out", letters[i])
		}
		o, err := long(name)
		if err != nil {
			return 0, err
		}
		if !o.arg {
			if err := o.run(c, ""); err != nil {
				return 0, err
			}
			continue
		}
		if i+1 < len(letters) {
			return 0, o.run(c, letters[i+1:])
		}
		if len(rest) == 0 {
			return 0, fmt.Errorf("-%c needs a value", letters[i])
		}
		return 1, o.run(c, rest[0])
	}
	return 0, nil
}

func (o option) run(c *curl, v string) error {
	if o.set == nil {
		return nil
	}
	return o.set(c, v)
}

func (c *curl) setURL(v string) error {
	if c.url != "" {
		return fmt.Errorf("two URLs, %q and %q: one request at a time", c.url, v)
	}
	c.url = v
	return nil
}

// setHeader reads -H: "Name: value", "Name;" for an empty value, "Name:" to leave out
// what curl itself would send.
func (c *curl) setHeader(v string) error {
	if name, ok := strings.CutSuffix(v, ";"); ok && !strings.Contains(v, ":") {
		c.headers = append(c.headers, [2]string{name, ""})
		return nil
	}
	if strings.HasPrefix(v, "@") {
		return fmt.Errorf("-H %s: headers from a file are not read", v)
	}
	name, value, ok := strings.Cut(v, ":")
	if !ok {
		return fmt.Errorf("-H %q: want 'Name: value'", v)
	}
	value = strings.TrimLeft(value, " \t")
	c.removed = append(c.removed, strings.ToLower(name))
	if value != "" {
		c.headers = append(c.headers, [2]string{name, value})
	}
	return nil
}

func (c *curl) draft() (Draft, error) {
	if c.url == "" {
		return Draft{}, fmt.Errorf("no URL")
	}
	t, err := ParseTarget(c.url)
	if err != nil {
		return Draft{}, err
	}
	c.user = orElse(c.user, t.User)
	r := flow.Request{Proto: flow.TCP, Dst: netip.AddrPortFrom(t.Addr, t.Port)}
	r.HTTP = &flow.HTTP{Method: c.verb(), Authority: t.Authority, Path: c.path(t.Path), Version: c.version}
	if r.HTTP.Body, err = c.content(); err != nil {
		return Draft{}, err
	}
	r.HTTP.Headers = c.allHeaders(r.HTTP)
	if t.Scheme == "https" {
		r.TLS = &flow.TLS{SNI: t.Host, ALPN: c.alpn, Cert: flow.Is(c.cert)} // without --cert curl presents none
		r.HTTP.Version = tlsVersion(c.version)
	}
	if c.src != "" || c.srcPort != "" {
		if r.Src, err = c.source(); err != nil {
			return Draft{}, err
		}
	}
	d := Draft{Request: r, Host: t.Host}
	return c.rewire(d, t)
}

// tlsVersion: with TLS the version is agreed on by ALPN, unless 1.0 is forced.
func tlsVersion(v string) string {
	if v == "1.0" {
		return v
	}
	return ""
}

func (c *curl) source() (netip.AddrPort, error) {
	a := netip.IPv4Unspecified()
	if c.src != "" {
		var err error
		if a, err = netip.ParseAddr(c.src); err != nil {
			return netip.AddrPort{}, fmt.Errorf("--interface %q: only an address can be used here", c.src)
		}
	}
	first, _, _ := strings.Cut(c.srcPort, "-")
	n, err := strconv.ParseUint(orElse(first, "0"), 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--local-port %q: not a port", c.srcPort)
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

func (c *curl) verb() string {
	switch {
	case c.method != "":
		return c.method
	case c.head:
		return "HEAD"
	case c.upload:
		return "PUT"
	case c.form || len(c.body) > 0 && !c.get:
		return "POST"
	}
	return "GET"
}

// path is the path that curl sends: without dot segments unless --path-as-is, with -G's
// data as the query.
func (c *curl) path(p string) string {
	p, query, has := strings.Cut(orElse(p, "/"), "?")
	if !c.asIs {
		p = undot(p)
	}
	if c.get && len(c.body) > 0 {
		if has && query != "" {
			query += "&"
		}
		query, has = query+strings.Join(c.body, "&"), true
	}
	if has {
		p += "?" + query
	}
	return p
}

// undot removes dot segments (RFC 3986, 5.2.4), as curl does before it sends a path.
func undot(p string) string {
	var out []string
	parts := strings.Split(p, "/")
	for i, s := range parts {
		last := i == len(parts)-1
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 1 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return strings.Join(out, "/")
}

// allHeaders are curl's own headers and the user's, in curl's order; Host goes to the
// authority.
func (c *curl) allHeaders(h *flow.HTTP) [][2]string {
	var out [][2]string
	add := func(name, value string) {
		if value == "" {
			return
		}
		for _, r := range c.removed {
			if r == strings.ToLower(name) {
				return
			}
		}
		out = append(out, [2]string{name, value})
	}
	if c.user != "" {
		add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.user)))
	}
	add("User-Agent", c.agent)
	add("Accept", c.accept)
	if c.compressed {
		add("Accept-Encoding", "deflate, gzip, br, zstd")
	}
	add("Referer", c.referer)
	add("Cookie", c.cookie)
	if h.Body != nil && h.Body.Size < 0 && !slices.Contains(c.removed, "content-length") {
		h.Unsure = append(h.Unsure, "content-length")
	}
	if len(c.body) > 0 && !c.get {
		if h.Body.Size >= 0 && !slices.Contains(c.removed, "transfer-encoding") {
			add("Content-Length", strconv.Itoa(h.Body.Size))
		}
		if c.json {
			add("Content-Type", "application/json")
		} else {
			add("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	for _, kv := range c.headers {
		if strings.EqualFold(kv[0], "host") {
			h.Authority = kv[1]
			continue
		}
		out = append(out, kv)
	}
	return out
}

// rewire applies --connect-to and --resolve: the connection goes elsewhere, the request
// stays as it is.
func (c *curl) rewire(d Draft, t Target) (Draft, error) {
	for _, v := range c.connectTo {
		from, to, err := splitConnectTo(v)
		if err != nil {
			return d, err
		}
		if !from.names(t) {
			continue
		}
		n, err := ParseTarget(to)
		if err != nil {
			return d, fmt.Errorf("--connect-to %q: %w", v, err)
		}
		d.Host, d.Request.Dst = n.Host, netip.AddrPortFrom(n.Addr, n.Port)
		return d, nil
	}
	for _, v := range c.resolve {
		parts := strings.SplitN(strings.TrimPrefix(v, "+"), ":", 3)
		if len(parts) != 3 {
			return d, fmt.Errorf("--resolve %q: want HOST:PORT:ADDR", v)
		}
		if d.Host == "" || !(endpoint{parts[0], parts[1]}).names(t) {
			continue
		}
		first, _, _ := strings.Cut(parts[2], ",")
		a, err := netip.ParseAddr(strings.Trim(first, "[]"))
		if err != nil {
			return d, fmt.Errorf("--resolve %q: %q is not an address", v, first)
		}
		return Draft{Request: d.At(a)}, nil
	}
	return d, nil
}

// endpoint is HOST:PORT of --resolve and --connect-to, where empty or * is any.
type endpoint struct{ host, port string }

func (e endpoint) names(t Target) bool {
	host := t.Host
	if host == "" {
		host = t.Addr.String()
	}
	return (e.host == "" || e.host == "*" || strings.EqualFold(strings.Trim(e.host, "[]"), host)) &&
		(e.port == "" || e.port == strconv.Itoa(int(t.Port)))
}

// splitConnectTo reads HOST1:PORT1:HOST2:PORT2, whose hosts may be [V6].
func splitConnectTo(v string) (endpoint, string, error) {
	host, rest, ok := cutHost(v)
	port, to, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return endpoint{}, "", fmt.Errorf("--connect-to %q: want HOST1:PORT1:HOST2:PORT2", v)
	}
	return endpoint{host, port}, strings.TrimSuffix(to, ":"), nil
}

func cutHost(v string) (string, string, bool) {
	if strings.HasPrefix(v, "[") {
		i := strings.Index(v, "]:")
		if i < 0 {
			return "", "", false
		}
		return v[1:i], v[i+2:], true
	}
	return strings.Cut(v, ":")
}

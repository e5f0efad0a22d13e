package envoy

import (
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// codecError is what the codec answers before the connection manager sees a request.
type codecError struct {
	code    int
	details string
}

// The usual answers. (Http1ResponseCodeDetailValues)
func errCodec() *codecError      { return &codecError{400, "http1.codec_error"} }
func errURL() *codecError        { return &codecError{400, "http1.invalid_url"} }
func errCharacters() *codecError { return &codecError{400, "http1.invalid_characters"} }

// http1Method says whether Envoy's HTTP/1 parser knows the method.
func http1Method(m string, v Version) bool {
	switch m {
	case "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
		"MOVE", "MSEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE",
		"SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	case "QUERY":
		return v.atLeast(1, 40, 0)
	}
	return false
}

// codec turns what the client sends into request headers, or the codec's answer.
func (s *stream) codec(r *flow.HTTP) *codecError {
	method, target := r.Method, r.Path
	if !r.Exact {
		if method == "" {
			method = "GET"
		}
		if target == "" {
			target = "/"
		}
	}
	if s.http2 {
		return s.http2Headers(r, method, target)
	}
	target = strings.Trim(target, " \t") // the parser skips all of the space between the words
	if err := s.requestLine(r, method, target); err != nil {
		return err
	}
	if err := s.http1Headers(r); err != nil {
		return err
	}
	if err := s.http1Target(r, method, target); err != nil {
		return err
	}
	if s.low() && !s.m.http10 {
		return &codecError{426, "low_version"}
	}
	return s.bodyHeaders()
}

// requestLine checks method and target as quiche's BalsaFrame and Envoy's BalsaParser do.
func (s *stream) requestLine(r *flow.HTTP, method, target string) *codecError {
	for i := 0; i < len(target); i++ {
		if c := target[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return errCharacters()
		}
	}
	if !http1Method(method, s.p.cfg.version) && !(s.m.customMethods && isToken(method)) {
		return errCodec()
	}
	if method == "CONNECT" && target == "" {
		return errURL()
	}
	if !validTarget(target, method == "CONNECT") {
		return errCodec()
	}
	return nil
}

// validTarget is BalsaParser's isUrlValid.
func validTarget(url string, connect bool) bool {
	if url == "" {
		return false
	}
	rest := url
	if url[0] != '/' && url[0] != '*' {
		if !connect {
			i := schemeEnd(url)
			if i == 0 || !strings.HasPrefix(url[i:], "://") {
				return false
			}
			rest = url[i+3:]
		}
		host := rest
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			host, rest = rest[:i], rest[i:]
		} else {
			rest = ""
		}
		if strings.Contains(host, "@@") || !all(host, hostByte) {
			return false
		}
	}
	return all(rest, func(c byte) bool { return c > 0x20 && c < 0x7f || c == '\t' || c == '\f' })
}

// schemeEnd is the length of the scheme that url begins with: a letter, then letters,
// digits, '+', '-' and '.'; 0 where there is none.
func schemeEnd(url string) int {
	i := 0
	for ; i < len(url); i++ {
		c := lowerByte(url[i])
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			break
		}
	}
	return i
}

func hostByte(c byte) bool {
	return unreserved(c) || strings.IndexByte("!$%&'()*+,:;=@[]", c) >= 0
}

func all(s string, ok func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// http1Headers decodes the header lines, the Host header among them.
func (s *stream) http1Headers(r *flow.HTTP) *codecError {
	if !r.NoHost && (r.Authority != "" || r.Exact) {
		s.h.decode(":authority", strings.Trim(r.Authority, " \t"))
	}
	size := 0
	for _, e := range r.Headers {
		name, value := lowerHeader(e[0]), strings.Trim(e[1], " \t")
		size += len(name) + len(value)
		switch {
		case name == "" || !all(e[0], tokenByte) && name != ":authority":
			return errCodec()
		case !all(value, valueByte):
			return errCharacters()
		}
		if strings.IndexByte(name, '_') >= 0 && s.m.underscores != "" {
			if s.m.underscores == "REJECT_REQUEST" {
				return &codecError{400, "http1.unexpected_underscore"}
			}
			s.dropped = append(s.dropped, name)
			continue
		}
		s.h.decode(name, value)
	}
	switch {
	case uint64(size) > s.m.maxHeaderBytes:
		return &codecError{431, "http1.headers_too_large"}
	case uint64(len(r.Headers)+1) > s.m.maxHeaders:
		return &codecError{431, "http1.too_many_headers"}
	}
	return nil
}

// isToken is RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// tokenByte is a byte of a token.
func tokenByte(c byte) bool {
	return unreserved(c) || strings.IndexByte("!#$%&'*+^`|", c) >= 0
}

// valueByte is what BalsaFrame lets into a header value.
func valueByte(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }

// http1Target is ServerConnectionImpl::handlePath: an absolute URL replaces the host.
func (s *stream) http1Target(r *flow.HTTP, method, target string) *codecError {
	s.h.set(":method", method)
	if r.Scheme != "" && !strings.Contains(target, "://") {
		target = r.Scheme + "://" + r.Authority + target
	}
	connect := method == "CONNECT"
	if !connect && (target[0] == '/' || target[0] == '*' && method == "OPTIONS") {
		s.h.set(":path", target)
		return nil
	}
	if !connect && !s.m.absoluteURL {
		s.h.set(":path", target)
		return nil
	}
	if connect {
		if s.connectTarget(r, target) == "" {
			return errURL()
		}
		return nil
	}
	return s.absoluteTarget(target)
}

// connectTarget sets the host of a CONNECT, whose target is host:port.
func (s *stream) connectTarget(r *flow.HTTP, target string) string {
	if target == "/" && !r.Exact {
		target = r.Authority
	}
	if _, _, ok := portOf(target); !ok || !urlAuthority(target) {
		return ""
	}
	s.h.set(":authority", target)
	return target
}

// urlAuthority says whether Envoy takes host[:port] in a URL: an IP address in brackets, or
// a name of letters, digits, '-' and '.'; a port of 0 to 65535, in any number of digits.
// (Http::Utility::Url; measured on 1.40.0 by the targets of the end-to-end tests)
func urlAuthority(s string) bool {
	port := ""
	if rest, ok := strings.CutPrefix(s, "["); ok {
		in, after, closed := strings.Cut(rest, "]")
		if a, err := netip.ParseAddr(in); !closed || err != nil || a.Zone() != "" {
			return false
		}
		if after == "" {
			return true
		}
		if port, ok = strings.CutPrefix(after, ":"); !ok {
			return false
		}
	} else {
		name, after, has := strings.Cut(s, ":")
		if name == "" || !all(name, func(c byte) bool { return unreserved(c) && c != '_' && c != '~' }) {
			return false
		}
		if !has {
			return true
		}
		port = after
	}
	n := 0
	for i := 0; i < len(port); i++ {
		c := port[i]
		if c < '0' || c > '9' {
			return false
		}
		if n = 10*n + int(c-'0'); n > 65535 {
			return false
		}
	}
	return port != ""
}

// absoluteURL is scheme://[user@]host[:port][path].
type absoluteURL struct{ scheme, user, host, path string }

// splitURL takes a URL apart as Envoy's own reader does, which wants a host.
// (Http::Utility::Url::initialize)
func splitURL(url string) (u absoluteURL, ok bool) {
	i := schemeEnd(url)
	if i == 0 || !strings.HasPrefix(url[i:], "://") {
		return u, false
	}
	u.scheme, u.host = lower(url[:i]), url[i+3:]
	if j := strings.IndexAny(u.host, "/?#"); j >= 0 {
		u.host, u.path = u.host[:j], u.host[j:]
	}
	if user, host, ok := strings.Cut(u.host, "@"); ok {
		u.user, u.host = user, host
	}
	return u, urlAuthority(u.host)
}

// validReferer says whether a Referer stays: a URL without user information and fragment, or
// a relative reference. (Http::Utility::isValidRefererValue; measured on 1.40 with every byte)
func validReferer(v string) bool {
	if u, ok := splitURL(v); ok && all(u.path, func(c byte) bool { return c > 0x20 && c < 0x7f }) {
		return u.user == "" && !strings.Contains(u.path, "#")
	}
	first, _, _ := strings.Cut(v, "/")
	return !strings.Contains(first, ":") && all(v, func(c byte) bool { return unreserved(c) || strings.IndexByte("%!$&'()*+,;=:@/?", c) >= 0 })
}

// absoluteTarget takes an absolute-form target apart; user information is dropped.
func (s *stream) absoluteTarget(target string) *codecError {
	u, ok := splitURL(target)
	if !ok {
		return errURL()
	}
	scheme, path := u.scheme, u.path
	if path == "" {
		path = "/"
	}
	s.h.set(":authority", u.host)
	if scheme != "http" && scheme != "https" {
		return &codecError{400, "http1.invalid_scheme"}
	}
	if scheme == "https" && s.p.downTLS == nil && s.m.useRemote && s.m.hops == 0 {
		return &codecError{403, "http1.https_url_on_plaintext_connection"}
	}
	s.h.set(":scheme", scheme)
	s.h.set(":path", path)
	return nil
}

// low says that the request is older than HTTP/1.1: as the parser has it, any other version.
func (s *stream) low() bool { return s.version != "1.1" && s.version != "2" }

// bodyHeaders refuses what does not say how long the body is.
func (s *stream) bodyHeaders() *codecError {
	te, has, _ := s.h.first("transfer-encoding")
	length, hasLength, _ := s.h.first("content-length")
	switch {
	case hasLength && (length == "" || !all(length, func(c byte) bool { return c >= '0' && c <= '9' })):
		return errCodec()
	case has && hasLength && !s.m.chunkedLength:
		return &codecError{400, "http1.content_length_and_chunked_not_allowed"}
	case has && !equalFold(te, "chunked"):
		return &codecError{501, "http1.invalid_transfer_encoding"}
	}
	return nil
}

// http2Headers decodes an HTTP/2 request: the pseudo headers are its own, connection
// headers are refused (RFC 9113 8.2.2), and repeated cookies are one.
func (s *stream) http2Headers(r *flow.HTTP, method, target string) *codecError {
	s.h.set(":method", method)
	scheme := r.Scheme
	if scheme == "" {
		if scheme = "http"; s.p.downTLS != nil {
			scheme = "https"
		}
	}
	if method != "CONNECT" {
		s.h.set(":scheme", scheme)
		s.h.set(":path", target)
	}
	if r.Authority != "" {
		s.h.set(":authority", r.Authority)
	}
	for _, e := range r.Headers {
		name, value := lower(e[0]), strings.Trim(e[1], " \t")
		switch {
		case name == "connection", name == "keep-alive", name == "proxy-connection", name == "transfer-encoding", name == "upgrade":
			return &codecError{0, "http2.violation.of.messaging.rule"}
		case name == "te" && !equalFold(value, "trailers"): // RFC 9113 8.2.2: TestPassedHeaders
			return &codecError{0, "http2.invalid.header.field"}
		case name == "host":
			if !s.h.has(":authority") {
				s.h.set(":authority", value)
			}
			continue
		case strings.IndexByte(name, '_') >= 0 && s.m.underscores == "REJECT_REQUEST":
			return &codecError{0, "http2.unexpected_underscore"}
		case strings.IndexByte(name, '_') >= 0 && s.m.underscores != "":
			s.dropped = append(s.dropped, name)
			continue
		}
		if name == "cookie" && s.h.has("cookie") {
			s.h.set("cookie", s.h.value("cookie")+"; "+value)
			continue
		}
		s.h.decode(name, value)
	}
	return nil
}

// codecKind says whether the connection speaks HTTP/2; ok is false where client and codec
// do not understand each other.
func (s *stream) codecKind(hcm tree.Node, r *flow.HTTP) (h2, ok bool) {
	client := r.Version == "2"
	switch hcm.Field("codec_type").Enum() {
	case "HTTP1", "1":
		return false, !client
	case "HTTP2", "2":
		return true, client
	case "HTTP3", "3":
		return false, false
	}
	return client, true // AUTO goes by ALPN, and without one by the connection preface
}

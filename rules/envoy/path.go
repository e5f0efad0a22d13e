package envoy

import "strings"

// splitQuery cuts a :path before its first '?'; the query keeps the '?'.
func splitQuery(path string) (before, query string) {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// withoutQuery is what routes match on: the path before '?' and '#'.
// (Envoy: PathUtil::removeQueryAndFragment)
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// normalizePath is HttpConnectionManager.normalize_path (RFC 3986 6.2.2 as Chromium's
// url::CanonicalizePath does it): unreserved escapes are decoded, a few raw bytes are
// escaped, '\' becomes '/', and dot segments are resolved. Everything else stays byte for
// byte. It is false for a path with %00, which Envoy answers with 400. Measured on 1.36.4
// and 1.40.0; from 1.39.3 on a raw dot segment may carry parameters ("/..;x/").
func normalizePath(path string, v Version) (string, bool) {
	p, query := splitQuery(path)
	if v.atLeast(1, 39, 3) {
		p = stripDotParameters(p)
	}
	if plainPath(p) {
		return p + query, true
	}
	p, ok := unescapeUnreserved(p)
	if !ok {
		return "", false
	}
	return resolveDots(p) + query, true
}

// plainPath says that normalising would change nothing; the usual case, without allocation.
func plainPath(p string) bool {
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '%' || c == '\\' || mustEscape(c) || c >= 0x80 || c < 0x20:
			return false
		case c == '.' && i > 0 && p[i-1] == '/':
			return false
		}
	}
	return true
}

// stripDotParameters turns the segments "..;x" and ".;x" into ".." and ".". Envoy does so
// before anything is decoded, hence an escaped dot does not count.
func stripDotParameters(p string) string {
	if !strings.Contains(p, "/.;") && !strings.Contains(p, "/..;") {
		return p
	}
	segs := strings.Split(p, "/")
	for i, s := range segs {
		switch {
		case strings.HasPrefix(s, "..;"):
			segs[i] = ".."
		case strings.HasPrefix(s, ".;"):
			segs[i] = "."
		}
	}
	return strings.Join(segs, "/")
}

// unescapeUnreserved decodes the escapes of A-Z a-z 0-9 - . _ ~, escapes the raw bytes that
// Chromium's table escapes, and turns '\' into '/'.
func unescapeUnreserved(p string) (string, bool) {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(p) + 8)
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == 0:
			return "", false
		case c == '\\':
			b.WriteByte('/')
		case mustEscape(c) || c >= 0x80 || c <= 0x20 || c == 0x7f:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		case c == '%' && i+2 < len(p):
			d, ok := unhex(p[i+1], p[i+2])
			if ok && d == 0 {
				return "", false
			}
			if ok && unreserved(d) {
				b.WriteByte(d)
			} else {
				b.WriteString(escapeAt(p, i, ok))
			}
			if ok {
				i += 2
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// escapeAt is the text of an escape that stays: as written, and a '%' alone where it is none.
func escapeAt(p string, i int, whole bool) string {
	if whole {
		return p[i : i+3]
	}
	return "%"
}

// mustEscape are the printable bytes that CanonicalizePath escapes.
func mustEscape(c byte) bool {
	switch c {
	case '|', '^', '`', '{', '}', '"', '<', '>':
		return true
	}
	return false
}

// unreserved is RFC 3986 2.3.
func unreserved(c byte) bool {
	switch {
	case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(hi, lo byte) (byte, bool) {
	h, ok1 := hexDigit(hi)
	l, ok2 := hexDigit(lo)
	return h<<4 | l, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// resolveDots is RFC 3986 5.2.4: empty segments are segments, and the root is the top.
func resolveDots(p string) string {
	if !strings.HasPrefix(p, "/") {
		return p
	}
	segs := strings.Split(p[1:], "/")
	out := segs[:0]
	for i, s := range segs {
		last := i == len(segs)-1
		switch s {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// mergeSlashes is HttpConnectionManager.merge_slashes: only a path with "//" changes; its
// empty segments go, one leading and one trailing slash stay each for itself ("//" stays).
func mergeSlashes(path string) string {
	p, query := splitQuery(path)
	if !strings.Contains(p, "//") {
		return path
	}
	segs := strings.Split(p, "/")
	out := segs[:0]
	for _, s := range segs {
		if s != "" {
			out = append(out, s)
		}
	}
	merged := strings.Join(out, "/")
	if strings.HasPrefix(p, "/") {
		merged = "/" + merged
	}
	if strings.HasSuffix(p, "/") {
		merged += "/"
	}
	return merged + query
}

// unescapeSlashes decodes %2F and %5C of either case before the query, and says whether
// there were any. (path_with_escaped_slashes_action)
func unescapeSlashes(path string) (string, bool) {
	p, query := splitQuery(path)
	if !strings.Contains(p, "%2") && !strings.Contains(p, "%5") {
		return path, false
	}
	var b strings.Builder
	found := false
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			if c, ok := unhex(p[i+1], p[i+2]); ok && (c == '/' || c == '\\') {
				b.WriteByte(c)
				found = true
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String() + query, found
}

// withoutParameters is ignore_path_parameters_in_path_matching: from 1.40 (and 1.39.1,
// 1.38.4) on the parameters of each segment go, before that everything from the first ';'.
func withoutParameters(path string, v Version) string {
	i := strings.IndexByte(path, ';')
	if i < 0 {
		return path
	}
	perSegment := v.atLeast(1, 39, 1) || v.atLeast(1, 38, 4) && !v.atLeast(1, 39, 0)
	if !perSegment {
		return path[:i]
	}
	var b strings.Builder
	skip := false
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case ';':
			skip = true
		case '/':
			skip = false
		}
		if !skip {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

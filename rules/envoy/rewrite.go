package envoy

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// regexRewrite is a compiled type.matcher.v3.RegexMatchAndSubstitute.
type regexRewrite struct {
	re *regexp.Regexp // nil: not modelled
	to string         // in Go's syntax
}

func (c *Config) regexRewrite(n tree.Node) *regexRewrite {
	return memo(c, n, func() *regexRewrite {
		p := n.Field("pattern")
		text := p.Field("regex").Str()
		if p.Kind() == tree.String {
			text = p.Str()
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return new(regexRewrite)
		}
		return &regexRewrite{re, goTemplate(n.Field("substitution").Str())}
	})
}

// goTemplate turns RE2's \1 into ${1}.
func goTemplate(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(s):
			i++
			if d := s[i]; d >= '0' && d <= '9' {
				b.WriteString("${" + string(d) + "}")
			} else {
				b.WriteByte(d)
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// replace is RE2's GlobalReplace; false where meshtop cannot say.
func (r *regexRewrite) replace(s string) (string, bool) {
	if r.re == nil || !ascii(s) {
		return s, false
	}
	return r.re.ReplaceAllString(s, r.to), true
}

// rewritten is what became of a :path.
type rewritten uint8

const (
	pathKept    rewritten = iota // nothing asks for a rewrite, or its result is empty
	pathChanged                  // perhaps to the same text
	pathUnsure                   // meshtop cannot say
)

// rewritePath is the :path after the rewrite that n (a RouteAction or RedirectAction) asks
// for. (RouteEntryImplBase::finalizePathHeader)
func (s *stream) rewritePath(n tree.Node, path string) (string, rewritten) {
	before, query := splitQuery(path)
	if f := n.Field("regex_rewrite"); f.Exists() {
		out, ok := s.p.cfg.regexRewrite(f).replace(before)
		return rewriteTo(path, out, query, ok)
	}
	if f := n.Field("path_rewrite_policy"); f.Exists() {
		out, ok := s.templateRewrite(f, before)
		return rewriteTo(path, out, query, ok)
	}
	if f := n.Field("path_rewrite"); f.Exists() && f.Str() != "" {
		out, ok := s.format(f.Str())
		return rewriteTo(path, out, query, ok)
	}
	prefix := n.Field("prefix_rewrite").Str()
	if prefix == "" {
		return path, pathKept
	}
	cut := len(before)
	switch t := &s.route.path; t.kind {
	case pathPrefix, pathExact, pathSeparated:
		cut = min(len(t.text), len(path))
	case pathTemplate:
		return path, pathUnsure
	}
	return prefix + path[cut:], pathChanged
}

func rewriteTo(path, out, query string, ok bool) (string, rewritten) {
	switch {
	case !ok:
		return path, pathUnsure
	case out == "":
		return path, pathKept
	}
	return out + query, pathChanged
}

func (s *stream) templateRewrite(f tree.Node, path string) (string, bool) {
	kind, config := kindOf(f)
	if kind != "UriTemplateRewriteConfig" || s.route.path.template() == nil {
		return "", false
	}
	return s.route.path.template().rewrite(path, config.Field("path_template_rewrite").Str())
}

// redirectURL is the Location of a RedirectAction. (Http::Utility::newUri)
func (s *stream) redirectURL(r tree.Node) (string, bool) {
	scheme := r.Field("scheme_redirect").Str()
	switch {
	case scheme != "":
	case r.Field("https_redirect").Bool(false):
		scheme = "https"
	default:
		scheme = s.h.value(":scheme")
	}
	port := ""
	if p := r.Field("port_redirect").Uint(0); p != 0 {
		port = ":" + strconv.FormatUint(p, 10)
	}
	host := r.Field("host_redirect").Str()
	if host == "" {
		host = redirectHost(s.h.value(":authority"), s.h.value("x-forwarded-proto"), scheme, port)
	}
	path, sure := s.redirectPath(r)
	if r.Field("host_redirect").Str() == "" {
		_, _, known := s.h.first(":authority")
		sure = sure && known
	}
	return scheme + "://" + host + port + path, sure
}

// redirectHost is the request's host without a port that the new URL does not need.
// (Http::Utility, processRequestHost)
func redirectHost(host, proto, scheme, port string) string {
	end := strings.LastIndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		if end = strings.LastIndex(host, "]:"); end >= 0 {
			end++
		}
	}
	if end < 0 {
		return host
	}
	had := host[end:]
	drop := port != ""
	if scheme != proto {
		drop = drop || proto == "https" && had == ":443" || proto == "http" && had == ":80"
	}
	if drop {
		return host[:end]
	}
	return host
}

func (s *stream) redirectPath(r tree.Node) (string, bool) {
	strip := r.Field("strip_query").Bool(false)
	path, sure := s.h.value(":path"), true
	if to := r.Field("path_redirect").Str(); to != "" {
		if !strings.HasPrefix(to, "/") {
			to = "/" + to
		}
		if strings.Contains(to, "?") {
			return to, true
		}
		_, query := splitQuery(path)
		path = to + query
	} else {
		var how rewritten
		path, how = s.rewritePath(r, path)
		if sure = how != pathUnsure; !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
	}
	if strip {
		path, _ = splitQuery(path)
	}
	return path, sure
}

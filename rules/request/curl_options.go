package request

import (
	"fmt"
	"strings"
)

// shorts are curl's one-letter options by their long names (curl(1)).
var shorts = map[byte]string{
	'H': "header", 'X': "request", 'd': "data", 'I': "head", 'G': "get", 'A': "user-agent", 'e': "referer",
	'b': "cookie", 'u': "user", 'T': "upload-file", 'F': "form", 'E': "cert", 'x': "proxy", '0': "http1.0",
	'k': "insecure", 'L': "location", 's': "silent", 'S': "show-error", 'v': "verbose", 'i': "include", 'f': "fail",
	'o': "output", 'O': "remote-name", 'm': "max-time", 'w': "write-out", 'N': "no-buffer", '4': "ipv4", '6': "ipv6",
	'g': "globoff", 'j': "junk-session-cookies", 'c': "cookie-jar", 'D': "dump-header", 'q': "disable", '#': "progress-bar",
	'K': "config", 'U': "proxy-user", 'n': "netrc", 'R': "remote-time", 'y': "speed-time", 'Y': "speed-limit",
	'r': "range", 'C': "continue-at", 'z': "time-cond",
}

// silent are options that change nothing that the network sees; true: with a value.
var silent = map[string]bool{
	"insecure": false, "location": false, "silent": false, "show-error": false, "verbose": false, "include": false,
	"fail": false, "fail-with-body": false, "output": true, "remote-name": false, "max-time": true, "write-out": true,
	"no-buffer": false, "ipv4": false, "ipv6": false, "globoff": false, "junk-session-cookies": false, "cookie-jar": true,
	"dump-header": true, "disable": false, "progress-bar": false, "remote-time": false, "speed-time": true, "speed-limit": true,
	"connect-timeout": true, "retry": true, "retry-delay": true, "retry-max-time": true, "retry-all-errors": false,
	"retry-connrefused": false, "cacert": true, "capath": true, "key": true, "key-type": true, "cert-type": true, "pass": true,
	"ciphers": true, "tls-max": true, "tlsv1": false, "tlsv1.2": false, "tlsv1.3": false, "tlsv1.0": false, "tlsv1.1": false,
	"keepalive-time": true, "no-keepalive": false, "max-redirs": true, "noproxy": true, "trace": true, "trace-ascii": true,
	"trace-time": false, "stderr": true, "create-dirs": false, "http0.9": false, "no-progress-meter": false, "raw": false,
	"tcp-nodelay": false, "compressed-ssh": false, "no-sessionid": false, "rate": true, "location-trusted": false,
	"post301": false, "post302": false, "post303": false, "ssl-no-revoke": false, "styled-output": false, "limit-rate": true,
	"happy-eyeballs-timeout-ms": true, "dns-servers": true, "no-npn": false, "expect100-timeout": true, "disallow-username-in-url": false,
}

// refused are options that change the path in a way that is not followed here.
var refused = map[string]string{
	"proxy": "a proxy changes the destination: trace the connection to the proxy instead", "socks5": "a proxy changes the destination",
	"socks5-hostname": "a proxy changes the destination", "unix-socket": "a Unix socket meets no rule and no listener",
	"abstract-unix-socket": "a Unix socket meets no rule and no listener", "config": "options from a file are not read",
	"http3": "HTTP/3 is not traced", "http3-only": "HTTP/3 is not traced", "haproxy-protocol": "the PROXY header is not traced here",
	"preproxy": "a proxy changes the destination", "netrc": "passwords from a file are not read",
}

// long is the option by its long name.
func long(name string) (option, error) {
	if why, ok := refused[name]; ok {
		return option{}, fmt.Errorf("--%s: %s", name, why)
	}
	if arg, ok := silent[name]; ok {
		return option{arg: arg}, nil
	}
	if o, ok := telling(name); ok {
		return o, nil
	}
	return option{}, fmt.Errorf("option --%s is not known here: leave it out", name)
}

// telling are the options that say something about the request.
func telling(name string) (option, bool) {
	text := func(field func(c *curl) *string) option {
		return option{true, func(c *curl, v string) error { *field(c) = v; return nil }}
	}
	flag := func(set func(c *curl)) option {
		return option{false, func(c *curl, _ string) error { set(c); return nil }}
	}
	switch name {
	case "url":
		return option{true, (*curl).setURL}, true
	case "header":
		return option{true, (*curl).setHeader}, true
	case "request":
		return text(func(c *curl) *string { return &c.method }), true
	case "user-agent":
		return text(func(c *curl) *string { return &c.agent }), true
	case "referer":
		return text(func(c *curl) *string { return &c.referer }), true
	case "cookie":
		return option{true, (*curl).setCookie}, true
	case "user":
		return text(func(c *curl) *string { return &c.user }), true
	case "oauth2-bearer":
		return option{true, func(c *curl, v string) error { return c.setHeader("Authorization: Bearer " + v) }}, true
	case "interface":
		return text(func(c *curl) *string { return &c.src }), true
	case "local-port":
		return text(func(c *curl) *string { return &c.srcPort }), true
	case "range":
		return option{true, func(c *curl, v string) error { return c.setHeader("Range: bytes=" + v) }}, true
	case "head":
		return flag(func(c *curl) { c.head = true }), true
	case "get":
		return flag(func(c *curl) { c.get = true }), true
	case "path-as-is":
		return flag(func(c *curl) { c.asIs = true }), true
	case "compressed":
		return flag(func(c *curl) { c.compressed = true }), true
	case "resolve":
		return option{true, func(c *curl, v string) error { c.resolve = append(c.resolve, v); return nil }}, true
	case "connect-to":
		return option{true, func(c *curl, v string) error { c.connectTo = append(c.connectTo, v); return nil }}, true
	case "cert":
		return option{true, func(c *curl, _ string) error { c.cert = true; return nil }}, true
	case "upload-file":
		return option{true, func(c *curl, _ string) error { c.upload = true; return nil }}, true
	}
	if o, ok := bodies(name); ok {
		return o, true
	}
	return versions(name)
}

// setCookie reads -b: NAME=VALUE pairs; without = it names a file.
func (c *curl) setCookie(v string) error {
	if !strings.Contains(v, "=") {
		return fmt.Errorf("-b %q: cookies from a file are not read", v)
	}
	c.cookie = v
	return nil
}

func bodies(name string) (option, bool) {
	switch name {
	case "data", "data-raw", "data-ascii", "data-binary", "data-urlencode":
		return option{true, func(c *curl, v string) error { return c.data(name, v) }}, true
	case "json":
		return option{true, func(c *curl, v string) error {
			c.json, c.accept = true, "application/json"
			return c.data(name, v)
		}}, true
	case "form", "form-string":
		return option{true, func(c *curl, _ string) error {
			if !c.form {
				c.form = true
				c.headers = append(c.headers, [2]string{"Content-Type", "multipart/form-data"})
			}
			return nil
		}}, true
	}
	return option{}, false
}

func versions(name string) (option, bool) {
	set := func(version string, alpn ...string) (option, bool) {
		return option{false, func(c *curl, _ string) error { c.version, c.alpn = version, alpn; return nil }}, true
	}
	switch name {
	case "http1.0":
		return set("1.0", "http/1.0")
	case "http1.1":
		return set("1.1", "http/1.1")
	case "http2":
		return set("", "h2", "http/1.1")
	case "http2-prior-knowledge":
		return set("2", "h2")
	case "no-alpn":
		return option{false, func(c *curl, _ string) error { c.alpn = nil; return nil }}, true
	}
	return option{}, false
}

package request

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Addr reads ADDR[:PORT], [V6]:PORT or a bare IPv6 address; port is taken where none is
// written. Names are not addresses: see Target.
func Addr(s string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return netip.AddrPortFrom(a.WithZone(""), port), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want ADDR, ADDR:PORT or [V6]:PORT", s)
	}
	return netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port()), nil
}

// Target is what --to names: an address or a name, a port, and what a URL says besides.
type Target struct {
	Host   string     // the name as written; empty where an address was written
	Addr   netip.Addr // the address; invalid where a name was written
	Port   uint16
	Scheme string // http or https where a URL was written; else empty
	Path   string // with query; empty where none was written
	User   string // user information of a URL without its escapes, such as me:secret
	// Authority is what a client puts into Host or :authority: without the port where it
	// is the scheme's own (RFC 9110, 7.2).
	Authority string
}

// ParseTarget reads HOST[:PORT], ADDR[:PORT], [V6]:PORT or a URL. The port is the
// scheme's, else 80.
func ParseTarget(s string) (Target, error) {
	if s == "" {
		return Target{}, fmt.Errorf("an empty address: want HOST[:PORT], ADDR[:PORT], [V6]:PORT or a URL")
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return hostPort(s, s, "", 80)
	}
	scheme = strings.ToLower(scheme)
	port, known := map[string]uint16{"http": 80, "https": 443}[scheme]
	if !known {
		return Target{}, fmt.Errorf("URL %q: scheme %q is not http or https", s, scheme)
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	user := ""
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		user, host = unescape(host[:i]), host[i+1:]
	}
	t, err := hostPort(s, host, scheme, port)
	if err != nil {
		return t, err
	}
	t.User = user
	t.Path, _, _ = strings.Cut(path, "#")
	if strings.HasPrefix(t.Path, "?") {
		t.Path = "/" + t.Path
	}
	return t, nil
}

func hostPort(whole, s, scheme string, port uint16) (Target, error) {
	t := Target{Scheme: scheme, Port: port}
	own := port
	host, digits := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return t, fmt.Errorf("address %q: no ] after [", whole)
		}
		host, digits = s[1:end], s[end+1:]
		if digits != "" && digits[0] != ':' {
			return t, fmt.Errorf("address %q: %q after ]", whole, digits)
		}
	case strings.Count(s, ":") == 1:
		i := strings.IndexByte(s, ':')
		host, digits = s[:i], s[i:]
	}
	if digits != "" {
		n, err := strconv.ParseUint(digits[1:], 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("address %q: port %q is not a number from 1 to 65535", whole, digits[1:])
		}
		t.Port = uint16(n)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		t.Addr = a.WithZone("").Unmap()
		t.Authority = t.Addr.String()
		if t.Addr.Is6() {
			t.Authority = "[" + t.Authority + "]"
		}
	} else {
		if err := hostName(whole, host); err != nil {
			return t, err
		}
		t.Host, t.Authority = host, host
	}
	if t.Port != own {
		t.Authority += ":" + strconv.Itoa(int(t.Port))
	}
	return t, nil
}

// hostName refuses what is no name either, such as 10.0.0.300, which would otherwise be
// looked up in DNS and fail far from its cause.
func hostName(whole, s string) error {
	if s == "" {
		return fmt.Errorf("address %q: no host", whole)
	}
	digits := true
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_'
		if !ok {
			return fmt.Errorf("address %q: neither an IP address nor a host name", whole)
		}
		digits = digits && (r >= '0' && r <= '9' || r == '.')
	}
	if digits {
		return fmt.Errorf("address %q: not an IP address (four numbers from 0 to 255)", whole)
	}
	return nil
}

// unescape is the user part of a URL without its percent escapes, as curl sends it.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

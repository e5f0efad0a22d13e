package envoy

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// vhostIndex finds the virtual host of a table by its domains, in a time that does not
// depend on their number. (config_impl.cc: RouteMatcher::findVirtualHost)
type vhostIndex struct {
	exact    map[string]int32
	suffixes wildcards // "*-bar.com" under "-bar.com"
	prefixes wildcards // "foo.*" under "foo."
	any      int32     // the host with "*"; -1: none
	hosts    []tableHost
	// near holds hosts by a looser name, for explanations: without port and trailing dot,
	// and by the first label. It is made when the first request asks for it.
	near     map[string][]int32
	nearOnce sync.Once
}

// wildcards are domains with one '*', by the text beside it; the longest counts.
type wildcards struct {
	text    map[string]int32
	lengths []int // of the texts, longest first
}

// domainKind is how a host was found.
type domainKind uint8

const (
	domainNone domainKind = iota
	domainExact
	domainSuffix
	domainPrefix
	domainAny
)

// newVhostIndex builds the index of a table's hosts.
func newVhostIndex(hosts []tableHost) *vhostIndex {
	x := &vhostIndex{exact: make(map[string]int32, len(hosts)), any: -1, hosts: hosts,
		suffixes: wildcards{text: map[string]int32{}}, prefixes: wildcards{text: map[string]int32{}}}
	for i, h := range hosts {
		for _, d := range h.domains {
			x.domain(lower(d), int32(i))
		}
	}
	x.suffixes.sort()
	x.prefixes.sort()
	return x
}

func (x *vhostIndex) domain(d string, i int32) {
	switch {
	case d == "*":
		x.any = i
	case strings.HasPrefix(d, "*"):
		x.suffixes.text[d[1:]] = i
	case strings.HasSuffix(d, "*"):
		x.prefixes.text[d[:len(d)-1]] = i
	default:
		x.exact[d] = i
	}
}

// loosely makes near.
func (x *vhostIndex) loosely() {
	x.near = make(map[string][]int32, len(x.hosts))
	for i, h := range x.hosts {
		for _, d := range h.domains {
			if d = lower(d); d != "*" {
				x.remember(looseName(d), int32(i))
				x.remember(firstLabel(d), int32(i))
			}
		}
	}
}

// nearPerName bounds the candidates under one loose name.
const nearPerName = 8

func (x *vhostIndex) remember(name string, i int32) {
	if l := x.near[name]; name != "" && len(l) < nearPerName && !slices.Contains(l, i) {
		x.near[name] = append(l, i)
	}
}

// looseName is a domain without wildcard, port and trailing dot.
func looseName(d string) string {
	return strings.TrimSuffix(withoutPort(strings.Trim(d, "*")), ".")
}

// firstLabel is the text before the first dot of a name, empty for addresses and wildcards.
func firstLabel(d string) string {
	d = withoutPort(d)
	label, _, _ := strings.Cut(d, ".")
	if strings.ContainsAny(label, "*[") || strings.Trim(label, "0123456789") == "" {
		return ""
	}
	return label
}

func (w *wildcards) sort() {
	for t := range w.text {
		if !slices.Contains(w.lengths, len(t)) {
			w.lengths = append(w.lengths, len(t))
		}
	}
	slices.Sort(w.lengths)
	slices.Reverse(w.lengths)
}

// suffix is the longest "*TEXT" such that host is strictly longer and ends with TEXT.
func (w *wildcards) suffix(host string) (int32, string, bool) {
	for _, n := range w.lengths {
		if n < len(host) {
			if i, ok := w.text[host[len(host)-n:]]; ok {
				return i, "*" + host[len(host)-n:], true
			}
		}
	}
	return 0, "", false
}

// prefix is the longest "TEXT*" such that host is strictly longer and begins with TEXT.
func (w *wildcards) prefix(host string) (int32, string, bool) {
	for _, n := range w.lengths {
		if n < len(host) {
			if i, ok := w.text[host[:n]]; ok {
				return i, host[:n] + "*", true
			}
		}
	}
	return 0, "", false
}

// onlyAny says that the table has nothing but a "*" host, which then takes every request
// without a look at its host.
func (x *vhostIndex) onlyAny() bool {
	return x.any >= 0 && len(x.exact) == 0 && len(x.suffixes.text) == 0 && len(x.prefixes.text) == 0
}

// find is the virtual host for a host name in lower case, with the domain that took it.
func (x *vhostIndex) find(host string) (i int32, kind domainKind, domain string) {
	if i, ok := x.exact[host]; ok {
		return i, domainExact, host
	}
	if i, d, ok := x.suffixes.suffix(host); ok {
		return i, domainSuffix, d
	}
	if i, d, ok := x.prefixes.prefix(host); ok {
		return i, domainPrefix, d
	}
	if x.any >= 0 {
		return x.any, domainAny, "*"
	}
	return -1, domainNone, ""
}

// candidates are the hosts that a person may have meant by host: the same name with
// another port, or the same first label. winner is left out.
func (x *vhostIndex) candidates(host string, winner int32) []int32 {
	x.nearOnce.Do(x.loosely)
	var out []int32
	for _, name := range [...]string{looseName(host), firstLabel(host)} {
		for _, i := range x.near[name] {
			if i != winner && !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	slices.Sort(out)
	return out
}

// maxTypos bounds the tables in which a slip of the pen is looked for, host by host.
const maxTypos = 2000

// typos are the hosts whose name differs from host by one letter.
func typos(hosts []tableHost, host string, winner int32) (out []int32) {
	if len(hosts) > maxTypos {
		return nil
	}
	name := looseName(host)
	for i := range hosts {
		if int32(i) == winner || len(out) == nearPerName {
			continue
		}
		for _, d := range hosts[i].domains {
			if d != "*" && oneSlip(name, looseName(lower(d))) {
				out = append(out, int32(i))
				break
			}
		}
	}
	return out
}

// oneSlip says whether two texts differ by one letter that is wrong, missing or too many,
// or by two neighbours that changed places.
func oneSlip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || len(a) < 3 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	if len(a) < len(b) {
		return a == b[1:]
	}
	if a == "" {
		return false
	}
	return a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
}

// withoutPort cuts at the last ':' outside brackets, digits or not.
// (ignore_port_in_host_matching)
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	return host[:i]
}

// portOf cuts ":digits" off the end of a host and gives the number; false where there is
// none. It may have a plus sign and up to 32 bits, as absl::SimpleAtoi reads it.
// (strip_any_host_port, strip_matching_host_port: HeaderUtility::stripPortFromHost)
func portOf(host string) (name, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i == len(host)-1 || strings.IndexByte(host[i:], ']') >= 0 {
		return host, "", false
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(host[i+1:], "+"), 10, 32)
	if err != nil {
		return host, "", false
	}
	return host[:i], strconv.FormatUint(n, 10), true
}

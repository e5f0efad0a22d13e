package envoy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// chainMatch is a FilterChainMatch (config.listener.v3).
type chainMatch struct {
	port       int
	dst        []string
	names      []string
	transport  string
	alpn       []string
	direct     []string
	sourceType string
	src        []string
	srcPorts   []int
}

// fields are those of a chainMatch, by number.
var fields = []int{0, 1, 2, 3, 4, 5, 6, 7, 8}

func (m chainMatch) json() M {
	out := M{}
	if m.port != 0 {
		out["destination_port"] = m.port
	}
	if m.transport != "" {
		out["transport_protocol"] = m.transport
	}
	if m.sourceType != "" {
		out["source_type"] = m.sourceType
	}
	for k, l := range map[string]A{"prefix_ranges": cidrs(m.dst), "server_names": list(m.names),
		"application_protocols": list(m.alpn), "direct_source_prefix_ranges": cidrs(m.direct),
		"source_prefix_ranges": cidrs(m.src), "source_ports": list(m.srcPorts)} {
		if l != nil {
			out[k] = l
		}
	}
	return out
}

func masked(prefix string) string { return netip.MustParsePrefix(prefix).Masked().String() }

// each is f of every element, or what an empty list stands for.
func each[T any](l []T, f func(T) string) []string {
	if len(l) == 0 {
		return []string{""}
	}
	var out []string
	for _, x := range l {
		out = append(out, f(x))
	}
	return out
}

// keys are the combinations that the match stands for: Envoy refuses a listener in which
// two chains share one.
func (m chainMatch) keys() []string {
	same := func(s string) string { return s }
	keys := []string{fmt.Sprint(m.port, " ", m.transport, " ", m.sourceType)}
	for _, l := range [][]string{each(m.dst, masked), each(m.names, strings.ToLower), each(m.alpn, same),
		each(m.direct, masked), each(m.src, masked), each(m.srcPorts, func(p int) string { return fmt.Sprint(p) })} {
		var next []string
		for _, k := range keys {
			for _, x := range l {
				next = append(next, k+"|"+x)
			}
		}
		keys = next
	}
	return keys
}

// prefix is a prefix of one of the addresses. Loopback ones stay loopback.
func (d *dice) prefix(from []string) string {
	ip := pick(d, from...)
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("%s/%d", ip, pick(d, lengths6...))
	}
	n := pick(d, lengths4...)
	if strings.HasPrefix(ip, "127.") {
		n = max(n, 8)
	}
	return fmt.Sprintf("%s/%d", ip, n)
}

// prefixes are one or two different prefixes of the addresses; nil: of any.
func (d *dice) prefixes(from []string) (out []string) {
	for range 1 + d.IntN(2) {
		l := from
		if l == nil {
			l = ips4
			if d.chance(0.15) {
				l = ips6
			}
		}
		p := d.prefix(l)
		if !slices.ContainsFunc(out, func(x string) bool { return masked(x) == masked(p) }) {
			out = append(out, p)
		}
	}
	return out
}

// setField gives field f a value, or takes it away.
func (d *dice) setField(m *chainMatch, f int, set bool) {
	var fresh chainMatch
	if set {
		fresh = d.fullMatch()
	}
	switch f {
	case 0:
		m.port = fresh.port
	case 1:
		m.dst = fresh.dst
	case 2:
		m.names = fresh.names
	case 3:
		m.transport = fresh.transport
	case 4:
		m.alpn = fresh.alpn
	case 5:
		m.direct = fresh.direct
	case 6:
		m.sourceType = fresh.sourceType
	case 7:
		m.src = fresh.src
	case 8:
		m.srcPorts = fresh.srcPorts
	}
}

// fullMatch sets every field.
func (d *dice) fullMatch() chainMatch {
	m := chainMatch{port: pick(d, ports...), dst: d.prefixes(nil), names: some(d, 1+d.IntN(2), patterns),
		transport: pick(d, "tls", "raw_buffer", "tls", "raw_buffer", "quic"), alpn: some(d, 1+d.IntN(2), protocols),
		direct: d.prefixes(clients), sourceType: pick(d, "SAME_IP_OR_LOOPBACK", "EXTERNAL"), src: d.prefixes(nil),
		srcPorts: some(d, 1+d.IntN(2), sourcePorts)}
	if len(m.names) == 2 && strings.EqualFold(m.names[0], m.names[1]) {
		m.names = m.names[:1]
	}
	return m
}

// matches are up to n chain matches over the fields in focus, mostly kin to each other.
func (d *dice) matches(n int, focus []int) (out []chainMatch) {
	taken := map[string]bool{}
	for try := 0; len(out) < n && try < 60; try++ {
		var m chainMatch
		if len(out) > 0 && d.chance(0.6) {
			m = pick(d, out...)
			for range 1 + d.IntN(2) {
				d.setField(&m, pick(d, focus...), d.chance(0.65))
			}
		} else {
			for _, f := range focus {
				d.setField(&m, f, d.chance(0.45))
			}
		}
		keys := m.keys()
		shared := slices.ContainsFunc(keys, func(k string) bool { return taken[k] })
		if ambiguous(append(out, m)) || shared && !d.chance(0.004) { // a refused listener is a case, too
			continue
		}
		for _, k := range keys {
			taken[k] = true
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		out = append(out, chainMatch{port: 80})
	}
	return out
}

// ambiguous: an explicit /0 beside a chain without that field. Envoy 1.40 decides between
// them anew in each process.
func ambiguous(l []chainMatch) bool {
	for _, of := range []func(chainMatch) []string{
		func(m chainMatch) []string { return m.dst },
		func(m chainMatch) []string { return m.direct },
		func(m chainMatch) []string { return m.src },
	} {
		unset, zero := false, false
		for _, m := range l {
			unset = unset || of(m) == nil
			zero = zero || slices.ContainsFunc(of(m), func(p string) bool { return strings.HasSuffix(p, "/0") })
		}
		if unset && zero {
			return true
		}
	}
	return false
}

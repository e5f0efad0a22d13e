package plain

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
)

// holes are the destinations of --except, names looked up as the pod's processes would.
func holes(ctx context.Context, pod inspect.Pod, r session.Reading, except []string) ([]flow.Hole, error) {
	var out []flow.Hole
	for _, s := range except {
		h, host, err := parseHole(s)
		if err != nil {
			return nil, usage("--except %q: %w", s, err)
		}
		if host == "" {
			out = append(out, h)
			continue
		}
		found, err := session.Lookup(ctx, pod, r, host, 0, 0)
		if err != nil {
			return nil, cannot(fmt.Errorf("--except %s: %w", s, err))
		}
		for _, a := range found.Addrs {
			out = append(out, flow.Hole{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: h.Port})
		}
	}
	return out, nil
}

// parseHole reads CIDR, ADDR, ADDR:PORT, [V6]:PORT or HOST:PORT. A host is given back to be
// looked up.
func parseHole(s string) (h flow.Hole, host string, err error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		switch {
		case p.Addr().Is4In6():
			return h, "", fmt.Errorf("write the IPv4 addresses as such")
		case p != p.Masked():
			return h, "", fmt.Errorf("the address has bits behind its prefix: was %s meant?", p.Masked())
		}
		return flow.Hole{Prefix: p}, "", nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return flow.Hole{Prefix: netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}, "", nil
	}
	at := strings.LastIndexByte(s, ':')
	if at <= 0 {
		return h, "", fmt.Errorf("want CIDR, ADDR or HOST:PORT, such as 10.0.0.0/8 or 10.96.0.10:53")
	}
	port, perr := strconv.ParseUint(s[at+1:], 10, 16)
	if perr != nil || port == 0 {
		return h, "", fmt.Errorf("port %q: want a number from 1 to 65535", s[at+1:])
	}
	h.Port = uint16(port)
	name := s[:at]
	if inner, ok := strings.CutPrefix(name, "["); ok {
		name = strings.TrimSuffix(inner, "]")
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
		h.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return h, "", nil
	}
	if p, err := netip.ParsePrefix(name); err == nil && p == p.Masked() {
		h.Prefix = p
		return h, "", nil
	}
	if strings.ContainsAny(name, "/:[]% \t") {
		return h, "", fmt.Errorf("%q is neither an address nor a name", name)
	}
	return h, name, nil
}

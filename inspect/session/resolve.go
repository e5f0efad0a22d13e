package session

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/meshtop/meshtop/inspect"
)

// Resolve is the address of a name as the pod's processes see it: localhost, the pod's
// hosts file where the reading has it, then the pod's own resolver.
func Resolve(ctx context.Context, pod inspect.Pod, r Reading, name string) (netip.Addr, error) {
	all, err := ResolveAll(ctx, pod, r, name)
	if err != nil {
		return netip.Addr{}, err
	}
	return all[0], nil
}

// ResolveAll is Resolve with every address that the resolver gives.
func ResolveAll(ctx context.Context, pod inspect.Pod, r Reading, name string) ([]netip.Addr, error) {
	if a, ok := hosts(r.Files["hosts"], name); ok {
		return []netip.Addr{a}, nil
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	if p, ok := pod.(inspect.Resolver); ok {
		all, err := p.Resolve(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", name, err)
		}
		for i := range all {
			all[i] = all[i].Unmap()
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	return nil, fmt.Errorf("name %q: %w: write the address, and the name with --authority", name, inspect.ErrNotFound)
}

// hosts looks a name up in a hosts file (hosts(5)); the first line that has it wins.
func hosts(file []byte, name string) (netip.Addr, bool) {
	sc := bufio.NewScanner(bytes.NewReader(file))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		for _, n := range f[1:] {
			if a, err := netip.ParseAddr(f[0]); err == nil && strings.EqualFold(n, name) {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// kernel reads the kernel's parts by the programs that the containers have.
func (in *inside) kernel(ctx context.Context, l *look) {
	in.rules(ctx, l)
	in.tool(ctx, l, "addr.json", false, "ip", "-j", "addr", "show")
	in.tool(ctx, l, "route.json", false, "ip", "-j", "-4", "route", "show", "table", "all")
	in.tool(ctx, l, "route6.json", false, "ip", "-j", "-6", "route", "show", "table", "all")
	in.tool(ctx, l, "rule.json", false, "ip", "-j", "-4", "rule", "show")
	in.tool(ctx, l, "rule6.json", false, "ip", "-j", "-6", "rule", "show")
	in.sysctl(ctx, l)
	in.sockets(ctx, l)
	in.conntrack(ctx, l)
}

// rules reads the rules, where a container's processes may: the same programs as on a node, and
// as there no command names a table, since that would create it.
func (in *inside) rules(ctx context.Context, l *look) {
	parts := []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json"}
	if !slices.ContainsFunc(in.boxes, func(b box) bool { return b.admin }) {
		l.lack(parts, fmt.Errorf("no process may read rules there (CAP_NET_ADMIN): %s", in.who()))
		return
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		nft, legacy := family+"-nft-save", family+"-legacy-save"
		plain := family + "-save"
		if b, ok := in.with(plain, true); ok && !in.any(nft) && !in.any(legacy) {
			out, err := in.run(ctx, l, b.name, plain, "-V")
			if err == nil && strings.Contains(string(out), "nf_tables") {
				nft = plain
			} else {
				legacy = plain
			}
		}
		in.tool(ctx, l, family+"-save", true, nft, "-c")
		in.legacy(ctx, l, family, legacy)
	}
	in.tool(ctx, l, "nft.json", true, "nft", "-j", "list", "ruleset")
}

// legacy reads the old tables; without a program for them the kernel still says to root
// whether there are any.
func (in *inside) legacy(ctx context.Context, l *look, family, program string) {
	part := family + "-legacy-save"
	if in.any(program) || !l.wants(part) {
		in.tool(ctx, l, part, true, program, "-c")
		return
	}
	path := map[string]string{"iptables": "/proc/net/ip_tables_names", "ip6tables": "/proc/net/ip6_tables_names"}[family]
	b, ok := in.root("cat")
	if !ok {
		l.gap(part, fmt.Errorf("no %s in the images, and no container runs cat as root to see whether there are such tables", program))
		return
	}
	names, err := in.run(ctx, l, b.name, "cat", path)
	switch {
	case err != nil && strings.Contains(err.Error(), "No such file"), err == nil && strings.TrimSpace(string(names)) == "":
		l.keep(part, nil) // no such table was ever made
	case err != nil:
		l.gap(part, fmt.Errorf("%s in container %s: %w", path, b.name, err))
	default:
		l.gap(part, fmt.Errorf("no %s in the images, and the kernel has the tables %s", program, strings.Join(strings.Fields(string(names)), ", ")))
	}
}

// tool runs a program whose whole output is one part, in the first container that has it.
func (in *inside) tool(ctx context.Context, l *look, part string, admin bool, argv ...string) {
	if !l.wants(part) || ctx.Err() != nil {
		return
	}
	b, ok := in.with(argv[0], admin)
	if !ok {
		l.gap(part, in.without(argv[0], admin))
		return
	}
	out, err := in.run(ctx, l, b.name, argv...)
	if err != nil {
		l.gap(part, fmt.Errorf("%s in container %s: %w", strings.Join(argv, " "), b.name, err))
		return
	}
	l.keep(part, out)
}

// with is the first container that has a program; admin: whose processes may read rules.
func (in *inside) with(tool string, admin bool) (box, bool) {
	for _, b := range in.boxes {
		if b.has(tool) && (b.admin || !admin) {
			return b, true
		}
	}
	return box{}, false
}

// any says whether a container that may read rules has the program.
func (in *inside) any(tool string) bool {
	_, ok := in.with(tool, true)
	return ok
}

// root is the first container that has a program and runs as root.
func (in *inside) root(tool string) (box, bool) {
	for _, b := range in.boxes {
		if b.has(tool) && b.uid == "0" {
			return b, true
		}
	}
	return box{}, false
}

// without says where a program was looked for.
func (in *inside) without(tool string, admin bool) error {
	var names, why []string
	for _, b := range in.boxes {
		switch {
		case b.why != nil:
			why = append(why, b.why.Error())
		case admin && !b.admin:
		default:
			names = append(names, b.name)
		}
	}
	if len(names) > 0 {
		why = append(why, "container "+strings.Join(names, ", ")+": no "+tool+" in the image")
	}
	if len(why) == 0 {
		return errors.New("no container runs in the pod")
	}
	return errors.New(strings.Join(why, "; "))
}

// who names the containers with the user of each.
func (in *inside) who() string {
	var out []string
	for _, b := range in.boxes {
		if b.why != nil {
			out = append(out, b.why.Error())
		} else {
			out = append(out, "container "+b.name+" runs as uid "+b.uid)
		}
	}
	if len(out) == 0 {
		return "no container runs in the pod"
	}
	return strings.Join(out, "; ")
}

// settings prints what decides about packets, a path and a value a line. By cat: a shell's own
// read takes byte by byte, and of these files only the first read gives anything.
const settings = `cd /proc/sys && for f in net/ipv4/ip_forward net/ipv4/ip_nonlocal_bind net/ipv4/ip_local_port_range net/ipv4/fwmark_reflect net/ipv4/tcp_fwmark_accept net/ipv4/conf/*/route_localnet net/ipv4/conf/*/rp_filter net/ipv4/conf/*/forwarding net/ipv4/conf/*/accept_local net/ipv4/conf/*/src_valid_mark net/ipv6/bindv6only net/ipv6/ip_nonlocal_bind net/ipv6/conf/*/disable_ipv6 net/ipv6/conf/*/forwarding; do
v=$(cat "$f" 2>/dev/null) && echo "$f $v"; done; :`

// sysctl reads settings in the form of `sysctl -a`: a dot in a device's name is a slash there.
func (in *inside) sysctl(ctx context.Context, l *look) {
	out, ok := in.shell(ctx, l, "sysctl", settings)
	if !ok {
		return
	}
	var b strings.Builder
	swap := strings.NewReplacer("/", ".", ".", "/")
	for line := range strings.Lines(string(out)) {
		if path, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			fmt.Fprintf(&b, "%s = %s\n", swap.Replace(path), value)
		}
	}
	if b.Len() == 0 {
		l.gap("sysctl", errors.New("there is no /proc/sys/net in the containers"))
		return
	}
	l.keep("sysctl", []byte(b.String()))
}

// shell runs a script for a part in the first container that has a shell and cat.
func (in *inside) shell(ctx context.Context, l *look, part, script string) ([]byte, bool) {
	if !l.wants(part) || ctx.Err() != nil {
		return nil, false
	}
	b, ok := in.with("cat", false)
	if !ok {
		l.gap(part, in.without("cat", false))
		return nil, false
	}
	out, err := in.run(ctx, l, b.name, "sh", "-c", script)
	if err != nil {
		l.gap(part, fmt.Errorf("container %s: %w", b.name, err))
		return nil, false
	}
	return out, true
}

// sockets reads the pod's sockets from /proc/net. Whose process one is stands nowhere there.
func (in *inside) sockets(ctx context.Context, l *look) {
	out, ok := in.shell(ctx, l, "sockets", `for f in tcp tcp6 udp udp6; do echo "== $f"; cat "/proc/net/$f"; done 2>/dev/null; :`)
	if !ok {
		return
	}
	text, both, err := procSockets(string(out))
	if err != nil {
		l.gap("sockets", err)
		return
	}
	l.keep("sockets", text)
	if both {
		l.gap("sockets", errors.New("/proc/net does not say which sockets are for IPv6 only: those of any address are taken for both families"))
	}
}

// conntrack reads the connections that are tracked, which root sees.
func (in *inside) conntrack(ctx context.Context, l *look) {
	if in.any("conntrack") {
		in.tool(ctx, l, "conntrack", true, "conntrack", "-L", "-o", "extended")
		return
	}
	if !l.wants("conntrack") || ctx.Err() != nil {
		return
	}
	b, ok := in.root("cat")
	if !ok {
		l.gap("conntrack", fmt.Errorf("only root sees tracked connections: %s", in.who()))
		return
	}
	out, err := in.run(ctx, l, b.name, "cat", "/proc/net/nf_conntrack")
	if err != nil {
		l.gap("conntrack", fmt.Errorf("/proc/net/nf_conntrack in container %s: %w", b.name, err))
		return
	}
	l.keep("conntrack", out)
}

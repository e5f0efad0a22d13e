package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
)

// kernel reads the kernel's parts.
func (r *reading) kernel(ctx context.Context) {
	r.rules(ctx)
	r.tool(ctx, "addr.json", "ip", "-j", "addr", "show")
	r.tool(ctx, "route.json", "ip", "-j", "-4", "route", "show", "table", "all")
	r.tool(ctx, "route6.json", "ip", "-j", "-6", "route", "show", "table", "all")
	r.tool(ctx, "rule.json", "ip", "-j", "-4", "rule", "show")
	r.tool(ctx, "rule6.json", "ip", "-j", "-6", "rule", "show")
	r.sysctls(ctx)
	if r.wants("sockets") {
		if all, err := r.sockets(ctx); err != nil {
			r.gap("sockets", err)
		} else {
			r.keep("sockets", socketText(all))
		}
	}
	r.conntrack(ctx)
}

// ruleParts are the parts that only CAP_NET_ADMIN can read.
var ruleParts = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json", "ipset"}

// rules reads the rules of both back ends, of both families, and nft's own. No command here
// names a table: `iptables-legacy-save -t nat` would create it, hooks and all; without -t it
// lists what is there.
func (r *reading) rules(ctx context.Context) {
	if !slices.ContainsFunc(ruleParts, r.wants) || ctx.Err() != nil {
		return
	}
	if !canAdmin() {
		for _, p := range ruleParts {
			if r.wants(p) && p != "ipset" {
				r.gap(p, fmt.Errorf("reading rules needs root (CAP_NET_ADMIN), which uid %d has not; addresses, routes, sockets and Envoy's admin interface can be read without", os.Geteuid()))
			}
		}
		return
	}
	big := r.big(ctx)
	for _, f := range []struct {
		name   string
		number uint8
	}{{"iptables", 2}, {"ip6tables", 10}} {
		if big == nil {
			r.save(ctx, f.name)
			continue
		}
		r.keep(f.name+"-save", big.text[f.number])
		r.legacy(ctx, f.name, f.name+"-legacy-save", have(f.name+"-legacy-save"))
	}
	if big == nil {
		r.tool(ctx, "nft.json", "nft", "-j", "list", "ruleset")
	} else {
		r.bigJSON(ctx, big)
	}
	r.sets(ctx)
}

// save reads one family's rules. The two back ends have programs of their own; where there
// is only a plain one, what it is decides which part it brings.
func (r *reading) save(ctx context.Context, family string) {
	nft, legacy := family+"-nft-save", family+"-legacy-save"
	hasNFT, hasLegacy := have(nft), have(legacy)
	if !hasNFT && !hasLegacy && have(family+"-save") {
		plain := family + "-save"
		if r.isNFT(ctx, plain) {
			nft, hasNFT = plain, true
		} else {
			legacy, hasLegacy = plain, true
		}
	}
	r.tool(ctx, family+"-save", nft, "-c")
	r.legacy(ctx, family, legacy, hasLegacy)
}

// legacy reads the old tables. Without a program for them the kernel still says whether there
// are any: then nothing is missing.
func (r *reading) legacy(ctx context.Context, family, program string, has bool) {
	part := family + "-legacy-save"
	if has || !r.wants(part) {
		r.tool(ctx, part, program, "-c")
		return
	}
	names, err := r.file(map[string]string{"iptables": "/proc/thread-self/net/ip_tables_names", "ip6tables": "/proc/thread-self/net/ip6_tables_names"}[family])
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && len(bytes.TrimSpace(names)) == 0:
		r.keep(part, nil) // no such table was ever made in this namespace
	case err != nil:
		r.gap(part, err)
	default:
		r.gap(part, fmt.Errorf("%s: no such program on this machine, and the kernel has the tables %s", program, strings.Join(strings.Fields(string(names)), ", ")))
	}
}

// isNFT says whether a plain iptables-save is of the nft back end: "v1.8.9 (nf_tables)".
// Before 1.8 there was no other than the legacy one, and no word for it.
func (r *reading) isNFT(ctx context.Context, program string) bool {
	out, err := r.run(ctx, program, "-V")
	return err == nil && bytes.Contains(out, []byte("nf_tables"))
}

// sets reads ipsets where a rule asks for one.
func (r *reading) sets(ctx context.Context) {
	if !r.wants("ipset") || ctx.Err() != nil {
		return
	}
	used := false
	for _, p := range ruleParts {
		used = used || bytes.Contains(r.out.Files[p], []byte("--match-set"))
	}
	if used || slices.Contains(r.want.Parts, "ipset") {
		r.tool(ctx, "ipset", "ipset", "save")
	}
}

func have(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// canAdmin says whether this process has CAP_NET_ADMIN (proc(5), CapEff; capabilities(7): 12).
func canAdmin() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return os.Geteuid() == 0
	}
	for l := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(l, "CapEff:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && mask&(1<<12) != 0
		}
	}
	return os.Geteuid() == 0
}

// file reads a file of the kernel's as the namespace's inside sees it.
func (r *reading) file(path string) ([]byte, error) {
	var data []byte
	err := r.pod.space.Do(func() error {
		var err error
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// sysctlFiles are the settings that decide what happens to a packet: below /proc/sys, `*` is
// a device.
var sysctlFiles = []string{
	"net/ipv4/ip_forward", "net/ipv4/ip_nonlocal_bind", "net/ipv4/ip_local_port_range", "net/ipv4/fwmark_reflect", "net/ipv4/tcp_fwmark_accept",
	"net/ipv4/conf/*/route_localnet", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_local", "net/ipv4/conf/*/src_valid_mark",
	"net/ipv6/bindv6only", "net/ipv6/ip_nonlocal_bind", "net/ipv6/conf/*/disable_ipv6", "net/ipv6/conf/*/forwarding",
}

// sysctls reads settings in the form of `sysctl -a`: a name with dots, " = ", the value. A
// dot in a device's name is a slash there.
func (r *reading) sysctls(ctx context.Context) {
	const part = "sysctl"
	if !r.wants(part) || ctx.Err() != nil {
		return
	}
	var b bytes.Buffer
	call := inspect.Call{What: "read /proc/sys/net", Start: time.Now()}
	// /proc/sys/net is that of the namespace of the thread that opens it.
	err := r.pod.space.Do(func() error {
		for _, pattern := range sysctlFiles {
			paths, err := filepath.Glob("/proc/sys/" + pattern)
			if err != nil {
				return err
			}
			for _, path := range paths {
				value, err := os.ReadFile(path)
				if err != nil {
					continue // a device that just went, or a setting of root only
				}
				fmt.Fprintf(&b, "%s = %s\n", sysctlName(path), strings.TrimSpace(string(value)))
			}
		}
		return nil
	})
	call.Took, call.Bytes = time.Since(call.Start), int64(b.Len())
	if err == nil && b.Len() == 0 {
		err = errors.New("there is no /proc/sys/net here")
	}
	if err != nil {
		call.Err = err.Error()
		r.gap(part, err)
	} else {
		r.keep(part, b.Bytes())
	}
	r.out.Calls = append(r.out.Calls, call)
}

// sysctlName swaps dots and slashes, as sysctl(8) does.
func sysctlName(path string) string {
	return strings.Map(func(c rune) rune {
		switch c {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return c
	}, strings.TrimPrefix(path, "/proc/sys/"))
}

// conntrack reads the table of tracked connections: by its tool, else from the file that
// kernels with CONFIG_NF_CONNTRACK_PROCFS have, which has the same form.
func (r *reading) conntrack(ctx context.Context) {
	const part = "conntrack"
	if !r.wants(part) || ctx.Err() != nil {
		return
	}
	if !canAdmin() {
		r.gap(part, fmt.Errorf("reading tracked connections needs root (CAP_NET_ADMIN), which uid %d has not", os.Geteuid()))
		return
	}
	if have("conntrack") {
		r.tool(ctx, part, "conntrack", "-L", "-o", "extended")
		return
	}
	data, err := r.file("/proc/thread-self/net/nf_conntrack")
	if err != nil {
		r.gap(part, errors.New("conntrack: no such program on this machine, and this kernel has no /proc/net/nf_conntrack"))
		return
	}
	r.keep(part, data)
}

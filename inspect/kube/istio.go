package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// istioFlags are the flags of istio-iptables that are read, by their short name
// (tools/istio-iptables/pkg/cmd/root.go).
var istioFlags = map[string]string{
	"envoy-port": "p", "inbound-capture-port": "z", "inbound-tunnel-port": "e", "proxy-uid": "u", "proxy-gid": "g", "istio-inbound-interception-mode": "m",
	"istio-inbound-ports": "b", "istio-local-exclude-ports": "d", "istio-exclude-interfaces": "c", "istio-service-cidr": "i", "istio-service-exclude-cidr": "x",
	"istio-outbound-ports": "q", "istio-local-outbound-ports-exclude": "o", "host-ipv4-loopback-cidr": "lo",
}

// istioSwitches are those that are on or off, by what they are called here; each is an environment
// variable, too.
var istioSwitches = map[string]string{
	"redirect-dns": "dns", "istio-meta-dns-capture": "dns", "capture-all-dns": "alldns", "drop-invalid": "drop", "invalid-drop": "drop",
}

// istioOthers are those that would make other rules.
var istioOthers = []string{
	"istio-inbound-tproxy-mark", "istio-inbound-tproxy-route-table", "kube-virt-interfaces", "dry-run", "skip-rule-apply", "dual-stack", "istio-dual-stack",
	"network-namespace", "cni-mode", "cleanup-only", "istio-outbound-owner-groups", "istio-outbound-owner-groups-exclude", "envoy-user",
}

// istio writes the rules that istio-iptables writes with these arguments and this environment
// into an IPv4 namespace, in its order (tools/istio-iptables/pkg/capture/run.go).
func (w *writer) istio(args []string, env []v1.EnvVar) error {
	set := map[string]string{"p": "15001", "z": "15006", "e": "15008", "u": "1337", "m": "REDIRECT", "lo": "127.0.0.1/32"}
	program := "iptables"
	for _, e := range env {
		name := strings.ToLower(strings.ReplaceAll(e.Name, "_", "-"))
		_, flag := istioFlags[name]
		_, onOff := istioSwitches[name]
		switch {
		case name == "force-iptables-binary" && (e.Value == "legacy" || e.Value == "nft"):
			program = "iptables-" + e.Value
		case name == "force-iptables-binary", e.ValueFrom != nil && (flag || onOff || slices.Contains(istioOthers, name)):
			return fmt.Errorf("istio-iptables: what the variable %s makes of the rules is not read", e.Name)
		case flag:
			set[istioFlags[name]] = e.Value
		case onOff:
			set[istioSwitches[name]] = e.Value
		case slices.Contains(istioOthers, name) && e.Value != "false" && e.Value != "":
			return fmt.Errorf("istio-iptables: what %s=%s makes of the rules is not read", e.Name, e.Value)
		}
	}
	if err := istioArgs(args, set); err != nil {
		return err
	}
	for _, onOff := range istioSwitches {
		if v := set[onOff]; v != "" && v != "true" && v != "false" {
			return fmt.Errorf("istio-iptables: what the value %q of a switch means is not read", v)
		}
	}
	if set["m"] != "REDIRECT" && set["m"] != "TPROXY" {
		return fmt.Errorf("istio-iptables: the mode %s is not read", set["m"])
	}
	if set["g"] == "" {
		set["g"] = set["u"]
	}
	r := &istioRules{set: set, include: listed(set["i"])}
	if err := r.ask(w); err != nil {
		return fmt.Errorf("istio-iptables: %w", err)
	}
	for _, line := range r.all() {
		if err := w.set(partOf[program]).command(strings.Fields(line)); err != nil {
			return fmt.Errorf("istio-iptables: %s: %w", line, err)
		}
	}
	return nil
}

// istioArgs reads the flags into set.
func istioArgs(args []string, set map[string]string) error {
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		long := strings.HasPrefix(name, "--")
		name = strings.TrimLeft(name, "-")
		if strings.HasPrefix(name, "log_") || name == "run-validation" { // no rules
			continue
		}
		if onOff := istioSwitches[name]; long && onOff != "" {
			if !inline {
				value = "true"
			}
			set[onOff] = value
			continue
		}
		if long {
			name = istioFlags[name]
		}
		if _, known := set[name]; !known && !strings.Contains("pzeugmbdcixqo", name) || name == "" || len(name) != 1 && name != "lo" || !strings.HasPrefix(args[i], "-") {
			return fmt.Errorf("istio-iptables: what %s makes of the rules is not read", args[i])
		}
		if !inline {
			if i++; i == len(args) {
				return fmt.Errorf("istio-iptables: -%s has no value", name)
			}
			value = args[i]
		}
		if strings.Contains(value, "$(") {
			return fmt.Errorf("istio-iptables: -%s %s stands for something else", name, value)
		}
		set[name] = value
	}
	return nil
}

// istioRules are the commands, without the program.
type istioRules struct {
	set     map[string]string
	include []string // ranges
	dns     bool     // questions are redirected: all, or those to servers
	servers []string
	out     []string
}

// Marks of TPROXY (tools/istio-iptables/pkg/constants).
const istioMark, istioOutMark = "0x539", "0x53a"

// ask finds out to which name servers questions are redirected: those of the pod's resolv.conf.
func (r *istioRules) ask(w *writer) error {
	if r.dns = r.set["dns"] == "true"; !r.dns || r.set["alldns"] == "true" {
		return nil
	}
	servers, err := w.nameServers()
	if err != nil {
		return fmt.Errorf("which questions of DNS it redirects is not known: %w", err)
	}
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			r.servers = append(r.servers, s)
		}
	}
	r.dns = len(servers) > 0
	return nil
}

func (r *istioRules) add(table, format string, args ...any) {
	r.out = append(r.out, "-t "+table+" "+fmt.Sprintf(format, args...))
}

func (r *istioRules) nat(format string, args ...any) { r.add("nat", format, args...) }

func (r *istioRules) tproxy() bool { return r.set["m"] == "TPROXY" }

func (r *istioRules) all() []string {
	for _, c := range []string{"ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT"} {
		r.nat("-N %s", c)
	}
	if r.tproxy() {
		for _, c := range []string{"ISTIO_INBOUND", "ISTIO_DIVERT", "ISTIO_TPROXY"} {
			r.add("mangle", "-N %s", c)
		}
	}
	for _, dev := range listed(r.set["c"]) {
		for _, table := range []string{"nat", "mangle"} {
			if table == "nat" || r.tproxy() {
				r.add(table, "-A PREROUTING -i %s -j RETURN", dev)
				r.add(table, "-A OUTPUT -o %s -j RETURN", dev)
			}
		}
	}
	if r.set["drop"] == "true" {
		r.add("mangle", "-N ISTIO_DROP")
		r.add("mangle", "-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP")
		r.add("mangle", "-A ISTIO_DROP -j DROP")
	}
	r.nat("-A ISTIO_INBOUND -p tcp --dport %s -j RETURN", r.set["e"])
	r.nat("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports %s", r.set["p"])
	r.nat("-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports %s", r.set["z"])
	r.inbound()
	r.outbound()
	if r.tproxy() {
		r.marks()
	}
	return r.out
}

// inbound takes what comes to the pod: by REDIRECT, or by TPROXY, which needs its own chains.
func (r *istioRules) inbound() {
	if r.set["b"] == "" {
		return
	}
	table, take := "nat", func(match string) { r.nat("-A ISTIO_INBOUND -p tcp%s -j ISTIO_IN_REDIRECT", match) }
	if r.tproxy() {
		r.add("mangle", "-A ISTIO_DIVERT -j MARK --set-xmark %s/0xffffffff", istioMark)
		r.add("mangle", "-A ISTIO_DIVERT -j ACCEPT")
		r.add("mangle", "-A ISTIO_TPROXY ! -d %s -p tcp -j TPROXY --on-port %s --on-ip 0.0.0.0 --tproxy-mark %s/0xffffffff", r.set["lo"], r.set["z"], istioMark)
		table, take = "mangle", func(match string) {
			r.add("mangle", "-A ISTIO_INBOUND -p tcp%s -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT", match)
			r.add("mangle", "-A ISTIO_INBOUND -p tcp%s -j ISTIO_TPROXY", match)
		}
	}
	r.add(table, "-A PREROUTING -p tcp -j ISTIO_INBOUND")
	if r.set["b"] != "*" {
		for _, port := range listed(r.set["b"]) {
			take(" --dport " + port)
		}
		return
	}
	for _, port := range listed(r.set["d"]) {
		r.add(table, "-A ISTIO_INBOUND -p tcp --dport %s -j RETURN", port)
	}
	take("")
}

// outbound takes what leaves the pod.
func (r *istioRules) outbound() {
	r.nat("-A OUTPUT -j ISTIO_OUTPUT")
	for _, port := range listed(r.set["o"]) {
		r.nat("-A ISTIO_OUTPUT -p tcp --dport %s -j RETURN", port)
		r.nat("-A ISTIO_OUTPUT -p udp --dport %s -j RETURN", port)
	}
	r.nat("-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN")
	uids := prefixed("--uid-owner ", listed(r.set["u"]))
	for i, owner := range append(uids, prefixed("--gid-owner ", listed(r.set["g"]))...) {
		to, others := "! --dport "+r.set["e"], ""
		if r.dns {
			others = "-p tcp ! --dport 53 "
			if i < len(uids) { // by gid the port stays as it is
				to = "-m multiport ! --dports 53," + r.set["e"]
			}
		}
		r.nat("-A ISTIO_OUTPUT -o lo ! -d %s -p tcp %s -m owner %s -j ISTIO_IN_REDIRECT", r.set["lo"], to, owner)
		if !slices.ContainsFunc(r.include, loopback) {
			r.nat("-A ISTIO_OUTPUT -o lo %s-m owner ! %s -j RETURN", others, owner)
		}
		r.nat("-A ISTIO_OUTPUT -m owner %s -j RETURN", owner)
	}
	if r.dns {
		r.questions()
	}
	r.nat("-A ISTIO_OUTPUT -d %s -j RETURN", r.set["lo"])
	for _, to := range listed(r.set["x"]) {
		r.nat("-A ISTIO_OUTPUT -d %s -j RETURN", to)
	}
	for _, port := range listed(r.set["q"]) {
		r.nat("-A ISTIO_OUTPUT -p tcp --dport %s -j ISTIO_REDIRECT", port)
	}
	if r.set["i"] == "*" {
		r.nat("-A ISTIO_OUTPUT -j ISTIO_REDIRECT")
		return
	}
	for _, to := range r.include {
		r.nat("-A ISTIO_OUTPUT -d %s -j ISTIO_REDIRECT", to)
	}
}

// questions brings those of DNS to the agent's port, and parts them from its own by conntrack's
// zones.
func (r *istioRules) questions() {
	const port = "15053"
	to, from := prefixed("-d ", r.servers), prefixed("-s ", r.servers)
	if r.set["alldns"] == "true" {
		to, from = []string{""}, []string{""}
	}
	for _, c := range [][2]string{{"nat", "ISTIO_OUTPUT_DNS"}, {"raw", "ISTIO_OUTPUT_DNS"}, {"raw", "ISTIO_INBOUND"}} {
		r.add(c[0], "-N %s", c[1])
	}
	r.add("raw", "-A OUTPUT -j ISTIO_OUTPUT_DNS")
	if len(to) == 0 {
		return
	}
	r.nat("-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS")
	for _, proto := range []string{"tcp", "udp"} {
		for _, d := range to {
			r.nat("-A ISTIO_OUTPUT_DNS -p %s --dport 53 %s -j REDIRECT --to-ports %s", proto, oneHost(d), port)
		}
	}
	for _, owner := range append(prefixed("--uid-owner ", listed(r.set["u"])), prefixed("--gid-owner ", listed(r.set["g"]))...) {
		r.add("raw", "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner %s -j CT --zone 1", owner)
		r.add("raw", "-A ISTIO_OUTPUT_DNS -p udp --sport %s -m owner %s -j CT --zone 2", port, owner)
	}
	r.add("raw", "-A PREROUTING -j ISTIO_INBOUND")
	for i := range to {
		r.add("raw", "-A ISTIO_OUTPUT_DNS -p udp --dport 53 %s -j CT --zone 2", oneHost(to[i]))
		r.add("raw", "-A ISTIO_INBOUND -p udp --sport 53 %s -j CT --zone 1", oneHost(from[i]))
	}
}

// oneHost is a match of one address as iptables-save has it.
func oneHost(match string) string {
	if match == "" || strings.Contains(match, "/") {
		return match
	}
	return match + "/32"
}

// marks are how TPROXY's packets find their way: the mark of a packet becomes its connection's,
// and what the proxy sends to the pod itself is taken once and no more.
func (r *istioRules) marks() {
	mangle := func(format string, args ...any) { r.add("mangle", format, args...) }
	mangle("-A PREROUTING -p tcp -m mark --mark %s -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff", istioMark)
	mangle("-A OUTPUT -p tcp -o lo -m mark --mark %s -j RETURN", istioMark)
	for _, owner := range append(prefixed("--uid-owner ", listed(r.set["u"])), prefixed("--gid-owner ", listed(r.set["g"]))...) {
		mangle("-A OUTPUT ! -d %s -p tcp -o lo -m owner %s -j MARK --set-xmark %s/0xffffffff", r.set["lo"], owner, istioOutMark)
	}
	mangle("-A OUTPUT -p tcp -m connmark --mark %s -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", istioMark)
	mangle("-I ISTIO_INBOUND 1 -p tcp -m mark --mark %s -j RETURN", istioMark)
	mangle("-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN")
	mangle("-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark %s -j RETURN", istioOutMark)
}

// listed are the members of a list with commas; ranges of IPv6 are for its own rules.
func listed(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(w string) bool { return strings.TrimSpace(w) == "" || strings.Contains(w, ":") })
}

func prefixed(with string, list []string) []string {
	var out []string
	for _, w := range list {
		out = append(out, with+w)
	}
	return out
}

// loopback says whether a range is of the loopback, which Istio then does not spare.
func loopback(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Addr().IsLoopback()
}

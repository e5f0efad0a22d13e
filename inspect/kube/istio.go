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
	"istio-outbound-ports": "q", "istio-local-outbound-ports-exclude": "o",
}

// istioOthers are those that would make other rules. Each flag is an environment variable, too.
var istioOthers = []string{
	"istio-inbound-tproxy-mark", "istio-inbound-tproxy-route-table", "kube-virt-interfaces", "dry-run", "skip-rule-apply", "redirect-dns", "istio-meta-dns-capture",
	"drop-invalid", "invalid-drop", "dual-stack", "istio-dual-stack", "capture-all-dns", "network-namespace", "cni-mode", "cleanup-only", "host-ipv4-loopback-cidr",
	"istio-outbound-owner-groups", "istio-outbound-owner-groups-exclude", "envoy-user",
}

// istio writes the rules that istio-iptables writes with these arguments and this environment
// into an IPv4 namespace, in its order (tools/istio-iptables/pkg/capture/run.go).
func (w *writer) istio(args []string, env []v1.EnvVar) error {
	set := map[string]string{"p": "15001", "z": "15006", "e": "15008", "u": "1337", "m": "REDIRECT"}
	program := "iptables"
	for _, e := range env {
		name := strings.ToLower(strings.ReplaceAll(e.Name, "_", "-"))
		switch {
		case name == "force-iptables-binary" && (e.Value == "legacy" || e.Value == "nft"):
			program = "iptables-" + e.Value
		case name == "force-iptables-binary", e.ValueFrom != nil && (istioFlags[name] != "" || slices.Contains(istioOthers, name)):
			return fmt.Errorf("istio-iptables: what the variable %s makes of the rules is not read", e.Name)
		case istioFlags[name] != "":
			set[istioFlags[name]] = e.Value
		case slices.Contains(istioOthers, name) && e.Value != "false" && e.Value != "":
			return fmt.Errorf("istio-iptables: what %s=%s makes of the rules is not read", e.Name, e.Value)
		}
	}
	if err := istioArgs(args, set); err != nil {
		return err
	}
	if set["m"] != "REDIRECT" {
		return fmt.Errorf("istio-iptables: the mode %s is not read", set["m"])
	}
	if set["g"] == "" {
		set["g"] = set["u"]
	}
	for _, line := range istioRules(set) {
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
		if long {
			name = istioFlags[name]
		}
		if _, known := set[name]; !known && !strings.Contains("pzeugmbdcixqo", name) || len(name) != 1 || !strings.HasPrefix(args[i], "-") {
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
func istioRules(set map[string]string) []string {
	var out []string
	nat := func(format string, args ...any) { out = append(out, "-t nat "+fmt.Sprintf(format, args...)) }
	for _, c := range []string{"ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT"} {
		nat("-N %s", c)
	}
	for _, dev := range listed(set["c"]) {
		nat("-A PREROUTING -i %s -j RETURN", dev)
		nat("-A OUTPUT -o %s -j RETURN", dev)
	}
	nat("-A ISTIO_INBOUND -p tcp --dport %s -j RETURN", set["e"])
	nat("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports %s", set["p"])
	nat("-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports %s", set["z"])
	if set["b"] != "" {
		nat("-A PREROUTING -p tcp -j ISTIO_INBOUND")
	}
	if set["b"] == "*" {
		for _, port := range listed(set["d"]) {
			nat("-A ISTIO_INBOUND -p tcp --dport %s -j RETURN", port)
		}
		nat("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT")
	} else {
		for _, port := range listed(set["b"]) {
			nat("-A ISTIO_INBOUND -p tcp --dport %s -j ISTIO_IN_REDIRECT", port)
		}
	}
	nat("-A OUTPUT -j ISTIO_OUTPUT")
	for _, port := range listed(set["o"]) {
		nat("-A ISTIO_OUTPUT -p tcp --dport %s -j RETURN", port)
		nat("-A ISTIO_OUTPUT -p udp --dport %s -j RETURN", port)
	}
	nat("-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN")
	include := listed(set["i"])
	for _, owner := range append(prefixed("--uid-owner ", listed(set["u"])), prefixed("--gid-owner ", listed(set["g"]))...) {
		nat("-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport %s -m owner %s -j ISTIO_IN_REDIRECT", set["e"], owner)
		if !slices.ContainsFunc(include, loopback) {
			nat("-A ISTIO_OUTPUT -o lo -m owner ! %s -j RETURN", owner)
		}
		nat("-A ISTIO_OUTPUT -m owner %s -j RETURN", owner)
	}
	nat("-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN")
	for _, to := range listed(set["x"]) {
		nat("-A ISTIO_OUTPUT -d %s -j RETURN", to)
	}
	for _, port := range listed(set["q"]) {
		nat("-A ISTIO_OUTPUT -p tcp --dport %s -j ISTIO_REDIRECT", port)
	}
	if set["i"] == "*" {
		nat("-A ISTIO_OUTPUT -j ISTIO_REDIRECT")
	} else {
		for _, to := range include {
			nat("-A ISTIO_OUTPUT -d %s -j ISTIO_REDIRECT", to)
		}
	}
	return out
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

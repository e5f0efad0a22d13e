package kube

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// kumaFlags are the flags of `kumactl install transparent-proxy` that are read and take a value, and
// kumaSwitches those that are on or off (app/kumactl/cmd/install/install_transparent_proxy.go).
var (
	kumaFlags = []string{"redirect-outbound-port", "redirect-inbound-port", "redirect-inbound-port-v6", "kuma-dp-uid", "kuma-dp-user", "exclude-inbound-ports",
		"exclude-outbound-ports", "redirect-dns-port", "ip-family-mode", "config-file", "wait", "wait-interval", "max-retries", "sleep-between-retries"}
	kumaSwitches = []string{"redirect-inbound", "redirect-all-dns-traffic", "redirect-dns", "skip-dns-conntrack-zone-split", "verbose", "skip-resolv-conf", "disable-comments"}
)

// kumaMarks are the annotations by which Kuma's CNI plugin is told, each with the flag that says
// the same.
var kumaMarks = map[string]string{
	"kuma.io/transparent-proxying-inbound-port": "redirect-inbound-port", "kuma.io/transparent-proxying-outbound-port": "redirect-outbound-port",
	"kuma.io/transparent-proxying-inbound-v6-port": "redirect-inbound-port-v6", "kuma.io/transparent-proxying-ip-family-mode": "ip-family-mode",
	"kuma.io/sidecar-uid": "kuma-dp-uid", "traffic.kuma.io/exclude-inbound-ports": "exclude-inbound-ports", "traffic.kuma.io/exclude-outbound-ports": "exclude-outbound-ports",
	"kuma.io/builtin-dns-port": "redirect-dns-port",
}

// kumaByMarks writes the rules that Kuma's CNI plugin writes for a pod with these annotations.
func (w *writer) kumaByMarks(marks map[string]string) error {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(marks)) {
		value := marks[key]
		switch {
		case kumaMarks[key] != "":
			args = append(args, "--"+kumaMarks[key]+"="+value)
		case key == "kuma.io/builtin-dns" && value == "enabled":
			args = append(args, "--redirect-all-dns-traffic")
		case key == "kuma.io/gateway" && value == "enabled":
			args = append(args, "--redirect-inbound=false")
		case key == "kuma.io/transparent-proxying-ebpf" && value != "enabled":
		case strings.HasPrefix(key, "kuma.io/transparent-proxying-"), strings.HasPrefix(key, "traffic.kuma.io/"):
			return fmt.Errorf("what the annotation %s makes of the rules is not read", key)
		}
	}
	return w.kuma(args, nil)
}

// kuma writes the rules that `kumactl install transparent-proxy` writes with these arguments, in
// its order (pkg/transparentproxy/iptables/builder).
func (w *writer) kuma(args []string, env []v1.EnvVar) error {
	for _, e := range env {
		if strings.HasPrefix(e.Name, "KUMA_TRANSPARENT_PROXY_") {
			return fmt.Errorf("kumactl: what the variable %s makes of the rules is not read", e.Name)
		}
	}
	set := map[string]string{"redirect-outbound-port": "15001", "redirect-inbound-port": "15006", "redirect-dns-port": "15053", "redirect-inbound": "true"}
	if err := kumaArgs(args, set); err != nil {
		return fmt.Errorf("kumactl: %w", err)
	}
	uid := set["kuma-dp-uid"]
	if uid == "" {
		uid = set["kuma-dp-user"]
	}
	if !number(uid) {
		return errors.New("kumactl: the proxy's uid is not said by number (--kuma-dp-uid)")
	}
	var servers []string
	if set["redirect-dns"] == "true" && set["redirect-all-dns-traffic"] != "true" {
		var err error
		if servers, err = w.nameServers(); err != nil {
			return fmt.Errorf("kumactl: which questions of DNS it redirects is not known: %w", err)
		}
		servers = slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return strings.Contains(s, ":") })
	}
	for _, line := range kumaRules(set, uid, servers) {
		if err := w.set("iptables-save").command(strings.Fields(line)); err != nil {
			return fmt.Errorf("kumactl: %s: %w", line, err)
		}
	}
	return nil
}

func kumaArgs(args []string, set map[string]string) error {
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		name, long := strings.CutPrefix(name, "--")
		switch {
		case long && slices.Contains(kumaSwitches, name):
			if !inline {
				value = "true"
			}
			if value != "true" && value != "false" {
				return fmt.Errorf("what %s means is not read", args[i])
			}
		case long && slices.Contains(kumaFlags, name):
			if !inline {
				if i++; i == len(args) {
					return fmt.Errorf("--%s has no value", name)
				}
				value = args[i]
			}
		default:
			return fmt.Errorf("what %s makes of the rules is not read", args[i])
		}
		if strings.Contains(value, "$(") {
			return fmt.Errorf("--%s %s stands for something else", name, value)
		}
		set[name] = value
	}
	return nil
}

// kumaRules are the commands, without the program.
func kumaRules(set map[string]string, uid string, servers []string) []string {
	var out []string
	add := func(table, format string, args ...any) {
		out = append(out, "-t "+table+" "+fmt.Sprintf(format, args...))
	}
	nat := func(format string, args ...any) { add("nat", format, args...) }
	dns := set["redirect-dns"] == "true" || set["redirect-all-dns-traffic"] == "true"
	to, not53 := prefixed("-d ", servers), ""
	if dns {
		not53 = " ! --dport 53"
	}
	if set["redirect-all-dns-traffic"] == "true" {
		to = []string{""}
	}
	for _, c := range []string{"INBOUND", "OUTBOUND", "INBOUND_REDIRECT", "OUTBOUND_REDIRECT"} {
		nat("-N KUMA_MESH_%s", c)
	}
	nat("-A PREROUTING -p tcp -j KUMA_MESH_INBOUND")
	if dns {
		nat("-A OUTPUT -p udp --dport 53 -m owner --uid-owner %s -j RETURN", uid)
		for _, d := range to {
			nat("-A OUTPUT -p udp --dport 53 %s -j REDIRECT --to-ports %s", oneHost(d), set["redirect-dns-port"])
		}
	}
	nat("-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND")
	if set["redirect-inbound"] == "false" {
		nat("-A KUMA_MESH_INBOUND -p tcp -j RETURN")
	} else {
		for _, port := range listed(set["exclude-inbound-ports"]) {
			nat("-A KUMA_MESH_INBOUND -p tcp --dport %s -j RETURN", port)
		}
		nat("-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT")
	}
	for _, port := range listed(set["exclude-outbound-ports"]) {
		nat("-A KUMA_MESH_OUTBOUND -p tcp --dport %s -j RETURN", port)
	}
	nat("-A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN")
	nat("-A KUMA_MESH_OUTBOUND -p tcp%s -o lo ! -d 127.0.0.1/32 -m owner --uid-owner %s -j KUMA_MESH_INBOUND_REDIRECT", not53, uid)
	nat("-A KUMA_MESH_OUTBOUND -p tcp%s -o lo -m owner ! --uid-owner %s -j RETURN", not53, uid)
	nat("-A KUMA_MESH_OUTBOUND -m owner --uid-owner %s -j RETURN", uid)
	if dns {
		for _, d := range to {
			nat("-A KUMA_MESH_OUTBOUND -p tcp --dport 53 %s -j REDIRECT --to-ports %s", oneHost(d), set["redirect-dns-port"])
		}
	}
	nat("-A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN")
	nat("-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT")
	nat("-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports %s", set["redirect-inbound-port"])
	nat("-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports %s", set["redirect-outbound-port"])
	if !dns || set["skip-dns-conntrack-zone-split"] == "true" {
		return out
	}
	add("raw", "-A OUTPUT -p udp --dport 53 -m owner --uid-owner %s -j CT --zone 1", uid)
	add("raw", "-A OUTPUT -p udp --sport %s -m owner --uid-owner %s -j CT --zone 2", set["redirect-dns-port"], uid)
	for _, d := range to {
		add("raw", "-A OUTPUT -p udp --dport 53 %s -j CT --zone 2", oneHost(d))
		add("raw", "-A PREROUTING -p udp --sport 53 %s -j CT --zone 1", oneHost(d))
	}
	return out
}

package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// consulConfig is what Consul's redirect-traffic does, as its webhook writes it for the init
// container (CONSUL_REDIRECT_TRAFFIC_CONFIG) and for the CNI plugin (consulMark): the fields of
// sdk/iptables.Config.
type consulConfig struct {
	ConsulDNSIP          string
	ConsulDNSPort        int
	ProxyUserID          string
	ProxyInboundPort     int
	ProxyOutboundPort    int
	ExcludeInboundPorts  []string
	ExcludeOutboundPorts []string
	ExcludeOutboundCIDRs []string
	ExcludeUIDs          []string

	// Who carries it out, and where; they make no rules.
	NetNS            string
	IptablesProvider any
	NftablesProvider any
}

const (
	consulMark     = "consul.hashicorp.com/redirect-traffic-config"
	consulVariable = "CONSUL_REDIRECT_TRAFFIC_CONFIG"
)

// consulNote is what cannot be told of which program writes the rules.
const consulNote = "newer builds of Consul write the same as nftables, in a table of their own"

// consul writes the rules that Consul writes with this configuration.
func (w *writer) consul(text string) error {
	var c consulConfig
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields() // one that is new may make other rules
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("consul: its configuration: %w", err)
	}
	return w.consulRules(c)
}

// consulArgs reads the flags of `consul connect redirect-traffic`. What a proxy of that name has,
// Consul itself tells, and nobody else.
func (w *writer) consulArgs(args []string) error {
	var c consulConfig
	lists := map[string]*[]string{"exclude-inbound-port": &c.ExcludeInboundPorts, "exclude-outbound-port": &c.ExcludeOutboundPorts,
		"exclude-outbound-cidr": &c.ExcludeOutboundCIDRs, "exclude-uid": &c.ExcludeUIDs}
	texts := map[string]*string{"proxy-uid": &c.ProxyUserID, "consul-dns-ip": &c.ConsulDNSIP}
	numbers := map[string]*int{"proxy-inbound-port": &c.ProxyInboundPort, "proxy-outbound-port": &c.ProxyOutboundPort, "consul-dns-port": &c.ConsulDNSPort}
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if lists[name] == nil && texts[name] == nil && numbers[name] == nil || !strings.HasPrefix(args[i], "-") {
			return fmt.Errorf("consul: what %s makes of the rules is not read", args[i])
		}
		if !inline {
			if i++; i == len(args) {
				return fmt.Errorf("consul: -%s has no value", name)
			}
			value = args[i]
		}
		switch {
		case strings.Contains(value, "$("):
			return fmt.Errorf("consul: -%s %s stands for something else", name, value)
		case lists[name] != nil:
			*lists[name] = append(*lists[name], value)
		case texts[name] != nil:
			*texts[name] = value
		default:
			n, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("consul: -%s %q: not a number", name, value)
			}
			*numbers[name] = n
		}
	}
	return w.consulRules(c)
}

// consulRules are written in the order of Consul (sdk/iptables/iptables.go): what is left out is
// put before the rest, the last one first.
func (w *writer) consulRules(c consulConfig) error {
	if c.ProxyUserID == "" || c.ProxyInboundPort == 0 {
		return errors.New("consul: the proxy's uid or its inbound port is not said")
	}
	if c.ProxyOutboundPort == 0 {
		c.ProxyOutboundPort = 15001
	}
	var out []string
	nat := func(format string, args ...any) { out = append(out, "-t nat "+fmt.Sprintf(format, args...)) }
	for _, chain := range []string{"CONSUL_PROXY_INBOUND", "CONSUL_PROXY_IN_REDIRECT", "CONSUL_PROXY_OUTPUT", "CONSUL_PROXY_REDIRECT", "CONSUL_DNS_REDIRECT"} {
		nat("-N %s", chain)
	}
	nat("-A CONSUL_PROXY_REDIRECT -p tcp -j REDIRECT --to-ports %d", c.ProxyOutboundPort)
	only, dns := "", c.ConsulDNSIP
	if c.ConsulDNSPort != 0 {
		if dns == "" {
			dns = "127.0.0.1"
		}
		only, dns = " -d "+dns+"/32", dns+":"+strconv.Itoa(c.ConsulDNSPort)
	}
	if dns != "" {
		for _, proto := range []string{"udp", "tcp"} {
			nat("-A CONSUL_DNS_REDIRECT%s -p %s --dport 53 -j DNAT --to-destination %s", only, proto, dns)
			nat("-A OUTPUT%s -p %s --dport 53 -j CONSUL_DNS_REDIRECT", only, proto)
		}
	}
	nat("-A OUTPUT -p tcp -j CONSUL_PROXY_OUTPUT")
	nat("-A CONSUL_PROXY_OUTPUT -m owner --uid-owner %s -j RETURN", c.ProxyUserID)
	nat("-A CONSUL_PROXY_OUTPUT -d 127.0.0.1/32 -j RETURN")
	nat("-A CONSUL_PROXY_OUTPUT -j CONSUL_PROXY_REDIRECT")
	for _, port := range c.ExcludeOutboundPorts {
		nat("-I CONSUL_PROXY_OUTPUT -p tcp --dport %s -j RETURN", port)
	}
	for _, to := range c.ExcludeOutboundCIDRs {
		nat("-I CONSUL_PROXY_OUTPUT %s -j RETURN", oneHost("-d "+to))
	}
	for _, uid := range c.ExcludeUIDs {
		nat("-I CONSUL_PROXY_OUTPUT -m owner --uid-owner %s -j RETURN", uid)
	}
	nat("-A CONSUL_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports %d", c.ProxyInboundPort)
	nat("-A PREROUTING -p tcp -j CONSUL_PROXY_INBOUND")
	nat("-A CONSUL_PROXY_INBOUND -p tcp -j CONSUL_PROXY_IN_REDIRECT")
	for _, port := range c.ExcludeInboundPorts {
		nat("-I CONSUL_PROXY_INBOUND -p tcp --dport %s -j RETURN", port)
	}
	for _, line := range out {
		if err := w.set("iptables-save").command(strings.Fields(line)); err != nil {
			return fmt.Errorf("consul: %s: %w", line, err)
		}
	}
	if !slices.Contains(w.assumed, consulNote) {
		w.assumed = append(w.assumed, consulNote)
	}
	return nil
}

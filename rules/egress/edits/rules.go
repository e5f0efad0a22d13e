package edits

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// MostHoles is how many destinations one change may name: each is a rule that a connection's
// first packet is tried against, and a comment of the table, which are sent in one message of
// netlink (64 KiB).
const MostHoles = 200

// Hook is the chain of a policy and where it hangs.
type Hook struct {
	Chain, Type string
	Priority    int
}

// HookOf is the hook of a kind. A block comes before every nat chain (-100), so that a
// packet still has its own destination, and after conntrack (-200). The way around the proxy
// comes before the nat chains of the pod: the first translation of a connection stays.
func HookOf(k flow.PolicyKind) Hook {
	if k == flow.AllowAll {
		return Hook{"direct", "nat", -110}
	}
	return Hook{"out", "filter", -150}
}

// Owner says by what of its socket a rule matches a packet.
type Owner uint8

const (
	AnyOwner Owner = iota
	ByUID
	ByGID
)

// Action is what a rule does.
type Action uint8

const (
	Return   Action = iota // goes on as if the table were not there
	Refuse                 // a TCP connection's first packet is answered with a reset
	Prohibit               // a UDP packet is answered with ICMP "administratively prohibited"
	Direct                 // the connection's destination is translated to itself
)

// Rule is one rule of the table. A test that is zero is not made.
type Rule struct {
	Loopback bool // leaves by lo
	Owner    Owner
	ID       uint32 // of the owner; valid iff Owner is not AnyOwner
	// Dst is a set of destinations; no test if its prefix is not valid. V4 and V6 are the
	// family alone.
	Dst    flow.Hole
	V4, V6 bool
	Proto  flow.Proto // of the port in Dst
	Do     Action
}

// Rules are the rules of a change's chain, in order.
func Rules(c flow.Change) []Rule {
	out := []Rule{{Loopback: true}}
	if !c.Strong || c.Kind != flow.BlockAll {
		for _, u := range c.ProxyUIDs {
			out = append(out, Rule{Owner: ByUID, ID: u})
		}
		for _, g := range c.ProxyGIDs {
			out = append(out, Rule{Owner: ByGID, ID: g})
		}
	}
	for _, h := range c.Except {
		out = append(out, toward(h, Leased(c), Return)...)
	}
	switch {
	case c.Kind == flow.BlockAll:
		out = append(out, Rule{Do: Refuse})
		if c.Strong {
			out = append(out, Rule{Do: Prohibit})
		}
	case c.Kind == flow.AllowAll && c.All:
		out = append(out, Rule{V4: true, Do: Direct}, Rule{V6: true, Do: Direct})
	case c.Kind == flow.AllowAll:
		for _, h := range c.Open {
			out = append(out, toward(h, Leased(c), Direct)...)
		}
	}
	return out
}

// toward are the rules for a hole: one, or with a port one for each protocol.
func toward(h flow.Hole, protos []flow.Proto, do Action) []Rule {
	v4 := h.Prefix.Addr().Is4()
	if h.Port == 0 {
		return []Rule{{Dst: h, V4: v4, V6: !v4, Do: do}}
	}
	var out []Rule
	for _, p := range protos {
		out = append(out, Rule{Dst: h, V4: v4, V6: !v4, Proto: p, Do: do})
	}
	return out
}

// String is the rule as nft writes it.
func (r Rule) String() string {
	var w []string
	if r.Loopback {
		w = append(w, `oifname "lo"`)
	}
	switch r.Owner {
	case ByUID:
		w = append(w, fmt.Sprintf("meta skuid %d", r.ID))
	case ByGID:
		w = append(w, fmt.Sprintf("meta skgid %d", r.ID))
	}
	ip, family := "ip", "ipv4"
	if r.V6 {
		ip, family = "ip6", "ipv6"
	}
	switch {
	case r.Dst.Prefix.IsValid() && r.Dst.Prefix.Bits() > 0:
		w = append(w, ip+" daddr "+flow.Hole{Prefix: r.Dst.Prefix}.String())
	case r.V4 || r.V6:
		w = append(w, "meta nfproto "+family)
	}
	if r.Dst.Port != 0 {
		w = append(w, fmt.Sprintf("%s dport %d", r.Proto, r.Dst.Port))
	}
	switch r.Do {
	case Return:
		w = append(w, "return")
	case Refuse:
		w = append(w, "meta l4proto @"+Lease+" tcp flags & (fin | syn | rst | ack) == syn counter reject with tcp reset")
	case Prohibit:
		w = append(w, "meta l4proto udp meta l4proto @"+Lease+" counter reject with icmpx type admin-prohibited")
	case Direct:
		w = append(w, fmt.Sprintf("meta l4proto @%s counter dnat %s to %s daddr", Lease, ip, ip))
	}
	return strings.Join(w, " ")
}

package flow

import (
	"net/netip"
	"slices"
)

// Label is what of a cluster stands behind an address.
type Label struct {
	Kind      string            `json:"kind"` // Service, Pod or Node
	Namespace string            `json:"namespace,omitempty"`
	Name      string            `json:"name"`
	Ports     map[uint16]string `json:"ports,omitempty"` // of a Service: its named ports
}

// Names are what is known of addresses. An address that is not there was not asked for, or has
// no name.
type Names struct {
	Labels map[netip.Addr][]Label `json:"addresses"`
	// Partial says of which addresses the names could not be had, and why; empty: of none.
	Partial string `json:"partial,omitempty"`
}

// At is what stands behind an address and port in a few words, such as "shop/web:http" of a Service
// and "shop/web-0" of a pod; empty: nothing that is known. Its words are a cluster's.
func (n Names) At(a netip.AddrPort) string {
	out := ""
	for i, l := range n.Labels[a.Addr().Unmap()] {
		if i > 0 {
			out += " or "
		}
		if l.Namespace != "" {
			out += l.Namespace + "/"
		}
		out += l.Name
		if p := l.Ports[a.Port()]; p != "" {
			out += ":" + p
		}
	}
	return out
}

// Kind is the kind of what stands behind an address; empty: nothing, or of several kinds.
func (n Names) Kind(a netip.Addr) string {
	list := n.Labels[a.Unmap()]
	if len(list) == 0 || slices.ContainsFunc(list, func(l Label) bool { return l.Kind != list[0].Kind }) {
		return ""
	}
	return list[0].Kind
}

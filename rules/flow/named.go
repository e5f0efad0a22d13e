package flow

import "net/netip"

// Named is where an address came from: the name that was written, and what answered for it.
type Named struct {
	Name string
	// Full is the name that was answered for: with a search domain of the pod's, or what an
	// alias (CNAME) led to. Empty: Name itself.
	Full string
	By   NamedBy
	// Where is who answered, such as "/etc/hosts", "10.96.0.10:53" or "Service shop/web".
	Where string
	// Addrs are all addresses of the answer, in the order in which a client tries them: those
	// without a route from the pod last.
	Addrs []netip.Addr
	// NoRoute is how many at the end of Addrs have no route from the pod.
	NoRoute int
	// Server is the name server that was asked, as the pod's resolv.conf has it, and UID and GID
	// are whose socket asked. Valid iff By is NamedServer.
	Server   netip.AddrPort
	UID, GID uint32
	// Via is where the pod's own rules bring the question instead of to Server; zero: nowhere else.
	Via netip.AddrPort
	// Picked says that the user chose among Addrs.
	Picked bool
}

// NamedBy is the kind of what answered for a name.
type NamedBy uint8

const (
	NamedUnknown NamedBy = iota
	NamedHosts           // a hosts file of the pod
	NamedServer          // a name server of the pod's resolv.conf, asked from inside the pod
	NamedProgram         // the resolver of an image of the pod (getent)
	NamedService         // the API server's Service: nobody asked the pod's resolver
	NamedLocal           // localhost, which needs no answer
)

// String is the word that the JSON form uses.
func (b NamedBy) String() string {
	return name([]string{"unknown", "hosts", "server", "program", "service", "localhost"}, int(b))
}

// ParseNamedBy reads the word of a kind; one that is none is NamedUnknown.
func ParseNamedBy(s string) NamedBy {
	for b := NamedHosts; b <= NamedLocal; b++ {
		if b.String() == s {
			return b
		}
	}
	return NamedUnknown
}

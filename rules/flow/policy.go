package flow

import (
	"net/netip"
	"time"
)

// PolicyKind is what a pod's egress is to do.
type PolicyKind uint8

const (
	NoPolicy PolicyKind = iota
	BlockAll            // new connections that leave the pod are refused
	AllowAll            // destinations that the proxy blocks are reached around it
	Restore             // nothing of ours is left
)

var policyNames = [...]string{"none", "block-all", "allow-all", "restore"}

// String is the word that users type and TRACE JSON uses.
func (k PolicyKind) String() string { return name(policyNames[:], int(k)) }

// Driver is the means by which a policy is put into force.
type Driver uint8

const (
	NoDriver      Driver = iota
	Kernel               // own nftables table in the pod's network namespace
	EnvoyRuntime         // limits of 0 in Envoy's admin layer of the runtime
	XDS                  // another configuration, served by our control plane
	Sidecar              // an Istio Sidecar object
	NetworkPolicy        // a Kubernetes NetworkPolicy object
)

var driverNames = [...]string{"none", "kernel", "runtime", "xds", "sidecar", "networkpolicy"}

// String is the word that users type and TRACE JSON uses.
func (d Driver) String() string { return name(driverNames[:], int(d)) }

// PolicyState says what is known of a policy. The zero value is unknown.
type PolicyState uint8

const (
	StateUnknown  PolicyState = iota // said why; never shown as done
	StateNone                        // nothing of ours is there
	StatePlanned                     // nothing was done yet
	StateApplied                     // read back and proven
	StateAccepted                    // the API server took the object; nothing is proven
	StateExpired                     // its time is over; an inert rest is left to clean
	StateTold                        // a record tells of it; nobody looked whether it is so
)

var stateNames = [...]string{"unknown", "none", "planned", "applied", "accepted", "expired", "told"}

// String is the word that TRACE JSON uses.
func (s PolicyState) String() string { return name(stateNames[:], int(s)) }

// Hole is a set of destinations: a prefix, and one port of it or all.
type Hole struct {
	Prefix netip.Prefix
	Port   uint16 // 0: every port
}

// String is "10.0.0.0/8" or "10.0.0.1:53" or "[2001:db8::/32]:443".
func (h Hole) String() string {
	host := h.Prefix.String()
	if h.Prefix.IsSingleIP() {
		host = h.Prefix.Addr().String()
	}
	if h.Port == 0 {
		return host
	}
	if h.Prefix.Addr().Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + itoa(int(h.Port))
}

// Setting is one key of Envoy's runtime (admin layer) with the value before; Had is false
// where the key was not set.
type Setting struct {
	Key, Value, Before string
	Had                bool
}

// Reach is one kind of traffic that a policy covers or does not: a term such as "tcp4",
// "tcp6", "udp", "proxy", "loopback", "handoff", "established", and whose it is.
type Reach struct{ What, Whose string }

// Effect is what a policy changes for one destination.
type Effect struct {
	Dst   netip.AddrPort
	Proto Proto
	UID   uint32
	Live  bool // a connection is open to it; false: it stands in the configuration
	// Else says that Dst stands for every destination of its family that the configuration does
	// not name, and Port that it does so for every address at its port.
	Else, Port bool
	// Host is the HTTP authority or the SNI that the request has; empty: none.
	Host   string
	Before Verdict
	After  Verdict
	// Direct says that the connection goes around the proxy, where it went through it before.
	Direct bool
	// Around are the proxy's protections that the connection would go around: a cluster with a
	// transport socket, an RBAC filter. Empty: none.
	Around []Reason
}

// Kept is a connection that was open when a change was planned, and goes on as it is.
type Kept struct {
	Conn    Conn
	Known   bool   // Conn.UID is
	Process string // empty: not known
	Proxied bool   // it goes through the proxy
}

// Change is a policy to be put into force: typed, so that whoever carries it out builds the
// edits itself. Edits and Undo are for eyes, and must be what the rest says.
type Change struct {
	Kind   PolicyKind
	Driver Driver
	// TTL is how long it holds; 0: for ever, and then Permanent is set.
	TTL       time.Duration
	Permanent bool
	Hold      bool // renewed while somebody watches, ended with them
	By        string
	Reason    string
	Since     time.Time

	// ProxyUIDs and ProxyGIDs own the proxy's sockets, which the plain block and allow-all
	// leave alone.
	ProxyUIDs, ProxyGIDs []uint32
	Strong               bool   // block: the proxy's own connections and UDP too
	Except               []Hole // destinations that stay as they are
	Open                 []Hole // allow-all: the destinations that it opens
	All                  bool   // allow-all: every destination
	CloseOpen            bool   // connections that are open are ended
	KeepHandoff          bool   // xds: listeners without a socket of their own stay
	// Capture are the local ports to which the pod's rules redirect what leaves: the proxy's side
	// of such a connection has one of them. Ports that only take what comes in are not here.
	Capture []uint16
	Runtime []Setting

	Edits, Undo []string
	Covers      []Reach
	NotCovered  []Reach
	Effects     []Effect
	Untraced    int    // destinations that were too many to be traced
	Kept        []Kept // the connections of the pod's processes that were open
}

// Proof is one probe and what it got.
type Proof struct {
	What   string // such as "probe 192.0.2.1:9 as uid 65534"
	Result string // "refused", "no route", "connected", "timeout"
	Holds  bool
	Took   time.Duration
}

// OpenCount is how many connections were open when a policy came, how many it ended, and
// how many go on.
type OpenCount struct{ Before, Closed, Left int }

// Record is where other people find a policy without entering the pod. It proves nothing.
type Record struct {
	Where string // such as "Lease default/meshtop-egress-web"; empty: nowhere
	By    string // who put it into force, as the place knows them
	Why   string // what of it could not be written or read, or is not so
	// Log is what was last written about the pod's policies, the newest first.
	Log []Noted
}

// Noted is one entry of a record, such as a Kubernetes Event. Whoever may write one may write
// anything.
type Noted struct {
	At   time.Time
	Kind string // such as "EgressBlocked"
	Text string
}

// Policy is what is in force, as it was read back.
type Policy struct {
	State   PolicyState
	Why     string // of StateUnknown, and of what was not proven
	Change  Change // as far as the place that holds it tells
	Expires time.Time
	Open    OpenCount
	Proof   []Proof
	Refused uint64 // connections that the kernel's rules refused since
	Record  Record
}

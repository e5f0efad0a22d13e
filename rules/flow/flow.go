// Package flow holds the words that every room of meshtop shares: a request, the
// connections it becomes, the steps it takes, and what was seen of them.
// It holds values only: no reading, no deciding, no wording.
package flow

import "net/netip"

// Verdict says where a step, a variant or a whole trace leads.
// The zero value is Unknown, so that a case nobody wrote never reads as success.
type Verdict uint8

const (
	Unknown   Verdict = iota // meshtop cannot tell; the step says why
	Continue                 // of a step only: the request goes on
	Delivered                // reaches an endpoint, or an answer the proxy is configured to give
	Refused                  // reset, closed, or answered with an error by the proxy or the kernel
	Dropped                  // silence: the caller times out
	Looped                   // comes back to where it was
	Depends                  // of a trace only: its variants end differently
)

var verdictNames = [...]string{"unknown", "continue", "delivered", "refused", "dropped", "looped", "depends"}

// String is the word that TRACE JSON uses.
func (v Verdict) String() string { return name(verdictNames[:], int(v)) }

// Direction says from which side a request meets the pod.
type Direction uint8

const (
	Outbound Direction = iota // made by a process in the pod: it enters at OUTPUT
	Inbound                   // comes from the wire: it enters at PREROUTING
)

// String is the word that TRACE JSON uses.
func (d Direction) String() string { return name([]string{"outbound", "inbound"}, int(d)) }

// Proto is an IP protocol number (IANA, /etc/protocols).
type Proto uint8

const (
	TCP Proto = 6
	UDP Proto = 17
)

// String is the protocol's name, or its number for one that has none here.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case 1:
		return "icmp"
	case 58:
		return "ipv6-icmp"
	case 132:
		return "sctp"
	}
	return itoa(int(p))
}

// Stage is the kind of decision that a step records, in the order in which a
// request meets them.
type Stage uint8

const (
	StageNone Stage = iota
	Socket
	Netfilter
	RouteLookup
	Listener
	Handoff
	ListenerFilter
	FilterChain
	TransportSocket
	NetworkFilter
	RouteConfig
	VirtualHost
	Route
	HTTPFilter
	Cluster
	Endpoint
	Wire
)

var stageNames = [...]string{"", "socket", "netfilter", "route-lookup", "listener", "handoff", "listener-filter",
	"filter-chain", "transport-socket", "network-filter", "route-config", "virtual-host", "route", "http-filter",
	"cluster", "endpoint", "wire"}

// String is the word that TRACE JSON uses.
func (s Stage) String() string { return name(stageNames[:], int(s)) }

// Stages lists every stage, for tests and legends.
func Stages() []Stage {
	out := make([]Stage, 0, len(stageNames)-1)
	for s := Socket; s <= Wire; s++ {
		out = append(out, s)
	}
	return out
}

// TLS is what a client that speaks TLS says in its ClientHello.
type TLS struct {
	SNI  string   // empty: no server_name extension
	ALPN []string // in the client's order
	// Cert says whether the client presents a certificate to a server that asks for one.
	// Maybe: nobody said.
	Cert Answer
	// SANs are the names in that certificate, which has no subject then: one with :// is a
	// URI, one with @ an e-mail address. Valid iff Cert is Yes; nil: not said.
	SANs []string
	// Certificate is what the client presents, in PEM, its own first. Valid iff Cert is Yes;
	// nil: only its names are said, or nothing.
	Certificate []byte
}

// HTTP is one HTTP request as its client sends it.
type HTTP struct {
	Method    string // empty: GET
	Scheme    string // of an absolute-form request line; empty: origin form
	Authority string // Host or :authority
	Path      string // with query, as sent; empty: /
	Headers   [][2]string
	Version   string // "1.0", "1.1", "2"; empty: by ALPN, else 1.1
	// Exact says that nothing is defaulted: the request line is Method, Path and Version
	// byte for byte, where Path may be any target ("", "*", "http://host/", "noslash"),
	// and Authority is the value of a Host header, even an empty one. Scheme is then empty.
	Exact bool
	// NoHost says that an HTTP/1 request has no Host header; Authority is then empty.
	NoHost bool
	// Body is sent after the head, of which Headers tell its length; nil: there is none.
	Body *Body
	// Unsure are headers that may be there with a value that nobody can tell, such as an
	// id that a proxy before made up. In lower case, sorted; not in Headers.
	Unsure []string
}

// Body is the body of a request. What it holds is the user's: it is sent, and never shown.
type Body struct {
	Size  int    // bytes; negative: not known
	Bytes []byte // nil: only the size is known, and it cannot be sent unless that is 0
}

// ProxyHeader is what a client claims in a PROXY protocol header.
type ProxyHeader struct{ Src, Dst netip.AddrPort }

// Request is the one request that a trace follows.
type Request struct {
	Dir      Direction
	Src      netip.AddrPort // address 0.0.0.0 or [::], or zero: chosen by the kernel
	Dst      netip.AddrPort
	Proto    Proto
	UID, GID uint32 // of the socket; Outbound only
	Mark     uint32 // SO_MARK; Outbound only
	In       string // device it enters by; Inbound only; empty: the one the routes say
	// Proxy is sent before anything else (haproxy.org, PROXY protocol version 2); nil: none.
	Proxy *ProxyHeader
	TLS   *TLS  // nil: no TLS
	HTTP  *HTTP // nil: no HTTP is spoken (raw bytes)
	// Payload is what a raw TCP client sends first; valid iff TLS and HTTP are nil.
	// Nil means bytes of no known protocol, empty (not nil) a client that waits.
	Payload []byte
	Pick    Pick // what the user pinned
	// Named is where the address of Dst came from; nil: it was written as an address.
	Named *Named
}

// Conn is one end of a leg: a TCP connection or UDP flow as a hook sees it.
type Conn struct {
	Src, Dst netip.AddrPort
	Proto    Proto
	UID, GID uint32
	In, Out  string // devices; empty where the packet has none
	Mark     uint32
}

// Leg is one connection with what kernel and proxy decided on it: what a capture
// sees as one flow. From is how its client made it, To how its server got it.
type Leg struct {
	From, To Conn
	// Owner says whose connection this is.
	Owner Owner
	Steps []Step
}

// Owner is who opened a leg's connection.
type Owner uint8

const (
	OwnerUnknown Owner = iota
	OwnerApp           // a process of the pod that is not the proxy
	OwnerProxy         // Envoy
	OwnerPeer          // a peer outside the pod
)

// String names the owner in a word.
func (o Owner) String() string { return name([]string{"", "app", "proxy", "peer"}, int(o)) }

// Symptom is what the caller sees, if the endpoint answers well.
type Symptom struct {
	Code  int    // HTTP status; 0 for plain TCP and where nothing answers
	Flags string // Envoy response flags (UH, NR ...), comma-separated
	TCP   TCPEnd
	// Location of a redirect that the proxy gives; empty otherwise.
	Location string
	// Details is Envoy's %RESPONSE_CODE_DETAILS% where it is known.
	Details string
}

// TCPEnd is how the caller's connection fares.
type TCPEnd uint8

const (
	TCPUnknown       TCPEnd = iota
	TCPOK                   // connected, and not cut by kernel or proxy
	TCPReset                // connected, then RST
	TCPClosed               // connected, then FIN without an answer
	TCPRefused              // RST or ICMP error at the first packet
	TCPTimeout              // no answer to the first packet
	TCPResetOrClosed        // connected, then RST or FIN: timing decides
)

var tcpEndNames = [...]string{"", "ok", "reset", "closed", "refused", "timeout", "reset-or-closed"}

// String is the word that TRACE JSON uses.
func (e TCPEnd) String() string { return name(tcpEndNames[:], int(e)) }

// Outcome names the objects that the first pass through the proxy ended at.
// A field is empty where the proxy never came to it, or where variants differ.
type Outcome struct {
	Listener    string // after hand-off, as %LISTENER_NAME% says
	FilterChain string
	RouteConfig string
	VirtualHost string
	Route       string // the route's name; often empty
	RouteIndex  int    // in its virtual host; -1: none
	Cluster     string // as %UPSTREAM_CLUSTER_RAW% says
	Endpoint    string // ip:port
}

// Need is something that a partial configuration lacks and a further read can bring.
type Need struct{ Part, Name string }

// Gap is a part that could not be looked at, with the reason: not the same as absent.
type Gap struct {
	Part, Reason string
	// Broken says that the part was read and its bytes make no sense: cut off, garbled, a
	// value that is none. What is only not modelled is not broken.
	Broken bool `json:"-"`
}

// Alike are gaps with one entry for each reason, which names every part that it keeps from
// being read: the same sentence five times over says nothing more.
func Alike(gaps []Gap) []Gap {
	var out []Gap
	at := map[string]int{}
	for _, g := range gaps {
		i, ok := at[g.Reason]
		if !ok {
			at[g.Reason] = len(out)
			out = append(out, g)
			continue
		}
		out[i].Broken = out[i].Broken || g.Broken
		out[i].Part += ", " + g.Part
	}
	return out
}

// NotModelled is a kind of object that was read and is not understood: its text is kept, and
// no answer rests on it.
type NotModelled struct {
	Type  string // its message type, or the member that holds it
	Count int
	Name  string // of the first one; empty: it has none
	Ref   string // where the first one stands, as an Evidence says it
}

// Variant is one way a trace can go, with the choices that lead there.
type Variant struct {
	Choices     []Chosen
	Probability float64 // valid iff Computable
	Computable  bool
	When        string // the condition, such as "bucket empty"; empty for pure chance
	Legs        []Leg
	Verdict     Verdict
	Outcome     Outcome
	Caller      Symptom
	Upstream    *HTTP // as in Trace
	Needs       []Need
}

// Trace is the answer: one request, the legs of its first variant, and where it ends.
type Trace struct {
	Request Request
	Legs    []Leg
	Verdict Verdict
	Outcome Outcome
	Caller  Symptom
	// Upstream is the request that the endpoint of the first pass through the proxy receives,
	// after all rewrites; nil: none, or variants differ in it.
	Upstream *HTTP
	Variants []Variant // empty when there is only one way
	// Cut says that there were more variants than meshtop follows.
	Cut   bool
	Needs []Need
	Gaps  []Gap
	// Intent are the parts of the snapshot that say what was meant to be, and not what is: the
	// whole answer holds only if it came so.
	Intent []string
	// Unmodelled is what of the snapshot is not understood.
	Unmodelled []NotModelled
}

func name(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return "invalid(" + itoa(i) + ")"
	}
	return names[i]
}

func itoa(i int) string {
	if i < 0 {
		return "-" + itoa(-i)
	}
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + itoa(i%10)
}

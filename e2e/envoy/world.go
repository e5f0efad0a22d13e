// Package envoy judges rules/envoy by a real Envoy: recorded cases (vectors), and a
// live Envoy that is given random configurations and real requests.
package envoy

import "encoding/json"

// World is one configuration: everything that one Envoy process is given. "@DIR@" in it
// stands for the process's own folder (access log, file-based xDS, certificates).
type World struct {
	ID        string            `json:"id"`
	Family    string            `json:"family"`
	Listeners []json.RawMessage `json:"listeners"`           // envoy.config.listener.v3.Listener, by file LDS
	Clusters  []json.RawMessage `json:"clusters"`            // envoy.config.cluster.v3.Cluster, by file CDS
	Routes    []json.RawMessage `json:"routes,omitempty"`    // RouteConfiguration, by file RDS
	Runtime   map[string]any    `json:"runtime,omitempty"`   // static runtime layer
	Zone      string            `json:"zone,omitempty"`      // where Envoy itself is
	Local     json.RawMessage   `json:"local,omitempty"`     // its own cluster, in the bootstrap
	Upstreams []string          `json:"upstreams,omitempty"` // ports of the upstream servers; empty: the usual ones
}

// Proxy is the content of the PROXY v2 header that a client sends before anything else.
type Proxy struct {
	Src string `json:"src"`
	Dst string `json:"dst"`
}

// TLS is the ClientHello that a client sends. Without Handshake only its bytes are sent.
type TLS struct {
	SNI       string   `json:"sni,omitempty"`
	ALPN      []string `json:"alpn,omitempty"`
	Handshake bool     `json:"handshake,omitempty"`
	Cert      bool     `json:"cert,omitempty"` // a client certificate is presented when asked for
	Pair      string   `json:"pair,omitempty"` // which one; empty: the oracle's
	Old       bool     `json:"old,omitempty"`  // nothing newer than TLS 1.2
}

// HTTP is one HTTP/1 request, sent byte for byte.
type HTTP struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Version string      `json:"version,omitempty"` // of the request line; empty: HTTP/1.1
	Host    *string     `json:"host,omitempty"`    // nil: no Host header
	Headers [][2]string `json:"headers,omitempty"`
	Body    string      `json:"body,omitempty"` // a content-length goes with it
}

// Request is one case.
type Request struct {
	ID      string `json:"id"`
	Accept  string `json:"accept"`            // the address dialled
	Src     string `json:"src,omitempty"`     // client ip[:port]; empty: 127.0.0.1
	Proxy   *Proxy `json:"proxy,omitempty"`   // PROXY v2 header
	TLS     *TLS   `json:"tls,omitempty"`     // ClientHello
	Payload string `json:"payload,omitempty"` // raw bytes (code points 0-255) where HTTP is nil
	HTTP    *HTTP  `json:"http,omitempty"`
	Repeat  int    `json:"repeat,omitempty"` // sent so often; the outcomes hold the distinct ones
	Group   string `json:"group,omitempty"`  // requests of one group run one after the other
	// Tags: "opaque:NAME", a filter that can do anything; "state:NAME", the answer depends
	// on the requests before.
	Tags []string `json:"tags,omitempty"`
}

// Outcome is what Envoy did with one run of a request: the fields of its access log that
// are stable over runs, and what both ends saw.
type Outcome struct {
	Log       string        `json:"log"`                // who spoke: http, tcp, listener, none
	Listener  string        `json:"listener,omitempty"` // that finally owned the connection
	Chain     string        `json:"chain,omitempty"`    // %FILTER_CHAIN_NAME%
	VHost     string        `json:"vhost,omitempty"`    // %CEL(xds.virtual_host_name)%
	Route     string        `json:"route,omitempty"`    // %ROUTE_NAME%
	VCluster  string        `json:"vcluster,omitempty"` // %VIRTUAL_CLUSTER_NAME%
	Cluster   string        `json:"cluster,omitempty"`  // %UPSTREAM_CLUSTER_RAW%
	Host      string        `json:"host,omitempty"`     // %UPSTREAM_HOST%
	Code      int           `json:"code,omitempty"`     // %RESPONSE_CODE%
	Details   string        `json:"details,omitempty"`  // %RESPONSE_CODE_DETAILS%
	Flags     string        `json:"flags,omitempty"`    // %RESPONSE_FLAGS%
	Term      string        `json:"term,omitempty"`     // %CONNECTION_TERMINATION_DETAILS%
	TLSFail   string        `json:"tls_fail,omitempty"` // the handshake failed
	SNI       string        `json:"sni,omitempty"`      // %REQUESTED_SERVER_NAME%
	Local     string        `json:"local,omitempty"`    // %DOWNSTREAM_LOCAL_ADDRESS%
	Remote    string        `json:"remote,omitempty"`   // %DOWNSTREAM_REMOTE_ADDRESS%; port only where the case chose it
	Client    *ClientSide   `json:"client,omitempty"`
	Upstream  *UpstreamSide `json:"upstream,omitempty"`
	Responses int           `json:"responses,omitempty"` // more than one log line
}

// ClientSide is what the client saw: a response, or the answer's text on a raw connection.
type ClientSide struct {
	Status   int               `json:"status,omitempty"`
	Location string            `json:"location,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     string            `json:"body,omitempty"`
	Closed   bool              `json:"closed,omitempty"` // without a byte; FIN or RST, timing decides which
	TLSError bool              `json:"tls_error,omitempty"`
	Timeout  bool              `json:"timeout,omitempty"`
	Error    string            `json:"error,omitempty"`
	late     bool              // its first bytes left later than lateTime after it began
}

// UpstreamSide is the request as the upstream server got it.
type UpstreamSide struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Host    string      `json:"host"`
	Headers [][2]string `json:"headers,omitempty"`
	Version string      `json:"version,omitempty"` // 1.0, 1.1, 2; empty: not recorded
	Addr    string      `json:"addr,omitempty"`    // where it was reached; empty: not recorded
	TLS     *TLS        `json:"tls,omitempty"`     // the ClientHello; nil: plain text, or Addr is empty
}

// Refused is a resource that Envoy did not accept.
type Refused struct {
	Kind  string          `json:"kind"` // listener, cluster
	Name  string          `json:"name"`
	Error string          `json:"error"`
	Conf  json.RawMessage `json:"config"`
}

package envoy

import (
	"net/netip"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// lbHints is what a proxy filter knows of a request when it asks for a host.
type lbHints struct {
	// match are the subset criteria: metadata_match of route and weighted entry, namespace
	// envoy.lb, later ones win. (config.core.v3.Metadata.filter_metadata["envoy.lb"])
	match []tree.Node
	// hash says whether a hash policy yields a hash: then ring_hash and maglev are sticky.
	hash bool
	// high is the route's priority HIGH: the other circuit breaker thresholds.
	high bool
	// http is set by the router, clear for tcp_proxy; tunnel for a tcp_proxy that puts the
	// bytes into an HTTP request.
	http, tunnel bool
	// h2 says that the downstream request is HTTP/2, for use_downstream_protocol_config.
	h2 bool
	// authority is the host that the upstream sees, for auto_sni and dynamic forward proxy.
	authority string
	// header answers the first value of a request header, for an ORIGINAL_DST cluster with
	// use_http_header; nil for TCP.
	header func(name string) (string, bool)
}

// fate is what became of the search for a host. The proxy filter makes the answer to the
// caller of it.
type fate struct {
	// ok: a host was chosen, and pass.res.Upstream and Outcome.Cluster, Endpoint are set.
	ok bool
	// unknown: the search ended at something that is not known, a step says what, and
	// pass.end was called. Valid iff not ok.
	unknown bool
	// Otherwise nothing can be dialled: the response flags, and for HTTP the status and
	// %RESPONSE_CODE_DETAILS% of the local reply. NC has code 0: the route says its code.
	flags   string
	code    int
	details string
	// name is the chosen host's name as auto_host_rewrite puts it into the Host header;
	// empty, and nothing is put, for a host that has none. Valid iff ok.
	name string
	addr netip.AddrPort
	// cluster is the one that the host is of: a part, where the route names an aggregate.
	// Valid iff ok.
	cluster *cluster
}

package kubernetes

import "time"

// row is a pod of a scene, and what is asked of it.
type row struct {
	scene, pod string
	asks       []ask
	// gateway: no container of the pod can ask for something, so meshtop asks the proxy from
	// inside, and a policy is about the proxy's own connections.
	gateway bool
	// allow: allow-all is tried, too.
	allow bool
	// refill is how long the scene's token bucket takes to be full again: before each request that
	// is not to meet an empty one that is waited for.
	refill time.Duration
}

// ask is one request. In its texts {IP} is the pod's address, and {myngx} that of the pod behind
// 10.107.42.16.
type ask struct {
	from string // the container that asks, or SCENE/POD: its app; empty: the machine, by its own way
	to   string
	head []string // headers
	// what the real client gets: a regular expression. With block-all in force, and with
	// allow-all; empty: the same as without, which is tried of a row's first ask.
	real, blocked, allowed string
	// via is the cluster by which Envoy passes it on, with what real's groups matched; empty:
	// none. A policy that a sidecar's requests do not come past, or go around, leaves none.
	via string
	// as is how the request comes to the pod, where that is another address than the client's.
	as []string
	// drain requests are made just before, for a path below, so that a bucket is empty.
	drain int
	// unlike: it comes where it is to, and nobody is there.
	unlike bool
}

const (
	refused = `curl:000:7\b`
	ended   = `curl:000:(?:52|56)\b` // as curl calls it before and after it has sent the request
	host    = "Host: app.shadow.com"
)

// passed are an app's requests that Envoy passes on to wherever they go.
func passed(via string) []ask {
	return []ask{
		{from: "app", to: "http://10.107.42.16/", real: "Server: testapp/myngx", blocked: refused, via: via},
		{from: "app", to: "http://198.51.100.9/", real: ended, blocked: refused, via: via, unlike: true},
	}
}

// rows are the scenes as they are written, and what real clients get in them: by this the
// fixture itself is judged, and by the real clients' answers all that meshtop says.
var rows = []row{
	{scene: "inbound", pod: "envoy-traffic-mock", asks: []ask{
		{to: "http://{IP}/", real: "server: envoy", via: "shadow_cluster_config"},
		{from: "app", to: "http://127.0.0.1/", real: "Server: testapp/envoy-traffic-mock"},
		{from: "app", to: "http://10.107.42.16/", real: "Server: testapp/myngx", blocked: refused},
	}},
	{scene: "block-all", pod: "outpod-block", allow: true, asks: []ask{
		{from: "app", to: "http://10.107.42.16/", real: ended, blocked: refused, allowed: "Server: testapp/myngx", via: "BlockAllCluster"},
		{from: "app", to: "http://{myngx}/", real: ended, blocked: refused, allowed: "Server: testapp/myngx", via: "BlockAllCluster"},
		{from: "app", to: "http://127.0.0.1/", real: "Server: testapp/outpod-block"},
	}},
	{scene: "allow-all", pod: "outpod-allow", asks: passed("AllowAll")},
	{scene: "legacy", pod: "outpod-legacy", asks: passed("AllowAll")},
	{scene: "mesh", pod: "outpod-mesh", asks: []ask{
		{from: "app", to: "http://10.107.42.16/", real: "myage: 18", blocked: refused, via: "outbound|myngxsvc"},
		{from: "app", to: "http://{myngx}/", real: "Server: testapp/myngx", blocked: refused, via: "AllowAll"},
	}},
	{scene: "two-pods", pod: "client", asks: []ask{
		{from: "app", to: "http://10.107.42.17/", real: `myage: 18[\s\S]*app=server .* from=127\.0\.0\.1`, blocked: refused, via: "outbound|myngxsvc"},
	}},
	{scene: "two-pods", pod: "server", asks: []ask{
		{from: "base/app-v1", to: "http://10.107.42.17/", as: []string{"--to", "http://{IP}/", "--authority", "10.107.42.17"}, real: "server: envoy", via: "shadow_cluster_config"},
	}},
	{scene: "full", pod: "fullpod", asks: []ask{
		{to: "http://{IP}/", real: "server: envoy", via: "shadow_cluster_config"},
		{from: "app", to: "http://10.107.42.16/", real: "myage: 18", blocked: refused, via: "outbound|myngxsvc"},
	}},
	{scene: "native", pod: "outpod-native", asks: []ask{
		{from: "app", to: "http://10.107.42.16/", real: "server: envoy", blocked: refused, via: "outbound|80||myngxsvc"},
		{from: "app", to: "http://10.107.42.16/blocked", real: "curl:403:0", blocked: refused},
		{from: "app", to: "http://{myngx}/", real: "Server: testapp/myngx", blocked: refused, via: "PassthroughCluster"},
		{from: "app", to: "http://{IP}/", real: "Server: testapp/outpod-native"},
		{to: "http://{IP}/", real: `server: envoy[\s\S]*from=127\.0\.0\.6`, via: "inbound|80||"},
	}},
	{scene: "gateway-header", pod: "gw", gateway: true, asks: []ask{
		{to: "http://{IP}:8080/", head: []string{host, "version: v2"}, real: "app=app-v2", blocked: "curl:503:0", via: "app_cluster_v2"},
		{to: "http://{IP}:8080/", head: []string{host}, real: "app=app-v1", blocked: "curl:503:0", via: "app_cluster_v1"},
		{to: "http://{IP}:8080/", real: "curl:404:0"},
	}},
	{scene: "gateway-weight", pod: "gw", gateway: true, asks: []ask{
		{to: "http://{IP}:8080/", head: []string{host}, real: "app=app-(v[12])", blocked: "curl:503:0", via: "app_$1"},
	}},
	{scene: "gateway-ratelimit", pod: "gw", gateway: true, refill: 2 * time.Second, asks: []ask{
		{to: "http://{IP}:8080/aa", real: "myage: 19[\\s\\S]*app=app-v1", blocked: "curl:503:0", via: "shadow_cluster"},
		{to: "http://{IP}:8080/bb", real: "app=app-v1", blocked: "curl:503:0", via: "shadow_cluster"},
		{to: "http://{IP}:8080/aa", drain: 5, real: "x-local-rate-limit: true[\\s\\S]*curl:429:0", via: "shadow_cluster"},
		{to: "http://{IP}:8080/cc", real: "curl:404:0"},
	}},
	{scene: "gateway-tcplimit", pod: "gw", gateway: true, refill: 2 * time.Second, asks: []ask{
		{to: "http://{IP}:8080/", real: "app=app-v1", blocked: "curl:503:0", via: "shadow_cluster"},
		{to: "http://{IP}:8080/", drain: 5, real: ended},
	}},
}

package flow

// Reasons of rules/envoy inside the HTTP connection manager.
const (
	envoyHTTPFirst = reasonEnvoyHTTP + iota
	envoyHTTPEnd
)

// EnvoyHTTPReasons are all reasons of this file, for the test of rules/render.
func EnvoyHTTPReasons() (from, to ReasonKind) { return envoyHTTPFirst + 1, envoyHTTPEnd }

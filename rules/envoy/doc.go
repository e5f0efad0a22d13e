// Package envoy reads Envoy's configuration and decides, as Envoy does, what happens to
// one connection and the request on it.
package envoy

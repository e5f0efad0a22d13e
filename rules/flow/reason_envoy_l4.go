package flow

// Reasons of rules/envoy from the listener to the network filters, and of clusters and endpoints.
const (
	envoyL4First   = reasonEnvoyL4 + iota
	WhyNotRead     // this part of the configuration was not read. Args: part, name
	WhyNotModelled // meshtop does not model it. Args: what it is
	envoyL4End
)

// EnvoyL4Reasons are all reasons of this file, for the test of rules/render.
func EnvoyL4Reasons() (from, to ReasonKind) { return envoyL4First + 1, envoyL4End }

package render

import "github.com/meshtop/meshtop/rules/flow"

// envoyHTTPWords words the reasons of flow/reason_envoy_http.go; empty for a kind that is not its own.
func envoyHTTPWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	}
	return ""
}

package render

import "github.com/meshtop/meshtop/rules/flow"

// envoyL4Words words the reasons of flow/reason_envoy_l4.go; empty for a kind that is not its own.
func envoyL4Words(k flow.ReasonKind, a [3]string) string {
	switch k {
	case flow.WhyNotRead:
		return "the " + a[0] + " " + a[1] + " was not read"
	case flow.WhyNotModelled:
		return "meshtop does not model " + a[0]
	}
	return ""
}

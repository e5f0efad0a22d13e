package render

import "github.com/meshtop/meshtop/rules/flow"

// netfilterWords words the reasons of flow/reason_netfilter.go; empty for a kind that is not its own.
func netfilterWords(k flow.ReasonKind, a [3]string) string {
	switch k {
	}
	return ""
}

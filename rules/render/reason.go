package render

import (
	"fmt"

	"github.com/meshtop/meshtop/rules/flow"
)

// Reason is the sentence for a reason, lower case, without a full stop, cleaned.
func Reason(r flow.Reason) string {
	if r.Kind == flow.NoReason {
		return ""
	}
	a := [3]string{Clean(r.Args[0]), Clean(r.Args[1]), Clean(r.Args[2])}
	for _, words := range []func(flow.ReasonKind, [3]string) string{joinWords, netfilterWords, envoyL4Words, envoyHTTPWords, confirmWords} {
		if s := words(r.Kind, a); s != "" {
			return s
		}
	}
	return fmt.Sprintf("reason %d %q", r.Kind, r.Args)
}

// or is s, or alt where s is empty.
func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

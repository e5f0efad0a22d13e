package render

import (
	"fmt"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Reason is the sentence for a reason, lower case, without a full stop, cleaned.
func Reason(r flow.Reason) string {
	if r.Kind == flow.NoReason {
		return ""
	}
	a := [3]string{argument(r.Args[0]), argument(r.Args[1]), argument(r.Args[2])}
	for _, words := range []func(flow.ReasonKind, [3]string) string{joinWords, netfilterWords, envoyL4Words, envoyHTTPWords, confirmWords, egressWords} {
		if s := words(r.Kind, a); s != "" {
			return s
		}
	}
	return fmt.Sprintf("reason %d %q", r.Kind, r.Args)
}

// argument is an argument as a sentence holds it: cleaned, and short. What is longer, such
// as a script, stands in the step's evidence.
func argument(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return Clean(s)
}

// or is s, or alt where s is empty.
func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

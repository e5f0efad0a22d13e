package plain

import (
	_ "embed" // the usage texts
	"strings"

	"github.com/spf13/cobra"
)

// usages holds the usage texts, written by hand: each fits a screen and ends with two
// examples, which a test runs.
//
//go:embed usage.txt
var usages string

// usageOf is the usage text of a verb.
func usageOf(cmd *cobra.Command) string {
	for _, s := range strings.Split(usages, "\n== ")[1:] {
		if name, text, ok := strings.Cut(s, " ==\n"); ok && name == cmd.Name() {
			return strings.TrimRight(text, "\n") + "\n"
		}
	}
	return cmd.UsageString()
}

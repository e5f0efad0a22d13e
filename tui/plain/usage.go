package plain

import (
	_ "embed" // the usage texts
	"regexp"
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

// usage is the usage text of a verb, with the program as the user calls it.
func (a *App) usage(cmd *cobra.Command) string { return a.named(usageOf(cmd)) }

// calls are the places of a text that may call the program.
var calls = regexp.MustCompile(`\bmeshtop (\[?[A-Za-z-]+)`)

// named is a text with the program called as the user calls it: "kubectl meshtop" as a plugin.
func (a *App) named(text string) string {
	if a.Name == "" || a.root == nil {
		return text
	}
	return calls.ReplaceAllStringFunc(text, func(call string) string {
		_, word, _ := strings.Cut(call, " ")
		for _, c := range a.root.Commands() {
			if word == c.Name() || word == "--help" || strings.Trim(word, "[") == "TARGET" || word == "help" {
				return a.Name + " " + word
			}
		}
		return call
	})
}

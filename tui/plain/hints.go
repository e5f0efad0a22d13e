package plain

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is what is wrong with a flag, with what was perhaps meant.
func flagError(cmd *cobra.Command, err error) error {
	var none *pflag.NotExistError
	if !errors.As(err, &none) {
		return usage("%s: see %s --help", strings.TrimSuffix(err.Error(), "."), cmd.CommandPath())
	}
	name := none.GetSpecifiedName()
	if len(none.GetSpecifiedShortnames()) > 0 {
		return usage("unknown flag -%s: see %s --help", name, cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := nearest(name, known); near != "" {
		return usage("unknown flag --%s: was --%s meant?", name, near)
	}
	return usage("unknown flag --%s: see %s --help", name, cmd.CommandPath())
}

// unknownVerb says what was perhaps meant.
func unknownVerb(root *cobra.Command, word string) error {
	var known []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			known = append(known, c.Name())
		}
	}
	known = append(known, targetKinds...)
	if near := nearest(word, known); near != "" {
		return usage("unknown verb %q: was %s meant?", word, near)
	}
	return usage("unknown verb %q: see meshtop --help", word)
}

// nearest is the known word that is at most two letters away, or begins as word does.
func nearest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		d := distance(word, k)
		if len(word) > 2 && strings.HasPrefix(k, word) {
			d = 1
		}
		if d < at && d < len(k) {
			best, at = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, left out or changed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			up := row[j]
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, up+1, row[j-1]+1)
			diagonal = up
		}
	}
	return row[len(b)]
}

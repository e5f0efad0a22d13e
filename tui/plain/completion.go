package plain

import (
	"strings"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletion(app *App, root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: "completion", Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("completion: for which shell? want %s", strings.Join(shells, ", "))
		}
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(app.Stdout, true)
		case "zsh":
			return root.GenZshCompletion(app.Stdout)
		case "fish":
			return root.GenFishCompletion(app.Stdout, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(app.Stdout)
		}
		return usage("completion: %q: want %s", args[0], strings.Join(shells, ", "))
	}}
	cmd.ValidArgs = shells
	return cmd
}

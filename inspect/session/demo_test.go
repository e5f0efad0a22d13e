package session

import (
	"context"
	"errors"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/rules/request"
)

// A built-in scene replays what was seen when it was recorded: nothing contradicts the
// trace of the request that it shows, and where conntrack was recorded it is confirmed.
func TestDemoReplays(t *testing.T) {
	words := map[string]confirm.Word{}
	for _, s := range saved.Scenes() {
		pod, _, err := saved.Demo(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Read(context.Background(), pod, inspect.Want{})
		if err != nil {
			t.Fatal(err)
		}
		q, err := request.Parse([]byte(s.Requests[0]))
		if err != nil {
			t.Fatal(err)
		}
		_, rep, err := Confirm(context.Background(), pod, r, q, ConfirmOptions{})
		if s.Name == "both" { // it was recorded without captures
			if !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("both: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		words[s.Name] = rep.Word
		if rep.Word == confirm.Contradicted || rep.Count(confirm.Confirmed) == 0 {
			t.Errorf("%s: %v\n%s", s.Name, rep.Word, render.ReportText(rep))
		}
	}
	t.Log(words)
	for _, name := range []string{"mesh", "allow-all", "block-all", "inbound"} {
		if words[name] != confirm.Confirmed {
			t.Errorf("%s is %v", name, words[name])
		}
	}
}

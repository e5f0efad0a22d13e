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

// A built-in scene replays what was seen when it was recorded: the request that it shows is
// confirmed, though others to the same address were made, too, and one that was not made is
// not confirmed by them.
func TestDemoReplays(t *testing.T) {
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
		if rep.Word != confirm.Confirmed {
			t.Errorf("%s: %v\n%s", s.Name, rep.Word, render.ReportText(rep))
		}
		never := q
		http := *q.HTTP
		http.Path = "/never"
		never.HTTP = &http
		if _, rep, err = Confirm(context.Background(), pod, r, never, ConfirmOptions{}); err != nil || rep.Count(confirm.Confirmed) > 0 || rep.Word != confirm.NotObserved {
			t.Errorf("%s, a request that was not made: %v, %v\n%s", s.Name, rep.Word, err, render.ReportText(rep))
		}
	}
}

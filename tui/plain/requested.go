package plain

import (
	"context"
	"fmt"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/cobra"
)

// requested checks what a verb's command line says, opens and reads the target, and gives
// the request. Who calls it closes what it gives.
func (a *App) requested(cmd *cobra.Command, args []string, rf *requestFlags, p *parts, want inspect.Want) (*looked, flow.Request, error) {
	t, err := parseTarget(args)
	if err != nil {
		return nil, flow.Request{}, err
	}
	if t.kind == "" && !p.path() {
		return nil, flow.Request{}, usage("%s: of what? want a target (pod NAME, netns NAME, pid N, file PATH, demo SCENE), or --iptables or --config-dump with a file", cmd.Name())
	}
	var d request.Draft
	switch {
	case rf.given():
		if d, err = rf.draft(); err != nil {
			return nil, flow.Request{}, err
		}
	case t.kind != "demo" && t.kind != "file": // these can hold a request of their own
		return nil, flow.Request{}, whichRequest(cmd.Name())
	}
	l, err := a.look(cmd.Context(), t, p, want)
	if err != nil {
		return nil, flow.Request{}, err
	}
	q, err := l.ask(cmd.Context(), cmd.Name(), rf, d)
	if err != nil {
		l.close()
		return nil, q, err
	}
	return l, q, nil
}

func whichRequest(verb string) error {
	return usage("%s: which request? want --to ADDR[:PORT], a URL, or --curl 'curl ...'", verb)
}

// ask is the request that the flags say; without, the target's own.
func (l *looked) ask(ctx context.Context, verb string, rf *requestFlags, d request.Draft) (flow.Request, error) {
	if rf.given() {
		return l.request(ctx, rf, d)
	}
	raw, ok := l.reading.Files[session.RequestPart]
	if l.target.kind == "demo" {
		raw, ok = []byte(l.target.scene.Requests[0]), true
	}
	if !ok {
		return flow.Request{}, whichRequest(verb)
	}
	q, err := request.Parse(raw)
	if err != nil {
		return q, &failure{ExitUsage, fmt.Errorf("%s: %w", l.target.name, err)}
	}
	own := rf.picks // what is pinned on the command line counts for the target's own request, too
	if len(own) > 0 {
		q.Pick, err = rf.pick()
	}
	return q, err
}

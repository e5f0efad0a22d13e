package agent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/meshtop/meshtop/rules/flow"
)

// Sessions is a pod that keeps what a client holds (flow.Change.Hold) while its stream is away:
// an API server or a kubelet that is restarted ends it, and the client opens another. What is
// held ends when the client says that it goes, and with its time, whoever is gone.
type Sessions interface {
	// Greet says that a session is here, or here again, and whether what it holds is kept.
	Greet(ctx context.Context, session string) (keeps bool, err error)
	// Leave ends at once what the session holds.
	Leave(ctx context.Context, session string) error
}

var (
	_ Sessions = (*Keeper)(nil)
	_ Sessions = (*Pod)(nil)
)

// maxSession bounds the name of a session, in bytes.
const maxSession = 64

// greeted says whether the pod keeps what the session holds. Where that cannot be told, it ends
// with the stream.
func (s *server) greeted(ctx context.Context, session string) bool {
	k, ok := s.pod.(Sessions)
	if !ok || session == "" || len(session) > maxSession {
		return false
	}
	keeps, err := k.Greet(ctx, session)
	if err != nil || !keeps {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = session
	return true
}

// leave ends what the client holds; it is carried out to its end, as a change is.
func (s *server) leave(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	session := s.session
	s.mu.Unlock()
	var err error
	if session != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), undoPatience)
		defer cancel()
		err = s.pod.(Sessions).Leave(ctx, session)
	}
	answer(w, policy{Error: faultOf(err)})
}

// Greet keeps what any session holds.
func (k *Keeper) Greet(context.Context, string) (bool, error) { return true, nil }

// held notes whose change is promised.
func (k *Keeper) held(session string, c flow.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.promise != nil && same(k.promise.change, c) {
		k.promise.session = session
	}
}

// Leave ends at once what the session holds, if that is still what is promised.
func (k *Keeper) Leave(ctx context.Context, session string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.promise
	if p == nil || session == "" || p.session != session {
		return nil
	}
	if err := undo(ctx, k.enforce, p.change); err != nil {
		return fmt.Errorf("end %s, whose client leaves: %w", p.change.Kind, err)
	}
	p.drop()
	k.promise = nil
	return nil
}

// Greet says at the other end that a session is here.
func (p *Pod) Greet(ctx context.Context, session string) (bool, error) {
	var h hello
	err := p.call(ctx, pathHello, greeting{session}, &h)
	return h.Keeps, err
}

// Leave ends at once what the session holds that Dial or Greet has named.
func (p *Pod) Leave(ctx context.Context, _ string) error {
	_, err := p.policy(ctx, pathLeave, struct{}{})
	return err
}

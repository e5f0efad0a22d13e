package xds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meshtop/meshtop/inspect/admin"
	"github.com/meshtop/meshtop/inspect/xds/api"
	"github.com/meshtop/meshtop/rules/flow"
)

// Envoy acknowledges a version on its main thread, before its workers have it. What they have is
// counted: listener_create_success rises by one when a worker has told the main thread that it took
// a listener (source/common/listener_manager/listener_manager_impl.cc, addListenerToWorker), for a
// listener whose filter chains were replaced in place too. A worker takes what it is sent in order,
// so that a listener that was removed in the same version is closed on it by then.
type workers struct {
	threads, changed, created, failed float64
}

// client asks Envoy's admin interface. It opens nothing before it is used.
func (s *Server) client() (*admin.Client, error) {
	addr := s.opt.Admin
	if !addr.IsValid() {
		addr = s.conf.admin()
	}
	if !addr.IsValid() {
		return nil, fmt.Errorf("%s has no admin interface at an address, and --admin is not given", s.conf.file)
	}
	if addr.Addr().IsUnspecified() {
		s.mu.Lock()
		envoy := s.envoy
		s.mu.Unlock()
		if envoy == nil || !envoy.peer.IsValid() {
			return nil, errNoEnvoy
		}
		addr = netip.AddrPortFrom(envoy.peer, addr.Port())
	}
	return admin.New(addr, s.opt.Dial, admin.Options{}), nil
}

// ask asks the admin interface one question.
func (s *Server) ask(ctx context.Context, path string, into any) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	data, _, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("GET %s%s: %w", c.Addr(), path, err)
	}
	return nil
}

// workers counts what Envoy's workers have taken so far.
func (s *Server) workers(ctx context.Context) (workers, error) {
	var got struct {
		Stats []struct {
			Name  string
			Value json.Number
		}
	}
	if err := s.ask(ctx, "/stats?format=json&type=All&filter=^(listener_manager.listener_|server.concurrency$)", &got); err != nil {
		return workers{}, err
	}
	var w workers
	for _, st := range got.Stats {
		v, _ := st.Value.Float64() // text has no part in these
		switch strings.TrimPrefix(st.Name, "listener_manager.listener_") {
		case "server.concurrency":
			w.threads = v
		case "added", "modified": // one that is updated in place is modified too
			w.changed += v
		case "create_success":
			w.created = v
		case "create_failure":
			w.failed = v
		}
	}
	if w.threads == 0 {
		return workers{}, errors.New("the admin interface does not say how many workers there are")
	}
	return w, nil
}

// workersNow is workers before a swap, which does not wait for an admin interface that hangs.
func (s *Server) workersNow(ctx context.Context) (workers, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.workers(ctx)
}

// prove says whether Envoy's workers have the listeners that were acknowledged, and whether its
// admin shows them.
func (s *Server) prove(ctx context.Context, before workers, why error, want []object) []flow.Proof {
	return []flow.Proof{s.proveWorkers(ctx, before, why), s.readBack(ctx, want)}
}

func (s *Server) proveWorkers(ctx context.Context, before workers, why error) flow.Proof {
	start := time.Now()
	p := flow.Proof{What: "Envoy's workers have it"}
	if why != nil {
		p.Result = "they cannot be asked: " + why.Error()
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Grace)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		now, err := s.workers(ctx)
		p.Took = time.Since(start)
		switch due := (now.changed - before.changed) * now.threads; {
		case err != nil:
			p.Result = "they cannot be asked: " + err.Error()
			return p
		case now.failed > before.failed:
			p.Result = fmt.Sprintf("%v of them failed to listen", now.failed-before.failed)
			return p
		case now.created-before.created >= due:
			p.Result, p.Holds = fmt.Sprintf("%v of %v", now.threads, now.threads), true
			return p
		default:
			p.Result = fmt.Sprintf("%v of %v listeners on workers after %s", now.created-before.created, due, p.Took.Round(time.Millisecond))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return p
		}
	}
}

// dumped is a dynamic listener in Envoy's configuration dump.
type dumped struct {
	Name   string
	Active *struct {
		Listener json.RawMessage
	} `json:"active_state"`
	Warming json.RawMessage `json:"warming_state"`
	Error   *struct {
		Details string
	} `json:"error_state"`
}

// readBack says whether Envoy's admin shows the listeners that are wanted, and no other, as active.
func (s *Server) readBack(ctx context.Context, want []object) flow.Proof {
	start := time.Now()
	p := flow.Proof{What: "Envoy's configuration dump shows it"}
	var dump struct{ Configs []dumped }
	err := s.ask(ctx, "/config_dump?resource=dynamic_listeners", &dump)
	if err == nil {
		err = compare(dump.Configs, want)
	}
	p.Took = time.Since(start)
	p.Result, p.Holds = "active", err == nil
	if err != nil {
		p.Result = err.Error()
	}
	return p
}

func compare(dump []dumped, want []object) error {
	active := map[string]json.RawMessage{}
	for _, d := range dump {
		switch {
		case d.Error != nil:
			return fmt.Errorf("listener %q was refused: %s", d.Name, oneLine(d.Error.Details))
		case d.Warming != nil:
			return fmt.Errorf("listener %q is still warming", d.Name)
		case d.Active != nil:
			active[d.Name] = d.Active.Listener
		}
	}
	for _, l := range want {
		raw, ok := active[l.text("name")]
		if !ok {
			return fmt.Errorf("listener %q is not active", l.text("name"))
		}
		delete(active, l.text("name"))
		if !captures(l) {
			continue // no policy changes it, and what is secret in it is not shown
		}
		if err := same(raw, l); err != nil {
			return err
		}
	}
	if len(active) > 0 {
		return fmt.Errorf("still active: listeners %q", slices.Sorted(maps.Keys(active)))
	}
	return nil
}

// same says whether the dump shows a listener as it was served.
func same(raw json.RawMessage, want object) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("listener %q: %w", want.text("name"), err)
	}
	delete(fields, "@type")
	plain, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("listener %q: %w", want.text("name"), err)
	}
	got := fresh(listenerType)
	if err := (protojson.UnmarshalOptions{Resolver: api.Types{}}).Unmarshal(plain, got.Interface()); err != nil {
		return fmt.Errorf("listener %q: %w", want.text("name"), err)
	}
	if !got.equal(want) {
		return fmt.Errorf("listener %q is active, but not as it was served", want.text("name"))
	}
	return nil
}

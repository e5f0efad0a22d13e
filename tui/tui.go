// Package tui holds the screens: a root model with the state, screens that draw it into
// cells, and commands that ask the pod. It decides nothing and words nothing: rules
// traces, rules/render words.
package tui

import (
	"context"
	"errors"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/meshtop/meshtop/inspect"
)

// Run shows the screens until the user quits. The terminal is given back in every case,
// also when the program panics. The error is that of opening the target, if it never was open, or
// ErrChoose.
func Run(ctx context.Context, opt Options) error {
	inner, stop := context.WithCancel(ctx)
	m := newModel(inner, opt, time.Now())
	err := run(ctx, m, opt)
	stop()
	shut := m.owner.wait() // a watch may still have its sockets open
	switch {
	case err != nil:
		return err
	case m.choose:
		return ErrChoose
	case !m.s.read && m.s.open.err != nil:
		return m.s.open.err
	}
	return shut
}

// Pick shows the pods to choose one from; nil: the user left.
func Pick(ctx context.Context, opt Options, pods Pods) (*inspect.Candidate, error) {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	p := newPicker(inner, opt, pods, time.Now())
	p.clock = time.Now
	err := run(ctx, p, opt)
	return p.picked, err
}

func run(ctx context.Context, m tea.Model, opt Options) error {
	opts := []tea.ProgramOption{tea.WithContext(ctx)}
	if opt.Input != nil {
		opts = append(opts, tea.WithInput(opt.Input))
	}
	if opt.Output != nil {
		opts = append(opts, tea.WithOutput(opt.Output))
	}
	if opt.Environment != nil {
		opts = append(opts, tea.WithEnvironment(opt.Environment))
	}
	_, err := tea.NewProgram(m, opts...).Run()
	switch {
	case err == nil, errors.Is(err, tea.ErrInterrupted):
		return nil
	case errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("screens: %w", err)
}

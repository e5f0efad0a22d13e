package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts turns signals into the end of the program's context. The first one lets it end
// in its own way, a hang-up of the terminal too; a second one ends it at once, unless it is
// just taking something back that nobody else would.
type interrupts struct {
	mu     sync.Mutex
	busy   int
	reload chan os.Signal // nil: a hang-up ends the program
}

// follow calls stop at the first signal.
func (in *interrupts) follow(stop func()) {
	got := make(chan os.Signal, 4)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for stopped := false; ; {
			switch s := <-got; {
			case s == syscall.SIGHUP && in.reloaded(s):
			case !stopped:
				stopped = true
				stop()
			case !in.held():
				// As the signal would without us, so that a shell sees by what it ended.
				signal.Reset(s)
				if p, err := os.FindProcess(os.Getpid()); err != nil || p.Signal(s) != nil {
					os.Exit(1)
				}
			}
		}
	}()
}

// steady keeps the program from ending at a second signal until done.
func (in *interrupts) steady() (done func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.busy++
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.busy--
	}
}

func (in *interrupts) held() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.busy > 0
}

// reloads makes a hang-up ask for a reload from now on.
func (in *interrupts) reloads() <-chan os.Signal {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reload = make(chan os.Signal, 1)
	return in.reload
}

// reloaded hands a hang-up on to whoever reloads; false: nobody does.
func (in *interrupts) reloaded(s os.Signal) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.reload == nil {
		return false
	}
	select {
	case in.reload <- s:
	default: // one is asked for already
	}
	return true
}

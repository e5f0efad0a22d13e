// Package netns is the one way into another network namespace of this machine: a
// function runs on a thread of its own that has entered the namespace. What is opened
// there (sockets, children) stays in that namespace and may be used from anywhere.
package netns

import "errors"

var (
	// ErrGone: there is no such namespace, or no such process.
	ErrGone = errors.New("no such network namespace")
	// ErrNoPower: the caller may not look into it or enter it.
	ErrNoPower = errors.New("not permitted")
	// ErrSystem: this system has no network namespaces.
	ErrSystem = errors.New("network namespaces need Linux")
)

package inspect

import (
	"cmp"
	"context"
	"strings"
)

// Flag is a flag of the command line.
type Flag struct{ Name, Value string }

// WayOn is what can be done where a target could not be opened, or not whole.
type WayOn struct {
	Text string // what it is, in a clause
	// Flags are those of the command line that open the target in this way. Only the last may have
	// no value: the user says it. None: Command is to be run in a shell.
	Flags   []Flag
	Command string
}

// Asks is what the user has to say, as the command line calls it; empty: nothing.
func (w WayOn) Asks() string {
	if n := len(w.Flags); n > 0 && w.Flags[n-1].Value == "" {
		return "--" + w.Flags[n-1].Name
	}
	return ""
}

// String is the way as a sentence: what to write on a command line, and what that does.
func (w WayOn) String() string {
	do := w.Command
	if len(w.Flags) > 0 {
		var words []string
		for _, f := range w.Flags {
			words = append(words, "--"+f.Name+" "+cmp.Or(f.Value, placeholder(f.Name)))
		}
		do = strings.Join(words, " ")
	}
	return do + ": " + w.Text
}

// placeholder stands for a value that is still to be said: parts are files.
func placeholder(flag string) string {
	switch flag {
	case "image":
		return "IMAGE"
	case "admin":
		return "ADDR:PORT"
	}
	return "FILE"
}

// Stuck is an error that knows ways on.
type Stuck interface {
	error
	WaysOn() []WayOn
}

// Mortal is a Pod that can end for good while it is looked at.
type Mortal interface {
	// Gone is closed when it is known to have ended.
	Gone() <-chan struct{}
}

// Succeeded is a Pod that another one may have taken the place of.
type Succeeded interface {
	// Successor is the name of that pod, as a target has it.
	Successor(ctx context.Context) (string, error)
}

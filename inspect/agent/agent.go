// Package agent carries a pod over a byte stream: Serve answers on one end for a Pod that it
// is given, Dial is that Pod on the other.
//
// The stream is any pair of pipes, such as an exec into a container. On it runs HTTP/2, so
// that a long read does not hold a short question up, each end notices within seconds that
// the other is gone, and a call can be cancelled. Bytes are carried and their meaning stays
// with the client: a new rule of evaluation needs no new agent.
package agent

import (
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// Protocol is the version of what is said on the stream. Both ends must have the same.
const Protocol = 1

// Paths of the calls.
const (
	pathHello   = "/hello"
	pathRead    = "/read"
	pathResolve = "/resolve"
	pathSend    = "/send"
	pathObserve = "/observe"
	pathPolicy  = "/policy"
	pathApply   = "/apply"
	pathRenew   = "/renew"
	pathLeave   = "/leave"
)

// Heartbeat is how often either end asks whether the other is there when nothing else is
// said, and Patience how long it waits for the answer. An end whose network drops packets in
// silence is told by TCP after five minutes only.
const (
	Heartbeat = 5 * time.Second
	Patience  = 10 * time.Second
)

// Bounds of what one end takes from the other, which may be hostile.
const (
	maxAsked = 16 << 20 // bytes of a question, of an answer that is no part, of a head
	maxPart  = 1 << 30  // bytes of one part; inspect.Want may set less
	maxParts = 1 << 16
	maxAddrs = 256     // addresses of a name
	inMemory = 4 << 20 // bytes of a part up to which it stays in memory
)

// greeting is the first question. A session is one client, whatever streams it has one after the
// other; empty: its changes end with the stream.
type greeting struct{ Session string }

// hello is the first answer.
type hello struct {
	Protocol int
	Version  string // the build, for eyes
	Name     string // of the pod, as its own side calls it
	Resolves bool   // the pod is an inspect.Resolver
	Enforces bool   // and an inspect.Enforcer
	Keeps    bool   // what the session holds outlasts the stream, until its time is over
}

// want is inspect.Want without what cannot be carried.
type want struct {
	Parts    []string
	Needs    []flow.Need
	Full     bool
	MaxBytes int64
}

// readEvent is one line of the answer to a read. After a line with a Part follow Bytes raw
// bytes of it.
type readEvent struct {
	Progress *progress `json:",omitempty"`
	Part     string    `json:",omitempty"`
	Bytes    int64     `json:",omitempty"`
	End      *readEnd  `json:",omitempty"`
}

type progress struct {
	Part         string
	Bytes, Total int64
	Done         bool
	Err          string
}

type readEnd struct {
	Gaps  []gap
	Calls []inspect.Call
	Error *fault
}

// gap is flow.Gap with all it holds: its own JSON, which people read, leaves a field out.
type gap struct {
	Part, Reason string
	Broken       bool `json:",omitempty"`
}

func gapsOf(from []flow.Gap) []gap {
	var out []gap
	for _, g := range from {
		out = append(out, gap(g))
	}
	return out
}

func flowGaps(from []gap) []flow.Gap {
	var out []flow.Gap
	for _, g := range from {
		out = append(out, flow.Gap(g))
	}
	return out
}

// loss is flow.Loss with all it holds.
type loss struct {
	flow.Loss
	Blind  []gap `json:",omitempty"`
	Unread []gap `json:",omitempty"`
}

func lossOf(l flow.Loss) loss { return loss{l, gapsOf(l.Blind), gapsOf(l.Unread)} }

func (l loss) flow() flow.Loss {
	out := l.Loss
	out.Blind, out.Unread = flowGaps(l.Blind), flowGaps(l.Unread)
	return out
}

// observe are the legs to watch: a watch needs to know who speaks to whom, and not why.
type observe struct {
	Legs []flow.Leg // without their steps
	Opt  inspect.ObserveOptions
}

// seen is one line of a watch's answer.
type seen struct {
	Ready        bool `json:",omitempty"` // the first line: the watch has begun
	Observations []flow.Observation
	Loss         loss
	Final        bool
	Error        *fault
}

// sent is the answer to a request that was sent.
type sent struct {
	inspect.Sent
	Error *fault
}

// lookup asks what a process of a user would get for a name.
type lookup struct {
	Name     string
	UID, GID uint32
}

type resolved struct {
	Named flow.Named
	Error *fault
}

type policy struct {
	Policy flow.Policy
	Error  *fault
}

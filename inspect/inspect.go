// Package inspect holds the seams between meshtop and the pod it looks at: what can be
// asked of a pod, the parts that come back, and the errors a caller decides by.
// It holds no implementation.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// Files are the raw parts of a snapshot by name (docs/architecture.md, "A snapshot is
// files"): iptables-save, config_dump.json, addr.json and so on.
type Files map[string][]byte

// Want says which parts to read and how far.
type Want struct {
	Parts []string // names; empty: everything that is cheap
	// Needs asks for parts of Envoy's configuration by resource and name instead of the
	// whole dump. Without Parts, only those are read.
	Needs []flow.Need
	// Full reads the whole config_dump however large it is.
	Full bool
	// MaxBytes bounds each part; 0: the reader's own bound.
	MaxBytes int64
	// Progress, if not nil, is told of each part while it is read. It must not block.
	Progress func(Progress)
}

// Progress is how far the reading of a part is.
type Progress struct {
	Part  string
	Bytes int64
	Total int64 // 0: not known
	Done  bool
	Err   error
}

// Snapshot is what a read brings: the parts, the gaps, and the calls that were made.
type Snapshot struct {
	Files Files
	Gaps  []flow.Gap
	Calls []Call
}

// Candidate is a pod that could be looked at, as a list of them shows it.
type Candidate struct {
	Namespace, Name string
	Ready           string // containers, such as "2/2"
	State           string // in a word, such as "Running" or "ImagePullBackOff"
	Proxy           string // such as "istio 1.24.1"; empty: none is known
	Created         time.Time
	// Policy is the egress policy that its record tells of, which proves nothing: none told is
	// not none in force. Untold says why no record could be read; empty: they were.
	Policy flow.Policy
	Untold string
	Closed string // why it cannot be attached to; empty: it can
}

// Call is one thing that was done to read a part: shown on the activity screen.
type Call struct {
	What  string // such as "GET 127.0.0.1:9901/config_dump?include_eds" or "iptables-save -c"
	Start time.Time
	Took  time.Duration
	Bytes int64
	Err   string // empty: it went well
}

// ObserveOptions bound a watch.
type ObserveOptions struct {
	Snaplen  int           // bytes kept of each packet; 0: headers only
	Duration time.Duration // 0: until Close
	Packets  int           // 0: no bound
	Raw      bool          // keep packets as they are, to write them to a file
	// Logs are access logs of the proxy to read from their end on, by their paths as the proxy
	// has them; /dev/stdout and /dev/stderr are its output. Lines come as they are.
	Logs []string
}

// Watch is a running observation.
type Watch interface {
	// C gives what was seen, as many as there are at a time. A slice is only lent until the next
	// is received, and so is what Head and Raw of its elements hold. It is closed by the watch
	// when it ends.
	C() <-chan []flow.Observation
	// Loss may be asked at any time; it is final after C was closed.
	Loss() flow.Loss
	// Close ends the watch and waits for it; it may be called twice.
	Close() error
}

// Sent is what a request that meshtop sent itself got.
type Sent struct {
	Symptom flow.Symptom
	Local   netip.AddrPort // the client's end; zero if there was no connection
	Took    time.Duration
	Note    string // what the symptom does not hold, such as a TLS error
	// Own says that meshtop made it as its own UID and GID: it may not become the user that
	// the request asks for (CAP_SETUID, CAP_SETGID).
	Own      bool
	UID, GID uint32
}

// Pod is one pod, network namespace or saved snapshot.
type Pod interface {
	// Name is what the user calls it, such as "netns blue".
	Name() string
	// Read brings raw parts. It returns what it could read even beside an error.
	Read(ctx context.Context, want Want) (Snapshot, error)
	// Observe watches the legs' traffic. ErrReadOnly: a saved snapshot has none.
	Observe(ctx context.Context, legs []flow.Leg, opt ObserveOptions) (Watch, error)
	// Send makes one real request from inside. ErrReadOnly as in Observe.
	Send(ctx context.Context, r flow.Request) (Sent, error)
	Close() error
}

// Resolver is a Pod that can look a name up as its own processes would. Not every pod can:
// a saved snapshot has nobody to ask.
type Resolver interface {
	// Resolve is what a process of this user would get for a name: it has an address at least.
	// The user matters where the pod's rules decide by it whom a question reaches.
	Resolve(ctx context.Context, name string, uid, gid uint32) (flow.Named, error)
}

// Namer is a Pod that can say what of its cluster stands behind addresses.
type Namer interface {
	// Names asks for each address apart, so that a large cluster is never listed. What the account
	// may not see is said in Names.Partial; an error says that nobody could be asked.
	Names(ctx context.Context, addrs []netip.Addr) (flow.Names, []Call, error)
}

// Limited is a Pod that is seen by a way on which it cannot be watched, sent from or changed.
type Limited interface {
	// Limit says so, and what to do about it; it is ErrNoPower.
	Limit() error
}

// Enforcer is a Pod whose egress can be changed. Not every pod can: a saved snapshot has no
// live side.
type Enforcer interface {
	// Policy reads what is in force, and sends nothing: what is applied is proven by what its
	// rules have counted. An expired rest is StateExpired.
	Policy(ctx context.Context) (flow.Policy, error)
	// Apply puts the change into force, reads it back and proves it: StateApplied iff proven.
	// It refuses a change whose text is not what it would do (ErrAltered), and one over a policy
	// that still lives, whoever's it is (*Held). Restore ends whatever is in force. On an error
	// nothing is changed.
	Apply(ctx context.Context, c flow.Change) (flow.Policy, error)
	// Renew sets the lease of what is in force to ttl from now. It never brings back one that
	// has ended: that is an error (ErrEnded).
	Renew(ctx context.Context, ttl time.Duration) error
}

// Recorder is a Pod that cannot be looked into, and of whose egress policy a record tells.
type Recorder interface {
	// Recorded is what the record tells of, which proves nothing: its state is StateTold, and
	// StateUnknown where there is no record, or it could not be read.
	Recorded(ctx context.Context) (flow.Policy, error)
}

// Driven is a Pod that carries some drivers out by another Enforcer than itself.
type Driven interface {
	Driven(d flow.Driver) (Enforcer, error)
}

// Selector is an Enforcer whose policies choose pods by their labels.
type Selector interface {
	Enforcer
	// Selects names the pods that a change would choose.
	Selects(ctx context.Context, c flow.Change) ([]string, error)
}

// Server is an Enforcer that serves a configuration to one Envoy, which need not be that of the
// pod that is meant.
type Server interface {
	Enforcer
	// Serves says whether the Envoy that these parts were read of is the one that is served. An
	// error says that it cannot be told.
	Serves(ctx context.Context, parts Files) (bool, error)
}

// Held says that somebody else's policy is in force.
type Held struct{ Policy flow.Policy }

// Error names who holds it, since when, and until when.
func (h *Held) Error() string {
	c, until := h.Policy.Change, "until somebody restores it"
	if !c.Permanent {
		until = "until " + h.Policy.Expires.UTC().Format(time.RFC3339)
	}
	reason := ""
	if c.Reason != "" {
		reason = fmt.Sprintf(" (%q)", c.Reason)
	}
	return fmt.Sprintf("%s by %q is in force since %s %s%s: restore it first", c.Kind, c.By,
		c.Since.UTC().Format(time.RFC3339), until, reason)
}

var (
	// ErrAltered: the text of a change is not what the change would do.
	ErrAltered = errors.New("the text of the change is not what it would do")
	// ErrEnded: nothing of ours is in force any more.
	ErrEnded = errors.New("no policy is in force")
	// ErrReadOnly: the pod cannot be watched, written to, or sent from.
	ErrReadOnly = errors.New("read only: a saved snapshot has no live side")
	// ErrNotFound: the target does not exist.
	ErrNotFound = errors.New("not found")
	// ErrGone: the pod has ended for good, or is another one of its name.
	ErrGone = errors.New("it is not that pod any more")
	// ErrNoPower: the caller lacks a right; the text names it.
	ErrNoPower = errors.New("not permitted")
)

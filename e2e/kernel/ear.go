package kernel

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/meshtop/meshtop/inspect/netns"
)

// Ear hears what the kernel says of every first packet in a namespace that somebody else
// made and filled. It adds the tracer's table there, and takes it away.
type Ear struct {
	space *netns.Space
	t     *tracer
	index index
}

// Listen begins to hear. files are the namespace's rules as they were read: nft.json and,
// with or without counters, the legacy saves.
func Listen(space *netns.Space, files Files) (*Ear, error) {
	own := Files{}
	for _, name := range []string{"nft.json", "iptables-legacy-save", "ip6tables-legacy-save"} {
		own[name] = files[name]
	}
	for _, name := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		own[name] = []byte(withoutCounters(string(own[name])))
	}
	ix, err := numberRules(own)
	if err != nil {
		return nil, err
	}
	e := &Ear{space: space, t: &tracer{-1, -1}, index: ix}
	if err := space.Do(e.t.open); err != nil {
		e.t.close()
		return nil, err
	}
	return e, e.nft(traceRules)
}

// Events are those since the last call, in the order in which each of nf_tables and legacy
// tables told them.
func (e *Ear) Events() ([]Event, error) { return e.t.drain(e.index) }

// Close takes the tracer away again.
func (e *Ear) Close() error {
	e.t.close()
	return e.nft("delete table inet " + traceTable + "\n")
}

// Own says whether an event is of the tracer's own table: it shows the packet, and is no
// rule of the namespace.
func (e Event) Own() bool { return e.Table == traceTable }

func (e *Ear) nft(text string) error {
	return e.space.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
}

// withoutCounters takes the [packets:bytes] before each rule away.
func withoutCounters(save string) string {
	var b strings.Builder
	for l := range strings.Lines(save) {
		if strings.HasPrefix(l, "[") {
			_, l, _ = strings.Cut(l, "] ")
		}
		b.WriteString(l)
	}
	return b.String()
}

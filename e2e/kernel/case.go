package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/tools/txtar"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/netfilter"
	"github.com/meshtop/meshtop/rules/request"
)

// Case is one packet with the rules that it met and what the kernel did with it.
type Case struct {
	Sentence string
	Packet   netfilter.Packet
	Files    Files
	Want     Outcome
}

// Write is the case as a txtar: a sentence, the request, the snapshot's parts, want.
func (c Case) Write() ([]byte, error) {
	a := &txtar.Archive{Comment: []byte(c.Sentence + "\n")}
	add := func(name string, v any) error {
		b, err := json.Marshal(v)
		a.Files = append(a.Files, txtar.File{Name: name, Data: append(b, '\n')})
		return err
	}
	if err := add("request", request.FormOf(flow.Request{Dir: c.Packet.Dir, Src: c.Packet.Src, Dst: c.Packet.Dst, Proto: c.Packet.Proto,
		UID: c.Packet.UID, GID: c.Packet.GID, Mark: c.Packet.Mark, In: c.Packet.In})); err != nil {
		return nil, err
	}
	var names []string
	for n, data := range c.Files {
		if len(bytes.TrimSpace(data)) > 0 {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		data := bytes.TrimRight(c.Files[n], "\n")
		a.Files = append(a.Files, txtar.File{Name: n, Data: append(data[:len(data):len(data)], '\n')})
	}
	err := add("want", c.Want)
	return txtar.Format(a), err
}

// ReadCase reads what Write wrote.
func ReadCase(data []byte) (Case, error) {
	a := txtar.Parse(data)
	c := Case{Sentence: string(bytes.TrimSpace(a.Comment)), Files: Files{}}
	for _, f := range a.Files {
		switch f.Name {
		case "request":
			r, err := request.Parse(f.Data)
			if err != nil {
				return c, fmt.Errorf("request: %w", err)
			}
			c.Packet = netfilter.Packet{Dir: r.Dir, Src: r.Src, Dst: r.Dst, Proto: r.Proto, UID: r.UID, GID: r.GID, Mark: r.Mark, In: r.In}
		case "want":
			if err := json.Unmarshal(f.Data, &c.Want); err != nil {
				return c, fmt.Errorf("want: %w", err)
			}
		default:
			c.Files[f.Name] = f.Data
		}
	}
	return c, nil
}

// Answers parses the case's parts and asks Walk. A part that Walk cannot read is an error,
// and so is a gap: the kernel's own tools wrote them.
func (f Files) Answers(p netfilter.Packet) ([]Answer, error) {
	rs, h, err := f.Parse()
	if err != nil {
		return nil, err
	}
	return Walks(rs, h, p), nil
}

// Parse reads rules and host.
func (f Files) Parse() (*netfilter.Ruleset, *netfilter.Host, error) {
	rs, gaps, err := netfilter.Parse(f)
	if err != nil {
		return nil, nil, fmt.Errorf("parse the rules: %w", err)
	}
	h, more, err := netfilter.ParseHost(f)
	if err != nil {
		return nil, nil, fmt.Errorf("parse the host: %w", err)
	}
	for _, g := range append(gaps, more...) {
		if _, read := f[g.Part]; read {
			return nil, nil, fmt.Errorf("%s: %s", g.Part, g.Reason)
		}
	}
	return rs, h, nil
}

// Package scenes holds the lab's scenes: for each an Envoy configuration, the rules that
// steer traffic into it, and requests worth sending.
package scenes

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
)

//go:embed */envoy.yaml */rules */requests.jsonl
var files embed.FS

// Scene is one situation of a pod.
type Scene struct {
	Name  string
	About string   // a sentence
	Envoy []byte   // bootstrap, YAML
	Rules []string // commands in order: iptables ... or ip6tables ...
	Cases []Case
}

// Case is a request worth sending.
type Case struct {
	Name    string
	About   string
	Request flow.Request
}

// Names lists the scenes in order of their names.
func Names() []string {
	dirs, err := fs.ReadDir(files, ".")
	if err != nil {
		panic("the embedded scenes cannot be listed: " + err.Error())
	}
	var names []string
	for _, d := range dirs {
		names = append(names, d.Name())
	}
	return names
}

// Named is the scene of that name.
func Named(name string) (Scene, error) {
	conf, err := files.ReadFile(name + "/envoy.yaml")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return Scene{}, fmt.Errorf("no scene %q: there are %s", name, strings.Join(Names(), ", "))
	}
	if err != nil {
		return Scene{}, err
	}
	s := Scene{Name: name, Envoy: conf}
	first, _, _ := strings.Cut(string(conf), "\n")
	s.About = strings.TrimPrefix(first, "# ")
	rules, err := files.ReadFile(name + "/rules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Scene{}, err
	}
	for l := range strings.Lines(string(rules)) {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			s.Rules = append(s.Rules, l)
		}
	}
	raw, err := files.ReadFile(name + "/requests.jsonl")
	if err != nil {
		return Scene{}, err
	}
	s.Cases, err = cases(raw)
	if err != nil {
		return Scene{}, fmt.Errorf("scene %s: requests.jsonl: %w", name, err)
	}
	return s, nil
}

// cases reads one request a line.
func cases(raw []byte) ([]Case, error) {
	var out []Case
	n := 0
	for l := range bytes.Lines(raw) {
		n++
		if len(bytes.TrimSpace(l)) == 0 {
			continue
		}
		var c struct {
			Name, About string
			Request     json.RawMessage
		}
		if err := json.Unmarshal(l, &c); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		r, err := request.Parse(c.Request)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, Case{Name: c.Name, About: c.About, Request: r})
	}
	return out, nil
}

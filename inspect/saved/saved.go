// Package saved is a pod from files: a saved snapshot, single parts that the user names,
// or one of the scenes that are built in.
package saved

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/rules/flow"
)

// Pod is a saved snapshot. It has no live side, but can hold what was seen when it was made.
type Pod struct {
	name  string
	files inspect.Files
	seen  inspect.Files // what was seen of its traffic, beside what files hold of it
}

var _ inspect.Pod = (*Pod)(nil)

// Open opens the snapshot at name: a folder, a zip or a txtar.
func Open(name string) (*Pod, error) {
	files, err := archive.Read(name)
	if err != nil {
		return nil, err
	}
	return New("file "+name, files), nil
}

// New is a pod that consists of files; name is what the user calls it.
func New(name string, files map[string][]byte) *Pod {
	return &Pod{name: name, files: files}
}

// Name is what the user calls it.
func (p *Pod) Name() string { return p.name }

// Read gives the parts that want names, or all; for what a trace needs besides there is
// nothing more. What the snapshot lacks is simply not
// there: its meta.json says what could not be looked at when it was taken.
func (p *Pod) Read(_ context.Context, want inspect.Want) (inspect.Snapshot, error) {
	s := inspect.Snapshot{Files: inspect.Files{}}
	if len(want.Needs) > 0 {
		return s, nil // everything that there is was read the first time
	}
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		if len(want.Parts) > 0 && !wanted(name, want.Parts) {
			continue
		}
		data := p.files[name]
		if want.MaxBytes > 0 && int64(len(data)) > want.MaxBytes {
			s.Gaps = append(s.Gaps, flow.Gap{Part: name, Reason: fmt.Sprintf("%d bytes, more than the %d asked for", len(data), want.MaxBytes)})
			continue
		}
		s.Files[name] = data
		if want.Progress != nil {
			want.Progress(inspect.Progress{Part: name, Bytes: int64(len(data)), Total: int64(len(data)), Done: true})
		}
	}
	return s, nil
}

// wanted says whether parts name the file, or the folder it is in.
func wanted(name string, parts []string) bool {
	for _, p := range parts {
		if p == name || strings.HasPrefix(name, path.Clean(p)+"/") {
			return true
		}
	}
	return false
}

// Close does nothing.
func (p *Pod) Close() error { return nil }

package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/mask"
)

// metaPart is the part that says how a snapshot was taken.
const metaPart = "meta.json"

// RequestPart and WantPart make a snapshot a case: a request in its JSON form, and what
// must be true of its trace.
const (
	RequestPart = "request"
	WantPart    = "want"
)

// Saved is what a snapshot on disk holds.
type Saved struct {
	Files  inspect.Files
	Masked map[string]int // secrets that were masked, by part
	Gaps   []flow.Gap     // parts that were left out, since secrets in them cannot be found
}

// Save makes the files of a reading ready to be written: secrets are masked, and meta.json
// says when, from where and by which calls it was read, and what could not be.
func Save(r Reading) (Saved, error) {
	files, counts, left := mask.Files(r.Files)
	meta := map[string]any{}
	if raw, ok := r.Files[metaPart]; ok {
		if err := json.Unmarshal(raw, &meta); err != nil {
			return Saved{}, &BadPart{fmt.Errorf("%s: %w", metaPart, err)}
		}
	}
	if _, resaved := r.Files[metaPart]; !resaved { // a snapshot is as old as its first reading
		setDefault(meta, "taken", r.Taken.UTC().Format(time.RFC3339))
	}
	setDefault(meta, "target", r.Pod)
	gaps, _ := meta["gaps"].([]any)
	for _, g := range append(slices.Clone(r.Gaps), left...) {
		gaps = append(gaps, map[string]string{"part": g.Part, "reason": g.Reason})
	}
	if len(gaps) > 0 {
		meta["gaps"] = gaps
	}
	if len(r.Calls) > 0 {
		meta["calls"] = calls(r.Calls)
	}
	if len(counts) > 0 {
		meta["masked"] = counts
	}
	raw, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return Saved{}, err
	}
	raw, _, err = mask.Part(metaPart, append(raw, '\n'))
	if err != nil {
		return Saved{}, err
	}
	files[metaPart] = raw
	return Saved{Files: maps.Clone(files), Masked: counts, Gaps: left}, nil
}

func setDefault(m map[string]any, key string, v any) {
	if _, ok := m[key]; !ok {
		m[key] = v
	}
}

type callForm struct {
	What  string `json:"what"`
	Start string `json:"start"`
	MS    int64  `json:"ms"`
	Bytes int64  `json:"bytes"`
	Err   string `json:"error,omitempty"`
}

func calls(in []inspect.Call) []callForm {
	var out []callForm
	for _, c := range in {
		out = append(out, callForm{What: c.What, Start: c.Start.UTC().Format(time.RFC3339Nano), MS: c.Took.Milliseconds(), Bytes: c.Bytes, Err: c.Err})
	}
	return out
}

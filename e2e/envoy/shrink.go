package envoy

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Shrink makes a batch of one request smaller as long as holds says that it still shows
// what it should: it takes away elements of lists and fields of objects, the large ones
// first, until nothing more can go or the time is over.
func Shrink(b *Batch, most time.Duration, holds func(*Batch) bool) *Batch {
	end := time.Now().Add(most)
	var root any
	json.Unmarshal(raw(b), &root)
	for again := true; again && time.Now().Before(end); {
		again = false
		for _, path := range removable(root, nil) {
			if time.Now().After(end) {
				break
			}
			smaller, ok := without(root, path)
			if !ok {
				continue
			}
			next := new(Batch)
			if json.Unmarshal(raw(smaller), next) != nil || len(next.Requests) != 1 {
				continue
			}
			if holds(next) {
				root, again = smaller, true
			}
		}
	}
	out := new(Batch)
	json.Unmarshal(raw(root), out)
	return out
}

// needed are fields without which a case cannot be seen or named.
var needed = []string{"id", "family", "access_log", "accept", "requests"}

// removable are the paths of what may go: outer before inner, and the last of a list
// first, so that the paths before it stay true when it goes.
func removable(v any, at []string) (out [][]string) {
	visit := func(key string, child any) {
		path := append(slices.Clone(at), key)
		if !slices.Contains(needed, key) {
			out = append(out, path)
		} else if key != "requests" {
			return
		}
		out = append(out, removable(child, path)...)
	}
	switch v := v.(type) {
	case A:
		for i := len(v) - 1; i >= 0; i-- {
			visit(strconv.Itoa(i), v[i])
		}
	case M:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			visit(k, v[k])
		}
	}
	return out
}

// without is a copy of v that lacks what the path names; false if there is no such thing.
// What is not on the path is shared.
func without(v any, path []string) (any, bool) {
	switch v := v.(type) {
	case A:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(v) {
			return nil, false
		}
		if len(path) == 1 {
			return slices.Delete(slices.Clone(v), i, i+1), true
		}
		child, ok := without(v[i], path[1:])
		out := slices.Clone(v)
		out[i] = child
		return out, ok
	case M:
		child, ok := v[path[0]]
		if !ok {
			return nil, false
		}
		out := maps.Clone(v)
		if len(path) == 1 {
			delete(out, path[0])
			return out, true
		}
		out[path[0]], ok = without(child, path[1:])
		return out, ok
	}
	return nil, false
}

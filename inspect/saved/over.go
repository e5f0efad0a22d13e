package saved

import (
	"context"
	"maps"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// over is a pod of which some parts are read from files instead.
type over struct {
	inspect.Pod
	files inspect.Files
}

// resolvingOver is one over a pod that can look names up.
type resolvingOver struct {
	over
	inspect.Resolver
}

// clusterOver is one over a pod of a cluster, which also knows the names of addresses.
type clusterOver struct {
	resolvingOver
	inspect.Namer
}

// Over is pod with files before what pod itself gives: for a part that cannot be read
// live but that somebody has.
func Over(pod inspect.Pod, files map[string][]byte) inspect.Pod {
	o := over{Pod: pod, files: files}
	r, resolves := pod.(inspect.Resolver)
	n, names := pod.(inspect.Namer)
	switch {
	case resolves && names:
		return &clusterOver{resolvingOver{o, r}, n}
	case resolves:
		return &resolvingOver{o, r}
	}
	return &o
}

// Read reads the pod, and puts the files over it; what the files have is no gap any more.
func (o *over) Read(ctx context.Context, want inspect.Want) (inspect.Snapshot, error) {
	s, err := o.Pod.Read(ctx, want)
	if s.Files == nil {
		s.Files = inspect.Files{}
	}
	maps.Copy(s.Files, o.files)
	var gaps []flow.Gap
	for _, g := range s.Gaps {
		if _, ok := o.files[g.Part]; !ok {
			gaps = append(gaps, g)
		}
	}
	s.Gaps = gaps
	return s, err
}

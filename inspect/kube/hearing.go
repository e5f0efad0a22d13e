package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hearing tells what goes wrong with a container that is waited for. kubelet says by an event at
// once why an image cannot be had; the pod's status says so a quarter of a minute later.
type hearing struct {
	cluster *cluster
	pod     *v1.Pod
	name    string
	next    time.Time // when events are asked for again
	told    map[string]bool
}

// hears is how often events are asked for, and how long a start may take before they are.
const hears = time.Second

func (c *cluster) hearing(p *v1.Pod, name string) *hearing {
	return &hearing{cluster: c, pod: p, name: name, next: time.Now().Add(hears), told: map[string]bool{}}
}

// tell says each warning once. Where events may not be read, nothing.
func (h *hearing) tell(ctx context.Context) {
	if time.Now().Before(h.next) {
		return
	}
	h.next = time.Now().Add(hears)
	var list []v1.Event
	of := concerning(h.pod, h.name)
	of["type"] = v1.EventTypeWarning
	err := pages(ctx, h.cluster.api, events, h.pod.Namespace, meta.ListOptions{FieldSelector: of.String()}, func(l *v1.EventList) { list = append(list, l.Items...) })
	if err != nil {
		return
	}
	for _, line := range warnings(list) {
		if !h.told[line] {
			h.told[line] = true
			h.cluster.say(fmt.Sprintf("pod %s: %s: %s", h.pod.Name, h.name, line), true)
		}
	}
}

// warnings are events as sentences, the oldest first. "Error: ErrImagePull" repeats in one word
// what another says in many.
func warnings(list []v1.Event) []string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b v1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var out []string
	for _, e := range list {
		if word, ok := strings.CutPrefix(e.Message, "Error: "); !ok || strings.Contains(word, " ") {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return out
}

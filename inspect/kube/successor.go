package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	_ inspect.Succeeded = (*Pod)(nil)
	_ inspect.Succeeded = (*lesser)(nil)
)

// Successor is the pod that stands in its place by now.
func (p *Pod) Successor(ctx context.Context) (string, error) {
	return p.cluster.successor(ctx, p.object)
}

// Successor is the pod that stands in its place by now.
func (p *lesser) Successor(ctx context.Context) (string, error) {
	return p.cluster.successor(ctx, p.object)
}

// successor is a pod that runs and that the same controller made: the same ReplicaSet or
// StatefulSet, or after a rollout the same Deployment.
func (c *cluster) successor(ctx context.Context, o *v1.Pod) (string, error) {
	owner := meta.GetControllerOf(o)
	if owner == nil {
		return "", fmt.Errorf("pod %s: nothing made it that would make another (it has no controller)", o.Name)
	}
	var list []v1.Pod // those alone, of however many
	err := pages(ctx, c.api, pods, o.Namespace, meta.ListOptions{}, func(l *v1.PodList) {
		for _, p := range l.Items {
			if p.UID != o.UID && follows(o, &p) {
				list = append(list, p)
			}
		}
	})
	if err != nil {
		return "", fmt.Errorf("the pods of %s %s: %w", owner.Kind, owner.Name, worded(err))
	}
	slices.SortFunc(list, func(a, b v1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	why := errors.New("none runs")
	for i := range list {
		p := &list[i]
		if err := runs(p); err != nil {
			why = fmt.Errorf("pod %s: %w", p.Name, err)
			continue
		}
		return p.Name + "." + p.Namespace, nil
	}
	return "", fmt.Errorf("%s %s has no other pod: %w", owner.Kind, deployment(o, owner), why)
}

// follows says whether p is of what made o.
func follows(o, p *v1.Pod) bool {
	was, is := meta.GetControllerOf(o), meta.GetControllerOf(p)
	if is == nil {
		return false
	}
	return was.UID == is.UID || was.Kind == "ReplicaSet" && is.Kind == "ReplicaSet" &&
		deployment(o, was) != was.Name && deployment(o, was) == deployment(p, is)
}

// deployment is the Deployment of a ReplicaSet's pod: it names its ReplicaSets after itself and
// the hash that their pods have as a label. For another controller it is that one's own name.
func deployment(p *v1.Pod, owner *meta.OwnerReference) string {
	if hash := p.Labels["pod-template-hash"]; hash != "" && owner.Kind == "ReplicaSet" {
		return strings.TrimSuffix(owner.Name, "-"+hash)
	}
	return owner.Name
}

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	apps "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// find is the pod that a kind and a name mean.
func (c *cluster) find(ctx context.Context, kind, name string) (*v1.Pod, error) {
	if kind == "deploy" {
		return literally(name, c.namespace, func(name, space string) (*v1.Pod, error) { return c.ofDeployment(ctx, name, space) })
	}
	return literally(name, c.namespace, func(name, space string) (*v1.Pod, error) {
		return c.api.pod(ctx, space, name)
	})
}

// literally asks for a name in the namespace, and where nothing is called so, for
// NAME.NAMESPACE: names may hold dots, namespaces cannot (RFC 1123 label).
func literally(name, space string, get func(name, space string) (*v1.Pod, error)) (*v1.Pod, error) {
	p, err := get(name, space)
	at := strings.LastIndexByte(name, '.')
	if at <= 0 || !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return p, err
	}
	if q, other := get(name[:at], name[at+1:]); !apierrors.IsNotFound(other) {
		return q, other
	}
	return p, err
}

// ofDeployment is a pod of a deployment: of those that can be attached to the first by name.
func (c *cluster) ofDeployment(ctx context.Context, name, space string) (*v1.Pod, error) {
	var d apps.Deployment
	if err := c.api.get(ctx, deployments, space, name, &d); err != nil {
		return nil, err
	}
	selector, err := meta.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the selector of deployment %s: %w", name, err)
	}
	var list []v1.Pod
	err = pages(ctx, c.api, pods, space, meta.ListOptions{LabelSelector: selector.String()}, func(l *v1.PodList) { list = append(list, l.Items...) })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b v1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	var why error
	for i := range list {
		if why = runs(&list[i]); why == nil {
			return &list[i], nil
		}
		why = fmt.Errorf("pod %s: %w", list[i].Name, why)
	}
	if why == nil {
		why = errors.New("it has no pods")
	}
	return nil, fmt.Errorf("deployment %s in namespace %s: %w", name, space, why)
}

// runs says why a container cannot be added to the pod. The API server accepts one for every
// pod; in one that does not run it never starts, and nothing says so.
func runs(p *v1.Pod) error {
	windows := p.Spec.OS != nil && p.Spec.OS.Name == v1.Windows || p.Spec.NodeSelector[v1.LabelOSStable] == "windows"
	switch {
	case windows:
		return errors.New("it runs on Windows, which has neither iptables nor nftables")
	case p.DeletionTimestamp != nil:
		// The time is not when that was asked for, but when its grace is over (ObjectMeta).
		return fmt.Errorf("it is being deleted (and is gone by %s)", p.DeletionTimestamp.UTC().Format("15:04:05 MST"))
	case p.Status.Phase == v1.PodRunning:
		return nil
	case p.Status.Phase == v1.PodPending:
		return fmt.Errorf("it does not run yet (Pending%s)", pending(p))
	}
	return fmt.Errorf("it does not run any more (%s)", cmp.Or(string(p.Status.Phase), "no phase"))
}

// pending is what a pod waits for, as far as its object says.
func pending(p *v1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" {
			return said(s.Name, w.Reason, w.Message)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Status == v1.ConditionFalse && c.Message != "" {
			return said(string(c.Type), c.Reason, c.Message)
		}
	}
	return ""
}

func said(words ...string) string {
	return ": " + strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ": ")
}

// worded is err with inspect's word for it, and what to do about a right that is missing.
func worded(err error) error {
	var already *told
	switch {
	case errors.As(err, &already):
	case apierrors.IsNotFound(err):
		return &told{err, inspect.ErrNotFound, ""}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "violates PodSecurity"):
		return &told{err, inspect.ErrNoPower, "; the namespace's pod security admits no container with NET_ADMIN: --via node works from a pod in another namespace, and on the node itself netns NAME and pid N need none"}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &told{err, inspect.ErrNoPower, "; meshtop needs get and list of pods and events, patch of pods/ephemeralcontainers, get and create of pods/exec"}
	}
	return err
}

// told is an error with a sentinel and an advice.
type told struct {
	err, sentinel error
	advice        string
}

// Error is the API server's sentence with the advice.
func (t *told) Error() string { return t.err.Error() + t.advice }

// Unwrap gives the cause and the sentinel.
func (t *told) Unwrap() []error { return []error{t.err, t.sentinel} }

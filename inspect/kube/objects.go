package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// objects carries policies out as objects of Kubernetes: Istio's Sidecar, or a NetworkPolicy.
// What the API server took is accepted and no more: others act on it, or do not.
type objects struct {
	pod    *Pod
	driver flow.Driver
	kind   kind
	word   string // of the kind, in the object
}

var _ inspect.Selector = (*objects)(nil)

// Driven is who carries policies out by an object of Kubernetes.
func (p *Pod) Driven(d flow.Driver) (inspect.Enforcer, error) {
	switch d {
	case flow.Sidecar:
		return &objects{p, d, sidecars, "Sidecar"}, nil
	case flow.NetworkPolicy:
		return &objects{p, d, policies, "NetworkPolicy"}, nil
	}
	return nil, fmt.Errorf("%s: driver %s makes no object of Kubernetes", p.Name(), d)
}

// objectName is that of the plan (rules/egress): one object a pod. Where they differ the plan is
// refused (parse).
func (o *objects) objectName() string { return nameOf("meshtop-block-all-", o.pod.object.Name) }

func (o *objects) place() string { return o.word + " " + o.pod.object.Namespace + "/" + o.objectName() }

// get is the object as it is; nil: there is none.
func (o *objects) get(ctx context.Context) (*unstructured.Unstructured, error) {
	var u unstructured.Unstructured
	raw, err := o.pod.cluster.api.raw(ctx, o.kind, o.pod.object.Namespace, o.objectName())
	switch {
	case apierrors.IsNotFound(err) && !kindless(err):
		return nil, nil
	case err != nil:
		return nil, o.fail("read", err)
	}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, o.fail("read", err)
	}
	return &u, nil
}

// kindless says whether the API server knows no such kind, rather than no such object.
func kindless(err error) bool {
	s := apierrors.APIStatus(nil)
	return errors.As(err, &s) && (s.Status().Details == nil || s.Status().Details.Name == "")
}

// fail says what was done to the object.
func (o *objects) fail(verb string, err error) error {
	if apierrors.IsNotFound(err) && o.driver == flow.Sidecar {
		err = fmt.Errorf("this cluster has no Istio: %w", err) // the kind itself is not there
	}
	return fmt.Errorf("%s: %s the %s: %w", o.pod.Name(), verb, o.place(), worded(err))
}

// Policy reads the object. One of that name that is not ours is unknown.
func (o *objects) Policy(ctx context.Context) (flow.Policy, error) {
	u, err := o.get(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	if u == nil {
		return flow.Policy{State: flow.StateNone, Change: flow.Change{Driver: o.driver}}, nil
	}
	c, expires, ok := marked(u.GetAnnotations())
	p := flow.Policy{State: flow.StateAccepted, Change: c, Expires: expires, Record: flow.Record{Where: o.place(), By: c.By}}
	switch {
	case !ok || c.Driver != o.driver:
		p.State, p.Change, p.Why = flow.StateUnknown, flow.Change{Driver: o.driver}, "the "+o.place()+" is there, and not meshtop's"
	case !expires.IsZero() && expires.Before(time.Now()):
		p.Why = "its time is over, and the object is still there: it goes with the pod, or by meshtop policy restore with --driver " + o.driver.String()
	}
	return p, nil
}

// Apply makes or deletes the object. It refuses text that is not the object of this pod. What it
// makes belongs to the pod: nobody in the cluster ends it in time, and it goes with the pod at last.
func (o *objects) Apply(ctx context.Context, c flow.Change) (flow.Policy, error) {
	now, err := o.Policy(ctx)
	if err != nil {
		return flow.Policy{}, err
	}
	if c.Kind == flow.Restore {
		return o.restore(ctx, c, now)
	}
	if now.State != flow.StateNone {
		if now.State == flow.StateUnknown {
			return flow.Policy{}, fmt.Errorf("%s: refused: %s", o.pod.Name(), now.Why)
		}
		return flow.Policy{}, &inspect.Held{Policy: now}
	}
	u, err := o.parse(c)
	if err != nil {
		return flow.Policy{}, err
	}
	p := flow.Policy{State: flow.StateAccepted, Change: c}
	if !c.Permanent {
		p.Expires = time.Now().Add(c.TTL).Round(time.Second)
	}
	by := o.pod.who(ctx, c.By)
	u.SetLabels(map[string]string{"app.kubernetes.io/managed-by": manager})
	u.SetAnnotations(marks(c, c.By, p.Expires))
	u.SetOwnerReferences(o.pod.owner())
	if err := o.pod.cluster.api.apply(ctx, o.kind, u); err != nil {
		return flow.Policy{}, o.fail("apply", err)
	}
	p.Record = o.pod.record(ctx, c, p)
	p.Record.By = by
	return p, nil
}

// parse is the object that the change's text says, which must be this pod's own.
func (o *objects) parse(c flow.Change) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(strings.Join(c.Edits, "\n")), &u.Object); err != nil {
		return nil, fmt.Errorf("%s: the %s of the plan: %w", o.pod.Name(), o.word, err)
	}
	var spec map[string]any
	if u.Object != nil {
		spec, _, _ = unstructured.NestedMap(u.Object, "spec")
	}
	set, err := o.chosen(spec)
	known := slices.Sorted(maps.Keys(u.Object))
	if err != nil || u.GetKind() != o.word || u.GetAPIVersion() != o.kind.group.String() || u.GetNamespace() != o.pod.object.Namespace || u.GetName() != o.objectName() ||
		!slices.Equal(known, []string{"apiVersion", "kind", "metadata", "spec"}) || !maps.Equal(set, labels.Set(o.pod.object.Labels)) || len(set) == 0 {
		return nil, fmt.Errorf("%s: %w", o.pod.Name(), inspect.ErrAltered)
	}
	return u, nil
}

// chosen are the labels by which a spec chooses pods.
func (o *objects) chosen(spec map[string]any) (labels.Set, error) {
	path := []string{"podSelector", "matchLabels"}
	if o.driver == flow.Sidecar {
		path = []string{"workloadSelector", "labels"}
	}
	set, _, err := unstructured.NestedStringMap(spec, path...)
	return set, err
}

func (o *objects) restore(ctx context.Context, c flow.Change, now flow.Policy) (flow.Policy, error) {
	if now.State == flow.StateUnknown {
		return flow.Policy{}, fmt.Errorf("%s: refused: %s", o.pod.Name(), now.Why)
	}
	if now.State != flow.StateNone {
		err := o.pod.cluster.api.delete(ctx, o.kind, o.pod.object.Namespace, o.objectName())
		if err != nil && !apierrors.IsNotFound(err) {
			return flow.Policy{}, o.fail("delete", err)
		}
	}
	back, err := o.Policy(ctx)
	if err != nil {
		return back, err
	}
	back.Change.Kind, back.Change.By = c.Kind, c.By
	back.Record = o.pod.record(ctx, c, back)
	return back, nil
}

// Renew moves the time that the object names, after which its end is due.
func (o *objects) Renew(ctx context.Context, ttl time.Duration) error {
	now, err := o.Policy(ctx)
	if err != nil {
		return err
	}
	if now.State != flow.StateAccepted {
		return fmt.Errorf("%s: %w", o.pod.Name(), inspect.ErrEnded)
	}
	end := time.Now().Add(ttl).Round(time.Second)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": marks(now.Change, now.Change.By, end)}})
	if err != nil {
		return err
	}
	if err := o.pod.cluster.api.patch(ctx, o.kind, o.pod.object.Namespace, o.objectName(), types.MergePatchType, patch); err != nil {
		return o.fail("extend", err)
	}
	return o.pod.renewed(ctx, ttl)
}

// Selects are the pods that the object of a change would choose.
func (o *objects) Selects(ctx context.Context, c flow.Change) ([]string, error) {
	u, err := o.parse(c)
	if err != nil {
		return nil, err
	}
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	set, err := o.chosen(spec)
	if err != nil {
		return nil, err
	}
	var list v1.PodList
	if err := o.pod.cluster.api.list(ctx, pods, o.pod.object.Namespace, meta.ListOptions{LabelSelector: labels.SelectorFromSet(set).String()}, &list); err != nil {
		return nil, fmt.Errorf("%s: which pods have its labels: %w", o.pod.Name(), err)
	}
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	return out, nil
}

package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/meshtop/meshtop/rules/flow"
	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// needed are the rights that meshtop makes use of, from the least to the most; deploy/rbac
// holds them as roles.
func needed() []flow.Right {
	of := func(role, need, gives, group, object string, verbs ...string) flow.Right {
		r := flow.Right{Role: role, Need: need, Gives: gives, Group: group, Object: object}
		for _, v := range verbs {
			r.Verbs = append(r.Verbs, flow.Verb{Name: v})
		}
		return r
	}
	return []flow.Right{
		of("view", "see the pod", "the rules as they were meant (--via intent)", "", "pods", "get"),
		of("view", "find pods by deployment", "deploy NAME as a target", "", "pods", "list"),
		of("view", "read ConfigMaps", "Envoy's configuration as it was meant", "", "configmaps", "get"),
		of("view", "see Services", "the names of addresses; without an agent, the address of a Service's name", "", "services", "get", "list"),
		of("view", "read events", "why the agent does not start", "", "events", "list"),
		of("view", "see who holds a policy", "everybody's attach says by whom and until when", "coordination.k8s.io", "leases", "get", "list"),
		of("view", "forward a port", "Envoy's half of a trace (--via forward)", "", "pods/portforward", "get", "create"),
		of("capture", "start a process in the pod", "what its images can read (--via exec); the agent is spoken to by it", "", "pods/exec", "get", "create"),
		of("capture", "add an ephemeral container", "the agent: rules, sockets, confirm, policy", "", "pods/ephemeralcontainers", "patch"),
		of("operate", "record a policy as an event", "everybody sees who changed what", "", "events", "create"),
		of("operate", "record a policy as a lease", "by whom and until when", "coordination.k8s.io", "leases", "create", "update", "patch", "delete"),
		of("sidecar", "write Istio's Sidecar", "a policy as an object of Istio's", "networking.istio.io", "sidecars", "get", "list", "create", "patch", "delete"),
		of("networkpolicy", "write a NetworkPolicy", "a policy as an object of Kubernetes'", "networking.k8s.io", "networkpolicies", "get", "list", "create", "patch", "delete"),
	}
}

// neededOnNode are the rights that --via node takes in the namespace of the pods on nodes.
func neededOnNode(namespace string) []flow.Right {
	of := func(need, gives, group, object string, verbs ...string) flow.Right {
		r := flow.Right{Role: "node", Need: need, Gives: gives, Group: group, Object: object, Namespace: namespace}
		for _, v := range verbs {
			r.Verbs = append(r.Verbs, flow.Verb{Name: v})
		}
		return r
	}
	return []flow.Right{
		of("make a Job", "--via node: a pod on the pod's node, if the namespace's pod security admits privileged pods", "batch", "jobs", "create", "delete"),
		of("find that pod", "one that runs already is used again", "", "pods", "get", "list"),
		of("start a process in it", "the agent there is spoken to by it", "", "pods/exec", "get", "create"),
	}
}

// CanI asks what the account may do with the pod that kind and name mean. Where the pod may not
// be seen, it is asked for that name in the namespace of the flags.
func (f *Flags) CanI(ctx context.Context, kind, name string) (flow.Rights, error) {
	c, err := f.cluster(func(string, bool) {})
	if err != nil {
		return flow.Rights{}, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	r := flow.Rights{Pod: name, Namespace: c.namespace, List: slices.Concat(needed(), neededOnNode(c.nodeSpace)), Agent: true}
	o, err := c.find(ctx, kind, name)
	switch {
	case err == nil:
		r.Pod, r.Namespace = o.Name, o.Namespace
	case kind == "deploy", !apierrors.IsForbidden(err):
		return r, fmt.Errorf("%s %s: %w", kind, name, worded(err))
	}
	r.User = c.whoami(ctx)
	if err := each(r.List, func(w *flow.Right) error { return c.may(ctx, r.Namespace, r.Pod, w) }); err != nil {
		return r, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	for i, w := range r.List {
		if i == 0 || w.Role == "capture" {
			r.Agent = r.Agent && w.Allowed()
		}
	}
	return r, nil
}

// each does all at once: they are two dozen questions, and an API server may be far.
func each(list []flow.Right, do func(*flow.Right) error) error {
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i := range list {
		all.Go(func() { errs[i] = do(&list[i]) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// may asks for each verb of a right. A verb that makes an object is asked without a name, as
// the API server itself asks.
func (c *cluster) may(ctx context.Context, namespace, pod string, r *flow.Right) error {
	object, sub, _ := strings.Cut(r.Object, "/")
	for i := range r.Verbs {
		v := &r.Verbs[i]
		review := authz.SelfSubjectAccessReview{}
		review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SelfSubjectAccessReview"
		at := &authz.ResourceAttributes{Namespace: cmp.Or(r.Namespace, namespace), Verb: v.Name, Group: r.Group, Resource: object, Subresource: sub}
		if r.Namespace == "" && object == "pods" && v.Name != "list" && v.Name != "delete" && (v.Name != "create" || sub != "") {
			at.Name = pod
		}
		review.Spec.ResourceAttributes = at
		if err := c.review(ctx, "selfsubjectaccessreviews", &review, "authorization.k8s.io"); err != nil {
			return fmt.Errorf("ask whether %s of %s is allowed: %w", v.Name, r.Object, err)
		}
		v.Allowed, v.Why = review.Status.Allowed, review.Status.Reason
		if e := review.Status.EvaluationError; e != "" && !v.Allowed {
			v.Why = e
		}
	}
	return nil
}

// whoami is the account as the API server knows it; empty where it does not say (before 1.28).
func (c *cluster) whoami(ctx context.Context) string {
	review := authn.SelfSubjectReview{}
	review.APIVersion, review.Kind = "authentication.k8s.io/v1", "SelfSubjectReview"
	if err := c.review(ctx, "selfsubjectreviews", &review, "authentication.k8s.io"); err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}

// review sends a question that is an object and reads the object that answers it.
func (c *cluster) review(ctx context.Context, plural string, object any, group string) error {
	core, err := c.api.client(v1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	raw, err := core.Post().AbsPath("/apis", group, "v1", plural).SetHeader("Content-Type", "application/json").
		SetHeader("Accept", "application/json").Body(body).DoRaw(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, object)
}

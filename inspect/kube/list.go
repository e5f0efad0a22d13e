package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
)

// page is how many objects one answer of the API server holds: it must not build a list of
// thousands at once (metav1.ListOptions.limit).
const page = 500

// Configured says whether a cluster is configured at all. Nothing is sent.
func (f *Flags) Configured() bool {
	raw, err := f.loader().RawConfig()
	return err == nil && !clientcmd.IsEmptyConfig(clientcmd.Validate(raw))
}

// Where is the context and the namespace that the flags mean.
func (f *Flags) Where() (context, namespace string) {
	l := f.loader()
	if raw, err := l.RawConfig(); err == nil {
		context = cmp.Or(f.overrides.CurrentContext, raw.CurrentContext)
	}
	namespace, _, _ = l.Namespace()
	return context, namespace
}

// Contexts are those of the kubeconfig, in order.
func (f *Flags) Contexts() []string {
	raw, err := f.loader().RawConfig()
	if err != nil {
		return nil
	}
	var out []string
	for name := range raw.Contexts {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Use makes a context and a namespace those that the flags mean; an empty one stays.
func (f *Flags) Use(context, namespace string) {
	if context != "" {
		f.overrides.CurrentContext = context
		f.overrides.Context.Namespace = ""
	}
	if namespace != "" {
		f.overrides.Context.Namespace = namespace
	}
}

// List gives the pods of a namespace, those with a proxy first; "*" is every namespace.
func (f *Flags) List(ctx context.Context, namespace string) ([]inspect.Candidate, error) {
	c, err := f.cluster(func(string, bool) {})
	if err != nil {
		return nil, err
	}
	if namespace == "*" {
		namespace = meta.NamespaceAll
	}
	type records struct {
		told map[types.UID]*coordination.Lease
		err  error
	}
	recorded := make(chan records, 1) // at once with the pods: neither waits for the other
	go func() {
		told, err := c.recorded(ctx, namespace)
		recorded <- records{told, err}
	}()
	var out []inspect.Candidate
	var uids []types.UID // of the pods in out
	opt := meta.ListOptions{Limit: page}
	for {
		var list v1.PodList
		if err := c.api.list(ctx, pods, namespace, opt, &list); err != nil {
			return out, fmt.Errorf("list the pods: %w", err)
		}
		for i := range list.Items {
			out, uids = append(out, candidate(&list.Items[i])), append(uids, list.Items[i].UID)
		}
		if opt.Continue = list.Continue; opt.Continue == "" {
			break
		}
	}
	r := <-recorded
	for i, uid := range uids {
		if r.err != nil {
			out[i].Untold = worded(r.err).Error()
		} else if l := r.told[uid]; l != nil {
			out[i].Policy, _ = toldBy(l, uid, time.Now())
		}
	}
	slices.SortStableFunc(out, func(a, b inspect.Candidate) int {
		if (a.Proxy == "") != (b.Proxy == "") {
			return -strings.Compare(a.Proxy, b.Proxy)
		}
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// recorded are the Leases of policies in a namespace, by the pod that they are about.
func (c *cluster) recorded(ctx context.Context, namespace string) (map[types.UID]*coordination.Lease, error) {
	out := map[types.UID]*coordination.Lease{}
	opt := meta.ListOptions{Limit: page, LabelSelector: "app.kubernetes.io/managed-by=" + manager}
	for {
		var list coordination.LeaseList
		if err := c.api.list(ctx, leases, namespace, opt, &list); err != nil {
			return nil, fmt.Errorf("list the Leases: %w", err)
		}
		for i, l := range list.Items {
			if len(l.OwnerReferences) == 1 && l.Name == leaseName(l.OwnerReferences[0].Name) {
				out[l.OwnerReferences[0].UID] = &list.Items[i]
			}
		}
		if opt.Continue = list.Continue; opt.Continue == "" {
			return out, nil
		}
	}
}

// Namespaces are those of the cluster, if they may be listed.
func (f *Flags) Namespaces(ctx context.Context) ([]string, error) {
	c, err := f.cluster(func(string, bool) {})
	if err != nil {
		return nil, err
	}
	var out []string
	err = pages(ctx, c.api, namespaces, "", meta.ListOptions{}, func(l *v1.NamespaceList) {
		for _, n := range l.Items {
			out = append(out, n.Name)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the namespaces: %w", err)
	}
	return out, nil
}

// candidate is a pod as a row of a list.
func candidate(p *v1.Pod) inspect.Candidate {
	ready := 0
	for _, s := range p.Status.ContainerStatuses {
		if s.Ready {
			ready++
		}
	}
	c := inspect.Candidate{
		Namespace: p.Namespace, Name: p.Name, Created: p.CreationTimestamp.Time,
		Ready: strconv.Itoa(ready) + "/" + strconv.Itoa(len(p.Spec.Containers)), State: phase(p), Proxy: proxyWords(p),
	}
	if err := runs(p); err != nil {
		c.Closed = err.Error()
	}
	return c
}

// phase is what a pod does in one word, as kubectl get shows it.
func phase(p *v1.Pod) string {
	switch {
	case p.DeletionTimestamp != nil:
		return "Terminating"
	case p.Status.Reason != "":
		return p.Status.Reason
	case p.Status.Phase == v1.PodSucceeded:
		return "Completed"
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			return w.Reason
		}
	}
	return string(p.Status.Phase)
}

// redirected marks a pod whose traffic a node's ztunnel takes (Istio's ambient mode): it has no
// Envoy of its own.
const redirected = "ambient.istio.io/redirection"

// proxyWords is the proxy of a pod: by whom it was put there, and the version that its image is
// tagged with. Empty: there is none that we know.
func proxyWords(p *v1.Pod) string {
	c := envoyOf(p)
	if c == nil {
		if p.Annotations[redirected] == "enabled" {
			return "ztunnel (ambient)"
		}
		return ""
	}
	kind := "envoy"
	switch {
	case c.Name == "istio-proxy":
		kind = "istio"
	case c.Name == "consul-dataplane":
		kind = "consul"
	case c.Name == "kuma-sidecar":
		kind = "kuma"
	case p.Labels["app.kubernetes.io/managed-by"] == "envoy-gateway":
		kind = "envoy gateway"
	}
	if v := tag(c.Image); v != "" && v != "latest" {
		kind += " " + v
	}
	return kind
}

// tag is the tag of an image's name; empty: it has none, or a digest alone.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return strings.TrimPrefix(image[i+1:], "v")
	}
	return ""
}

package kube

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var (
	_ inspect.Namer = (*Pod)(nil)
	_ inspect.Namer = (*lesser)(nil)
)

// Names are what of the cluster stands behind addresses.
func (p *Pod) Names(ctx context.Context, addrs []netip.Addr) (flow.Names, []inspect.Call, error) {
	return p.cluster.names.ask(ctx, p.cluster.api, p.object.Namespace, addrs)
}

// Names are what of the cluster stands behind addresses.
func (p *lesser) Names(ctx context.Context, addrs []netip.Addr) (flow.Names, []inspect.Call, error) {
	return p.cluster.names.ask(ctx, p.cluster.api, p.object.Namespace, addrs)
}

// Bounds of asking for names: how many questions at once, how long an answer counts (a pod's
// address becomes another's), and how many are kept.
const (
	namers    = 4
	namedFor  = time.Minute
	mostNamed = 1024
)

// namer remembers what stands behind addresses.
type namer struct {
	mu    sync.Mutex
	known map[netip.Addr]known
	// narrow is, by kind and namespace (empty: all), until when it counts that it may not be listed:
	// an API server that was restarted says so for a moment, and rights are granted.
	narrow map[string]time.Time
}

type known struct {
	labels []flow.Label
	until  time.Time
}

// ask asks for each address apart, for a Service and then for pods: the API server chooses by
// a field, from its memory, and no list of all is ever carried (only the first address of an
// object of two families is such a field).
func (n *namer) ask(ctx context.Context, a *api, namespace string, addrs []netip.Addr) (flow.Names, []inspect.Call, error) {
	out := flow.Names{Labels: map[netip.Addr][]flow.Label{}}
	var mu sync.Mutex // of what follows
	var calls []inspect.Call
	var failed error
	next := make(chan netip.Addr)
	var all sync.WaitGroup
	for range min(namers, len(addrs)) {
		all.Go(func() {
			for addr := range next {
				labels, did, err := n.one(ctx, a, namespace, addr)
				mu.Lock()
				calls = append(calls, did...)
				if len(labels) > 0 {
					out.Labels[addr] = labels
				}
				if failed == nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for _, addr := range addrs {
		next <- addr.Unmap()
	}
	close(next)
	all.Wait()
	slices.SortFunc(calls, func(a, b inspect.Call) int { return a.Start.Compare(b.Start) })
	out.Partial = n.partial(namespace)
	if failed != nil && len(out.Labels) > 0 {
		out.Partial, failed = "not all could be asked for: "+failed.Error(), nil
	}
	return out, calls, failed
}

// one is what stands behind one address.
func (n *namer) one(ctx context.Context, a *api, namespace string, addr netip.Addr) ([]flow.Label, []inspect.Call, error) {
	n.mu.Lock()
	k, ok := n.known[addr]
	n.mu.Unlock()
	if ok && time.Now().Before(k.until) {
		return k.labels, nil, nil
	}
	var calls []inspect.Call
	labels, err := n.services(ctx, a, namespace, addr, &calls)
	if err == nil && len(labels) == 0 {
		labels, err = n.pods(ctx, a, namespace, addr, &calls)
	}
	if err != nil {
		return nil, calls, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= mostNamed {
		n.known = map[netip.Addr]known{}
	}
	until := time.Now().Add(namedFor)
	for _, t := range n.narrow { // what was left out is asked for as soon as it may be
		if t.After(time.Now()) && t.Before(until) {
			until = t
		}
	}
	n.known[addr] = known{labels, until}
	return labels, calls, nil
}

func (n *namer) services(ctx context.Context, a *api, namespace string, addr netip.Addr, calls *[]inspect.Call) ([]flow.Label, error) {
	list := &v1.ServiceList{}
	if err := n.list(ctx, a, services, namespace, "spec.clusterIP="+addr.String(), list, calls); err != nil {
		return nil, err
	}
	var out []flow.Label
	for _, s := range list.Items {
		l := flow.Label{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
		for _, p := range s.Spec.Ports {
			if p.Name != "" {
				if l.Ports == nil {
					l.Ports = map[uint16]string{}
				}
				l.Ports[uint16(p.Port)] = p.Name
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// pods are those with the address. Pods that have ended keep theirs, and others have it by now;
// one on its node's network has the node's.
func (n *namer) pods(ctx context.Context, a *api, namespace string, addr netip.Addr, calls *[]inspect.Call) ([]flow.Label, error) {
	list := &v1.PodList{}
	if err := n.list(ctx, a, pods, namespace, "status.phase!=Succeeded,status.phase!=Failed,status.podIP="+addr.String(), list, calls); err != nil {
		return nil, err
	}
	var out []flow.Label
	for _, p := range list.Items {
		l := flow.Label{Kind: "Pod", Namespace: p.Namespace, Name: p.Name}
		if p.Spec.HostNetwork {
			l = flow.Label{Kind: "Node", Name: p.Spec.NodeName}
		}
		if !slices.ContainsFunc(out, func(o flow.Label) bool { return o.Kind == l.Kind && o.Namespace == l.Namespace && o.Name == l.Name }) {
			out = append(out, l)
		}
	}
	return out, nil
}

// list lists objects of all namespaces by a field, or of the pod's own alone where the account
// may no more; of a kind that it may not list at all there are none.
func (n *namer) list(ctx context.Context, a *api, k kind, namespace, field string, into runtime.Object, calls *[]inspect.Call) error {
	for _, space := range []string{meta.NamespaceAll, namespace} {
		n.mu.Lock()
		narrow := n.isNarrow(k.plural, space)
		n.mu.Unlock()
		if narrow {
			continue
		}
		start := time.Now()
		err := a.list(ctx, k, space, meta.ListOptions{FieldSelector: field, ResourceVersion: "0", Limit: page}, into)
		c := inspect.Call{What: fmt.Sprintf("GET %s of %s with %s", k.plural, cmp.Or(space, "all namespaces"), field), Start: start, Took: time.Since(start)}
		if err != nil {
			c.Err = err.Error()
		}
		*calls = append(*calls, c)
		if !apierrors.IsForbidden(err) {
			return err
		}
		n.mu.Lock()
		if n.narrow == nil {
			n.narrow = map[string]time.Time{}
		}
		n.narrow[k.plural+"/"+space] = time.Now().Add(namedFor)
		n.mu.Unlock()
	}
	return nil
}

// isNarrow says whether it is known that a kind may not be listed there. The caller holds mu.
func (n *namer) isNarrow(plural, space string) bool {
	return time.Now().Before(n.narrow[plural+"/"+space])
}

// partial says which objects the account may not list.
func (n *namer) partial(namespace string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var none, own []string
	for _, k := range []string{services.plural, pods.plural} {
		switch {
		case n.isNarrow(k, namespace):
			none = append(none, k)
		case n.isNarrow(k, meta.NamespaceAll):
			own = append(own, k)
		}
	}
	out := ""
	if own != nil {
		out = "this account may list " + strings.Join(own, " and ") + " of namespace " + namespace + " alone"
	}
	if none != nil {
		if out != "" {
			out += ", and "
		} else {
			out = "this account may list "
		}
		out += "no " + strings.Join(none, " and no ")
	}
	return out
}

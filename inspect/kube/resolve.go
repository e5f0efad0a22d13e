package kube

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Resolve is what is known of a name without the agent: by the resolver of an image of the pod
// where processes may be started in it, else by the hosts file, else as the API server has it,
// which the answer says. Nobody's sockets can be chosen here: uid and gid are not used.
func (p *lesser) Resolve(ctx context.Context, name string, _, _ uint32) (flow.Named, error) {
	var inside error
	if p.lookup != nil {
		n, err := p.lookup(ctx, name)
		if err == nil {
			return n, nil
		}
		if errors.Is(err, inspect.ErrNotFound) { // it was asked: what others say of the name is no answer
			return n, p.cluster.offer(ctx, p.object, name, err)
		}
		inside = err
	}
	n, err := p.cluster.declared(ctx, p.object, name)
	if err == nil {
		return n, nil
	}
	if inside != nil {
		err = oneLine(inside, err)
	}
	return n, fmt.Errorf("%s the pod's own resolver cannot be asked, and %w: write the address, and the name with --authority", p.way, err)
}

// offer adds to why the pod's own resolver gave no address the one that the API server has.
func (c *cluster) offer(ctx context.Context, o *v1.Pod, name string, err error) error {
	within, cancel := context.WithTimeout(ctx, once)
	defer cancel()
	n, failed := c.declared(within, o, name)
	if failed != nil {
		return fmt.Errorf("%w: write the address, and the name with --authority", err)
	}
	return fmt.Errorf("%w; the API server has %s, with %s: to go there all the same write the address, and the name with --authority", err, n.Where, n.Addrs[0])
}

// declared is a name as the objects of the cluster have it: an alias of the pod's hosts file
// (hostAliases), or a Service's address.
func (c *cluster) declared(ctx context.Context, o *v1.Pod, name string) (flow.Named, error) {
	bare := strings.ToLower(strings.TrimSuffix(name, "."))
	n := flow.Named{Name: name, By: flow.NamedService}
	for _, alias := range o.Spec.HostAliases {
		if a, err := netip.ParseAddr(alias.IP); err == nil && slices.Contains(alias.Hostnames, bare) {
			n.Addrs, n.Where = append(n.Addrs, a.Unmap()), "hostAliases of the pod"
		}
	}
	if n.Addrs != nil {
		return n, nil
	}
	service, namespace, ok := serviceOf(bare, o.Namespace)
	if !ok {
		return n, fmt.Errorf("%q has not the form of a Service's name", name)
	}
	if p := dnsPolicy(o); p != v1.DNSClusterFirst && p != v1.DNSClusterFirstWithHostNet {
		return n, fmt.Errorf("its dnsPolicy is %s: it does not ask the cluster's name server for Services", p)
	}
	var s v1.Service
	if err := c.api.get(ctx, services, namespace, service, &s); err != nil {
		if apierrors.IsNotFound(err) {
			return n, fmt.Errorf("there is no Service %s/%s", namespace, service)
		}
		return n, err
	}
	n.Where = "Service " + namespace + "/" + service
	for _, ip := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			n.Addrs = append(n.Addrs, a.Unmap())
		}
	}
	switch {
	case s.Spec.Type == v1.ServiceTypeExternalName:
		return n, fmt.Errorf("%s is another name for %q", n.Where, s.Spec.ExternalName)
	case len(n.Addrs) == 0:
		return n, fmt.Errorf("%s has no address of its own: its name stands for its pods", n.Where)
	}
	return n, nil
}

// serviceOf takes a name apart as the cluster's name server does: SERVICE, SERVICE.NAMESPACE,
// SERVICE.NAMESPACE.svc, and with the cluster's domain behind that.
func serviceOf(name, own string) (service, namespace string, ok bool) {
	labels := strings.Split(name, ".")
	if slices.Contains(labels, "") {
		return "", "", false
	}
	switch {
	case len(labels) == 1:
		return labels[0], own, true
	case len(labels) == 2, labels[2] == "svc":
		return labels[0], labels[1], true
	}
	return "", "", false
}

// dnsPolicy is the policy that counts: on the node's network ClusterFirst is Default
// (pkg/kubelet/network/dns/dns.go).
func dnsPolicy(o *v1.Pod) v1.DNSPolicy {
	p := o.Spec.DNSPolicy
	switch {
	case p == "":
		p = v1.DNSClusterFirst
	case p == v1.DNSClusterFirst && o.Spec.HostNetwork:
		p = v1.DNSDefault
	}
	return p
}

// resolve asks the resolver of an image of the pod (getent(1)), an application's first: the
// request is an application's. Without one the hosts file is read, which all containers share.
func (in *inside) resolve(ctx context.Context, name string) (flow.Named, error) {
	n := flow.Named{Name: name}
	if strings.HasPrefix(name, "-") || len(name) > 253 {
		return n, fmt.Errorf("%q is no name", name)
	}
	l := &look{}
	if in.boxes == nil {
		in.look(ctx, l)
	}
	list := slices.Clone(in.boxes)
	slices.SortStableFunc(list, func(a, b box) int { return b2i(a.name == proxy(in.object)) - b2i(b.name == proxy(in.object)) })
	for _, b := range list {
		if !b.has("getent") {
			continue
		}
		out, err := in.run(ctx, l, b.name, "getent", "ahosts", name)
		uid, _ := strconv.ParseUint(b.uid, 10, 32)
		n.By, n.Where, n.UID = flow.NamedProgram, "getent in container "+b.name+", as uid "+b.uid, uint32(uid)
		n.Addrs = firstWords(string(out))
		switch {
		case len(n.Addrs) > 0:
			return n, nil
		case err != nil && strings.Contains(err.Error(), "exit code 2"): // getent(1): the key was not found
			return n, fmt.Errorf("%w: %s gives no address for it: there is none, or no name server answers", inspect.ErrNotFound, n.Where)
		case err == nil:
			err = errors.New("it prints no address")
		}
		return n, fmt.Errorf("%s: %w", n.Where, err)
	}
	for _, b := range list {
		if !b.has("cat") {
			continue
		}
		file, err := in.run(ctx, l, b.name, "cat", "/etc/hosts")
		if err != nil {
			return n, err
		}
		n.By, n.Where = flow.NamedHosts, "/etc/hosts"
		for line := range strings.Lines(string(file)) {
			line, _, _ = strings.Cut(line, "#")
			if f := strings.Fields(line); len(f) > 1 && slices.ContainsFunc(f[1:], func(h string) bool { return strings.EqualFold(h, strings.TrimSuffix(name, ".")) }) {
				n.Addrs = append(n.Addrs, firstWords(line)...)
			}
		}
		if len(n.Addrs) > 0 {
			return n, nil
		}
		break
	}
	return n, errors.New("no image of its containers has getent")
}

// firstWords are the addresses that lines begin with, each once.
func firstWords(text string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || len(out) == 256 {
			continue
		}
		if a, err := netip.ParseAddr(f[0]); err == nil && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

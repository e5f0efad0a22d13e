package kube

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func pod(change func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "app", Image: "app:1"}}},
		Status: v1.PodStatus{Phase: v1.PodRunning, PodIPs: []v1.PodIP{{IP: "10.0.0.7"}, {IP: "fd00::7"}}}}
	if change != nil {
		change(p)
	}
	return p
}

// asImage is an agent in its own image.
func asImage(p *v1.Pod) form { return (&cluster{image: "agent:1"}).forms(p)[0] }

// An API server accepts a debug container for all of these; in those that do not run it never
// starts.
func TestRuns(t *testing.T) {
	now := meta.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for want, p := range map[string]*v1.Pod{
		"": pod(nil),
		"it is being deleted (and is gone by 03:04:05 UTC)": pod(func(p *v1.Pod) { p.DeletionTimestamp = &now }),
		"it does not run any more (Succeeded)":              pod(func(p *v1.Pod) { p.Status.Phase = v1.PodSucceeded }),
		"it does not run any more (Failed)":                 pod(func(p *v1.Pod) { p.Status.Phase = v1.PodFailed }),
		"it does not run yet (Pending)":                     pod(func(p *v1.Pod) { p.Status.Phase = v1.PodPending }),
		"it does not run yet (Pending: PodScheduled: Unschedulable: 0/1 nodes are available)": pod(func(p *v1.Pod) {
			p.Status.Phase = v1.PodPending
			p.Status.Conditions = []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available"}}
		}),
		"it runs on Windows, which has neither iptables nor nftables": pod(func(p *v1.Pod) { p.Spec.OS = &v1.PodOS{Name: v1.Windows} }),
	} {
		got := ""
		if err := runs(p); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A name is first what it says; a pod's name may hold dots. NAME.NAMESPACE is what is left.
func TestLiterally(t *testing.T) {
	there := map[string]bool{"a/x": true, "a/web.prod": true, "prod/web": true, "prod/web.v2": true}
	get := func(name, space string) (*v1.Pod, error) {
		if !there[space+"/"+name] {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
		}
		return &v1.Pod{ObjectMeta: meta.ObjectMeta{Name: name, Namespace: space}}, nil
	}
	for name, want := range map[string]string{
		"x": "a/x", "web.prod": "a/web.prod", "web.v2.prod": "prod/web.v2", "x.a": "a/x", "y": `"y" not found`, "y.prod": `"y.prod" not found`, ".prod": `".prod" not found`,
	} {
		p, err := literally(name, "a", get)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", name, err, want)
		case err == nil && p.Namespace+"/"+p.Name != want:
			t.Errorf("%s: %s/%s, want %s", name, p.Namespace, p.Name, want)
		}
	}
}

// The agent may do what it needs and no more, whatever the pod asks of its containers; on the
// host's network it is not told the addresses by which it would write.
func TestContainer(t *testing.T) {
	c := container(pod(nil), "meshtop-1", asImage(pod(nil)))
	if got := strings.Join(c.Command, " "); got != "meshtop-agent hold --pod-ip 10.0.0.7 --pod-ip fd00::7" {
		t.Errorf("its command: %s", got)
	}
	s := c.SecurityContext
	if len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) != 4 ||
		*s.RunAsUser != 0 || *s.RunAsNonRoot || *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem ||
		s.SeccompProfile.Type != v1.SeccompProfileTypeRuntimeDefault || c.Stdin || c.TTY {
		t.Errorf("its rights: %+v", s)
	}
	onHost := pod(func(p *v1.Pod) { p.Spec.HostNetwork = true })
	host := container(onHost, "meshtop-1", asImage(onHost))
	if got := strings.Join(host.Command, " "); got != "meshtop-agent hold" {
		t.Errorf("on the host's network: %s", got)
	}
}

// Envoy's container is known by what control planes call it, native sidecars among them.
func TestProxy(t *testing.T) {
	always := v1.ContainerRestartPolicyAlways
	for want, p := range map[string]*v1.Pod{
		"app": pod(func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{{Name: "istio-init", Image: "istio/proxyv2:1"}}
		}),
		"istio-proxy": pod(func(p *v1.Pod) { p.Spec.InitContainers = []v1.Container{{Name: "istio-proxy", RestartPolicy: &always}} }),
		"side": pod(func(p *v1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "side", Image: "envoyproxy/envoy:v1"})
		}),
		"gw": pod(func(p *v1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "gw", Image: "hub:5000/istio/proxyv2@sha256:1"})
		}),
	} {
		if got := proxy(p); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// An agent that runs is used again only if it is what would be put there now.
func TestRunning(t *testing.T) {
	with := func(change func(*v1.EphemeralContainer, *v1.ContainerState)) *v1.Pod {
		return pod(func(p *v1.Pod) {
			e, s := container(p, "meshtop-1", asImage(p)), v1.ContainerState{Running: &v1.ContainerStateRunning{}}
			change(&e, &s)
			p.Spec.EphemeralContainers = []v1.EphemeralContainer{e}
			p.Status.EphemeralContainerStatuses = []v1.ContainerStatus{{Name: e.Name, State: s}}
		})
	}
	for what, c := range map[string]struct {
		change func(*v1.EphemeralContainer, *v1.ContainerState)
		want   string
	}{
		"ours": {func(*v1.EphemeralContainer, *v1.ContainerState) {}, "meshtop-1"},
		"ended": {func(_ *v1.EphemeralContainer, s *v1.ContainerState) {
			*s = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{}}
		}, ""},
		"being pulled": {func(_ *v1.EphemeralContainer, s *v1.ContainerState) {
			*s = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
		}, "meshtop-1 once it runs"},
		"not told of yet": {func(_ *v1.EphemeralContainer, s *v1.ContainerState) { *s = v1.ContainerState{} }, "meshtop-1 once it runs"},
		"another image":   {func(e *v1.EphemeralContainer, _ *v1.ContainerState) { e.Image = "agent:2" }, ""},
		"other addresses": {func(e *v1.EphemeralContainer, _ *v1.ContainerState) { e.Command[3] = "10.0.0.8" }, ""},
		"somebody else's": {func(e *v1.EphemeralContainer, _ *v1.ContainerState) { e.Name = "debugger-1" }, ""},
	} {
		p := with(c.change)
		got := ""
		if at := ours(p, []form{asImage(p)}); at != nil {
			got = at.container
			if at.fresh {
				got += " once it runs"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// The same image may be called by its digest or by its tag; another build of a tag has another
// digest, and a tag that is asked for says nothing of it.
func TestSameImage(t *testing.T) {
	const sum = "sha256:285a422d1dcc1ab23b782cd61e28fe135a3a189d52eb61024df71d22a2f1448a"
	for _, c := range []struct {
		wanted, spec, id string
		want             bool
	}{
		{"a/agent:1", "a/agent:1", "a/agent@" + sum, true},
		{"a/agent@" + sum, "a/agent@" + sum, "", true},
		{"a/agent@" + sum, "a/agent:1", "a/agent@" + sum, true},
		{"mirror/agent@" + sum, "a/agent:1", "a/agent@" + sum, true},
		{"a/agent@" + sum, "a/agent:1", "a/agent@sha256:00", false},
		{"a/agent@" + sum, "a/agent:1", sum, false}, // of the image's configuration, not of its manifest
		{"a/agent:2", "a/agent:1", "a/agent@" + sum, false},
		{"a/agent:2", "a/agent@" + sum, "a/agent@" + sum, false},
	} {
		if got := sameImage(c.wanted, c.spec, c.id); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A missing right is told as such, with what meshtop needs.
func TestWorded(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("no"))
	if err := worded(forbidden); !errors.Is(err, inspect.ErrNoPower) || !strings.Contains(err.Error(), "patch of pods/ephemeralcontainers") {
		t.Error(err)
	}
	secured := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New(`violates PodSecurity "baseline:latest": ...`))
	if err := worded(secured); !errors.Is(err, inspect.ErrNoPower) || !strings.Contains(err.Error(), "pod security admits no container") {
		t.Error(err)
	}
	if err := worded(apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x")); !errors.Is(err, inspect.ErrNotFound) {
		t.Error(err)
	}
}

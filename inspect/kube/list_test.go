package kube

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod's word is kubectl's, and its proxy is known by who put it there.
func TestCandidate(t *testing.T) {
	always, now := v1.ContainerRestartPolicyAlways, meta.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	waits := func(reason string) v1.ContainerStatus {
		return v1.ContainerStatus{State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}}
	}
	for _, c := range []struct {
		what                string
		change              func(*v1.Pod)
		ready, state, proxy string
		closed              bool
	}{
		{"no proxy", nil, "0/1", "Running", "", false},
		{"a sidecar", func(p *v1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "istio-proxy", Image: "hub:5000/istio/proxyv2:1.24.1@sha256:0"})
			p.Status.ContainerStatuses = []v1.ContainerStatus{{Ready: true}, waits("")}
		}, "1/2", "Running", "istio 1.24.1", false},
		{"a native sidecar", func(p *v1.Pod) {
			p.Spec.InitContainers = []v1.Container{{Name: "kuma-sidecar", Image: "kumahq/kuma-dp", RestartPolicy: &always}}
		}, "0/1", "Running", "kuma", false},
		{"Envoy Gateway", func(p *v1.Pod) {
			p.Spec.Containers[0] = v1.Container{Name: "envoy", Image: "envoyproxy/envoy:distroless-v1.36.0"}
			p.Labels = map[string]string{"app.kubernetes.io/managed-by": "envoy-gateway"}
		}, "0/1", "Running", "envoy gateway distroless-v1.36.0", false},
		{"ambient", func(p *v1.Pod) { p.Annotations = map[string]string{redirected: "enabled"} }, "0/1", "Running", "ztunnel (ambient)", false},
		{"over", func(p *v1.Pod) { p.Status.Phase = v1.PodSucceeded }, "0/1", "Completed", "", true},
		{"evicted", func(p *v1.Pod) { p.Status.Phase, p.Status.Reason = v1.PodFailed, "Evicted" }, "0/1", "Evicted", "", true},
		{"going", func(p *v1.Pod) { p.DeletionTimestamp = &now }, "0/1", "Terminating", "", true},
		{"no image", func(p *v1.Pod) {
			p.Status.Phase, p.Status.ContainerStatuses = v1.PodPending, []v1.ContainerStatus{waits("ImagePullBackOff")}
		}, "0/1", "ImagePullBackOff", "", true},
	} {
		got := candidate(pod(c.change))
		if got.Ready != c.ready || got.State != c.state || got.Proxy != c.proxy || (got.Closed != "") != c.closed {
			t.Errorf("%s: %+v, want %s %s %q, closed %v", c.what, got, c.ready, c.state, c.proxy, c.closed)
		}
	}
}

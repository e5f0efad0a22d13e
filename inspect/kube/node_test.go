package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	batch "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodePod() *v1.Pod {
	return pod(func(p *v1.Pod) {
		p.Name, p.Namespace, p.UID, p.Spec.NodeName = "x", "a", "0c5b9e3a-7f3c-4b59-9f0e-4f7f5f3a1d21", "n1"
		p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "app", ContainerID: "containerd://8d1f"}}
	})
}

// The Job ends and is deleted by Kubernetes itself, whoever is gone; its pod has what takes it to
// another pod's network namespace, and none of the node's files, network and tokens.
func TestNodeJob(t *testing.T) {
	raw, err := json.Marshal(nodeJob(nodePod(), "meshtop-1", (&cluster{image: "agent:1", via: viaNode}).forms(nodePod())[0]))
	if err != nil {
		t.Fatal(err)
	}
	var j batch.Job
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		t.Fatal(err)
	}
	if *j.Spec.ActiveDeadlineSeconds != 3600 || *j.Spec.TTLSecondsAfterFinished > 5 || *j.Spec.BackoffLimit != 0 {
		t.Errorf("its end: %+v", j.Spec)
	}
	s := j.Spec.Template.Spec
	if s.NodeName != "n1" || !s.HostPID || s.HostNetwork || s.HostIPC || *s.AutomountServiceAccountToken || len(s.Volumes) > 0 || s.RestartPolicy != v1.RestartPolicyNever || *s.ActiveDeadlineSeconds != 3600 {
		t.Errorf("its pod: %+v", s)
	}
	c := s.Containers[0]
	if want := "meshtop-agent hold --pod-ip 10.0.0.7 --pod-ip fd00::7 --pod-uid 0c5b9e3a-7f3c-4b59-9f0e-4f7f5f3a1d21 --idle 15s"; strings.Join(c.Command, " ") != want {
		t.Errorf("its command: %s", c.Command)
	}
	if r := c.SecurityContext; r.Privileged != nil || r.Capabilities.Drop[0] != "ALL" || !*r.ReadOnlyRootFilesystem {
		t.Errorf("its rights: %+v", r)
	}
	if got := j.Spec.Template.Labels[labelPod]; got != "0c5b9e3a-7f3c-4b59-9f0e-4f7f5f3a1d21" {
		t.Errorf("its label: %q", got)
	}
}

// The agent on the node is told by what kubelet names the pod's cgroups, and no address of one
// on its node's network.
func TestNodeArgs(t *testing.T) {
	p := nodePod()
	if got := strings.Join(nodeArgs("serve", p), " "); got != "meshtop-agent serve --pod-ip 10.0.0.7 --pod-ip fd00::7 --pod-uid 0c5b9e3a-7f3c-4b59-9f0e-4f7f5f3a1d21 --container 8d1f" {
		t.Error(got)
	}
	p.Spec.HostNetwork = true
	p.Annotations = map[string]string{"kubernetes.io/config.hash": "0123456789abcdef0123456789abcdef"} // a static pod
	p.Status.ContainerStatuses = nil
	if got := strings.Join(nodeArgs("serve", p), " "); got != "meshtop-agent serve --pod-uid 0123456789abcdef0123456789abcdef" {
		t.Error(got)
	}
}

// aged is a pod on a node that was made some time ago.
func aged(ago time.Duration) *v1.Pod {
	hour := int64(3600)
	return pod(func(p *v1.Pod) {
		p.Name, p.CreationTimestamp, p.Spec.ActiveDeadlineSeconds = "meshtop-1", meta.NewTime(time.Now().Add(-ago)), &hour
	})
}

// A pod that ends soon is not joined.
func TestLeft(t *testing.T) {
	if left(pod(nil)) != 0 {
		t.Error("one without a deadline is not ours")
	}
	if l := left(aged(40 * time.Minute)); l > 20*time.Minute || l < 19*time.Minute {
		t.Error(l)
	}
}

// What only the agent on the node ends must end before that does, renewed or not. The kernel ends
// its own lease, and a pod that has the agent beside it lives as long as that.
func TestOutlives(t *testing.T) {
	for name, c := range map[string]struct {
		via    via
		change flow.Change
		wants  string
	}{
		"in time":   {viaNode, flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: 19 * time.Minute}, ""},
		"too late":  {viaNode, flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: 21 * time.Minute}, "refused: nobody would end this in 21m0s: pod meshtop-1 on the node, which is to, ends in 20m0s: use --driver kernel, or a shorter --ttl"},
		"kernel":    {viaNode, flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, TTL: 21 * time.Minute}, ""},
		"permanent": {viaNode, flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime}, ""},
		"restore":   {viaNode, flow.Change{Kind: flow.Restore, Driver: flow.EnvoyRuntime, TTL: 21 * time.Minute}, ""},
		"nothing":   {viaNode, flow.Change{Driver: flow.EnvoyRuntime, TTL: 21 * time.Minute}, ""},
		"beside it": {viaAgent, flow.Change{Kind: flow.BlockAll, Driver: flow.EnvoyRuntime, TTL: 21 * time.Minute}, ""},
	} {
		p := &Pod{cluster: &cluster{via: c.via}, object: nodePod()}
		p.seat.Store(aged(40 * time.Minute))
		got := ""
		if err := p.outlives(c.change); err != nil {
			got = err.Error()
		}
		if got != c.wants {
			t.Errorf("%s: %q, want %q", name, got, c.wants)
		}
	}
}

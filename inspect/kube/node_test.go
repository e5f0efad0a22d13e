package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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

// A pod that ends soon is not joined.
func TestLeft(t *testing.T) {
	p := pod(nil)
	if left(p) != 0 {
		t.Error("one without a deadline is not ours")
	}
	hour, start := int64(3600), meta.NewTime(time.Now().Add(-40*time.Minute))
	p.Spec.ActiveDeadlineSeconds, p.Status.StartTime = &hour, &start
	if l := left(p); l > 20*time.Minute || l < 19*time.Minute {
		t.Error(l)
	}
}

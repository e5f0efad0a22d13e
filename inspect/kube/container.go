package kube

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

const (
	prefix  = "meshtop-" // of the names of our ephemeral containers
	program = "meshtop-agent"
)

// agentArgs tell the agent the pod's addresses, by which it proves before it writes that it is
// in the pod's own network namespace. On the host's network there is no such proof: it is told
// none, and refuses to write.
func agentArgs(verb string, p *v1.Pod) []string {
	args := []string{program, verb}
	if p.Spec.HostNetwork {
		return args
	}
	for _, a := range p.Status.PodIPs {
		args = append(args, "--pod-ip", a.IP)
	}
	return args
}

// running is the name of an agent's container that runs in the pod, and its form; nil: none does.
// One of another image may speak another version, and one that was told other addresses would
// not write.
func running(p *v1.Pod, forms []form) (string, *form) {
	for _, e := range p.Spec.EphemeralContainers {
		s := status(p, e.Name)
		if s == nil || s.State.Running == nil || !strings.HasPrefix(e.Name, prefix) {
			continue
		}
		if f := fits(forms, e.Image, s.ImageID, e.Command); f != nil {
			return e.Name, f
		}
	}
	return "", nil
}

// sameImage says whether a container's image is the one that is wanted: by name, or by the digest
// that kubelet says of the one that runs, whatever it is called.
func sameImage(wanted, spec, id string) bool {
	_, digest, ok := strings.Cut(wanted, "@")
	return wanted == spec || ok && strings.HasSuffix(id, "@"+digest)
}

func status(p *v1.Pod, name string) *v1.ContainerStatus {
	for _, list := range [][]v1.ContainerStatus{p.Status.EphemeralContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// container is the agent's: root with the capabilities that reading and writing rules and
// watching packets need and no other, with nothing it could write to but its own memory. It
// becomes other users to send requests as they would.
func container(p *v1.Pod, name string, f form) v1.EphemeralContainer {
	root, no, yes := int64(0), false, true
	return v1.EphemeralContainer{
		EphemeralContainerCommon: v1.EphemeralContainerCommon{
			Name: name, Image: f.image, ImagePullPolicy: v1.PullIfNotPresent, Command: f.hold,
			TerminationMessagePolicy: v1.TerminationMessageFallbackToLogsOnError,
			SecurityContext: &v1.SecurityContext{
				Capabilities: &v1.Capabilities{Drop: []v1.Capability{"ALL"}, Add: []v1.Capability{"NET_ADMIN", "NET_RAW", "SETUID", "SETGID"}},
				RunAsUser:    &root, RunAsGroup: &root, RunAsNonRoot: &no, Privileged: &no, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
				SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault},
			},
		},
		TargetContainerName: proxy(p),
	}
}

// proxy is the name of the container that runs Envoy, whose processes the agent then sees.
// Without one it is the first container.
func proxy(p *v1.Pod) string {
	if c := envoyOf(p); c != nil {
		return c.Name
	}
	return p.Spec.Containers[0].Name
}

// envoyOf is the container that runs Envoy, by the names that control planes and their images
// have; nil: none is called so.
func envoyOf(p *v1.Pod) *v1.Container {
	all := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers { // a native sidecar
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	for i, c := range all {
		image := c.Image[strings.LastIndexByte(c.Image, '/')+1:]
		switch {
		case strings.Contains(c.Name, "envoy"), c.Name == "istio-proxy", c.Name == "consul-dataplane", c.Name == "kuma-sidecar",
			strings.Contains(image, "envoy"), strings.HasPrefix(image, "proxyv2"):
			return &all[i]
		}
	}
	return nil
}

// put adds the agent's container to the pod.
func (c *cluster) put(ctx context.Context, p *v1.Pod, f form) (string, error) {
	name := prefix + random()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []any{container(p, name, f)}}})
	if err != nil {
		return "", err
	}
	if err := c.api.patch(ctx, pods, p.Namespace, p.Name, types.StrategicMergePatchType, patch, "ephemeralcontainers"); err != nil {
		return "", err
	}
	c.say(fmt.Sprintf("pod %s: put %s beside it: a debug container, which ends when nobody needs it; its entry stays until the pod is deleted", p.Name, name), true)
	return name, nil
}

// starts waits until the agent's container runs in the pod; that it does not is another error than
// any other.
func (c *cluster) starts(ctx context.Context, p *v1.Pod, name string) error {
	if err := c.await(ctx, p, name); err != nil {
		return &unstarted{err}
	}
	return nil
}

// random is six hexadecimal digits.
func random() string {
	id := make([]byte, 3)
	_, _ = rand.Read(id) // it never fails (crypto/rand)
	return hex.EncodeToString(id)
}

// mostAwait is the longest pause between two questions whether a container runs.
const mostAwait = 300 * time.Millisecond

// await waits until the container runs; the error says what it waited for.
func (c *cluster) await(ctx context.Context, p *v1.Pod, name string) error {
	within, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	last, heard := "kubelet has not begun it", c.hearing(p, name)
	for pause := 100 * time.Millisecond; ; pause = min(pause*3/2, mostAwait) {
		now, err := c.api.pod(within, p.Namespace, p.Name)
		if err != nil && within.Err() == nil {
			return err
		}
		if err == nil {
			if now.UID != p.UID {
				return errors.New("the pod was replaced meanwhile")
			}
			var done bool
			if last, done, err = state(now, name, last); done || err != nil {
				return err
			}
			heard.tell(within)
			c.say(fmt.Sprintf("pod %s: %s: %s", p.Name, name, last), false)
		}
		select {
		case <-within.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s did not start within %s: %s%s", name, c.wait, last, c.events(ctx, p, name))
		case <-time.After(pause):
		}
	}
}

// state is what the container waits for, whether it runs, and why it never will.
func state(p *v1.Pod, name, last string) (waits string, runs bool, err error) {
	if p.DeletionTimestamp != nil {
		return last, false, errors.New("the pod is being deleted")
	}
	s := status(p, name)
	switch {
	case s == nil:
		return last, false, nil
	case s.State.Running != nil:
		return last, true, nil
	case s.State.Terminated != nil:
		t := s.State.Terminated
		return last, false, fmt.Errorf("%s has ended (exit status %d)%s", name, t.ExitCode, said(t.Reason, strings.TrimSpace(t.Message)))
	case s.State.Waiting != nil:
		return strings.TrimPrefix(said(s.State.Waiting.Reason, s.State.Waiting.Message), ": "), false, nil
	}
	return last, false, nil
}

// events are what was said of the pod and its container last.
func (c *cluster) events(ctx context.Context, p *v1.Pod, name string) string {
	said, _ := c.said(ctx, p.Namespace, concerning(p, name))
	return said
}

// concerning selects the events of our container in somebody's pod, or of all of a pod of ours.
func concerning(p *v1.Pod, name string) fields.Set {
	of := fields.Set{"involvedObject.uid": string(p.UID)}
	if name != nodeContainer {
		of["involvedObject.fieldPath"] = "spec.ephemeralContainers{" + name + "}"
	}
	return of
}

// said are the last events of an object, and whether one says that something could not be made;
// where they may not be read, nothing.
func (c *cluster) said(ctx context.Context, namespace string, of fields.Set) (text string, refused bool) {
	var list v1.EventList
	err := c.api.list(ctx, events, namespace, meta.ListOptions{FieldSelector: of.String()}, &list)
	if err != nil || len(list.Items) == 0 {
		return "", false
	}
	slices.SortStableFunc(list.Items, func(a, b v1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var out []string
	for _, e := range list.Items[max(0, len(list.Items)-3):] {
		out = append(out, e.Reason+": "+e.Message)
		refused = refused || e.Reason == "FailedCreate"
	}
	return "; its events: " + strings.Join(out, "; "), refused
}

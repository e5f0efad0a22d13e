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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// ours is an agent's container in the pod that runs, else the last that may yet: kubelet has not
// told of it, or still pulls its image. It gets no twin, which could not be removed either. nil:
// there is none. One of another image may speak another version, and one that was told other
// addresses would not write.
func ours(p *v1.Pod, forms []form) *seat {
	var waits *seat
	for _, e := range p.Spec.EphemeralContainers {
		if !strings.HasPrefix(e.Name, prefix) {
			continue
		}
		s, id := status(p, e.Name), ""
		if s != nil {
			id = s.ImageID
		}
		f := fits(forms, e.Image, id, e.Command)
		switch {
		case f == nil || s != nil && s.State.Terminated != nil:
		case s != nil && s.State.Running != nil:
			return &seat{pod: p, container: e.Name, serve: f.serve}
		default:
			waits = &seat{pod: p, container: e.Name, serve: f.serve, sends: f.sends, fresh: true}
		}
	}
	return waits
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

// put adds the agent's container to the pod. The pod must be as it was seen: another client may
// have put one there meanwhile, which is taken then.
func (c *cluster) put(ctx context.Context, o *v1.Pod, f form) (*seat, error) {
	for p := o; ; {
		name, err := c.add(ctx, p, f)
		if !apierrors.IsConflict(err) {
			return &seat{pod: o, container: name, serve: f.serve, sends: f.sends, fresh: true}, err
		}
		if p, err = c.api.pod(ctx, o.Namespace, o.Name); err != nil {
			return nil, err
		}
		if p.UID != o.UID {
			return nil, errors.New("the pod was replaced meanwhile")
		}
		if at := ours(p, c.forms(o)); at != nil {
			return at, nil
		}
	}
}

func (c *cluster) add(ctx context.Context, p *v1.Pod, f form) (string, error) {
	name := prefix + random()
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": p.ResourceVersion},
		"spec":     map[string]any{"ephemeralContainers": []any{container(p, name, f)}},
	})
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
func (c *cluster) starts(ctx context.Context, p *v1.Pod, name string, seen func(*v1.Pod)) error {
	if err := c.await(ctx, p, name, seen); err != nil {
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

// await waits until the container runs, and tells seen how the pod is; the error says what it
// waited for.
func (c *cluster) await(ctx context.Context, p *v1.Pod, name string, seen func(*v1.Pod)) error {
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
			seen(now)
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

// unseen is for who need not know how the pod is meanwhile.
func unseen(*v1.Pod) {}

// hopes says whether a container that waits may run at any moment: an image that could not be had
// is tried again only after a while. PodInitializing is kubelet's word where the pod has init
// containers.
func hopes(p *v1.Pod, name string) bool {
	s := status(p, name)
	return s == nil || s.State.Waiting == nil || slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, s.State.Waiting.Reason)
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
	var list []v1.Event
	err := pages(ctx, c.api, events, namespace, meta.ListOptions{FieldSelector: of.String()}, func(l *v1.EventList) { list = append(list, l.Items...) })
	if err != nil || len(list) == 0 {
		return "", false
	}
	slices.SortStableFunc(list, func(a, b v1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var out []string
	for _, e := range list[max(0, len(list)-3):] {
		out = append(out, e.Reason+": "+e.Message)
		refused = refused || e.Reason == "FailedCreate"
	}
	return "; its events: " + strings.Join(out, "; "), refused
}

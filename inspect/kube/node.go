package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// How long a pod on a node lives: for a while after its last client went, so that the next verb
// finds it; and never longer than its deadline, whoever was killed meanwhile.
const (
	nodeIdle     = 15 * time.Second
	nodeDeadline = time.Hour
)

const (
	labelPod      = "meshtop/pod" // the UID of the pod that one on its node looks at
	labelEnforce  = "pod-security.kubernetes.io/enforce"
	nodeContainer = "agent"
)

var jobs = kind{schema.GroupVersion{Group: "batch", Version: "v1"}, "jobs"}

// seat is where an agent for a pod runs: in that pod, or in one on its node.
type seat struct {
	pod       *v1.Pod
	container string
	serve     []string // the command that answers one client there
	fresh     bool     // it may not run yet
	sends     *payload // what it waits for, if it is fresh; nil: all is in the image
}

// seated is where an agent runs already; nil: nowhere.
func (c *cluster) seated(ctx context.Context, o *v1.Pod) (*seat, error) {
	if c.via == viaNode {
		return c.onNode(ctx, o)
	}
	return ours(o, c.forms(o)), nil
}

// sit starts an agent, and waits until it runs unless it is fresh.
func (c *cluster) sit(ctx context.Context, o *v1.Pod) (*seat, error) {
	f, err := c.choose(ctx, o)
	if err != nil {
		return nil, err
	}
	if c.via != viaNode {
		return c.put(ctx, o, f)
	}
	at, err := c.putOnNode(ctx, o, f)
	if err == nil && f.sends != nil {
		err = c.deliver(ctx, at.pod, at.container, f.sends)
	}
	return at, err
}

// furnish sends what a fresh container waits for, once that runs.
func (c *cluster) furnish(ctx context.Context, at *seat) error {
	if !at.fresh || at.sends == nil {
		return nil
	}
	if err := c.starts(ctx, at.pod, at.container, unseen); err != nil {
		return err
	}
	at.fresh = false
	return c.deliver(ctx, at.pod, at.container, at.sends)
}

// cgroupUID is the UID by which kubelet names the pod's cgroups: a static pod's is the hash of
// its file, and its object at the API server has another.
func cgroupUID(o *v1.Pod) string {
	return cmp.Or(o.Annotations["kubernetes.io/config.hash"], string(o.UID))
}

// nodeArgs are agentArgs for an agent on the pod's node. serve is told the container whose
// files count, by the ID that its cgroup has.
func nodeArgs(verb string, o *v1.Pod) []string {
	args := append(agentArgs(verb, o), "--pod-uid", cgroupUID(o))
	if verb == "hold" {
		return append(args, "--idle", nodeIdle.String())
	}
	name := proxy(o)
	for _, s := range slices.Concat(o.Status.InitContainerStatuses, o.Status.ContainerStatuses) {
		if _, id, ok := strings.Cut(s.ContainerID, "://"); ok && s.Name == name {
			return append(args, "--container", id)
		}
	}
	return args
}

// onNode is a pod of ours that runs on the node for the pod, and will for a while.
func (c *cluster) onNode(ctx context.Context, o *v1.Pod) (*seat, error) {
	var list v1.PodList
	if err := c.api.list(ctx, pods, c.nodeSpace, meta.ListOptions{LabelSelector: labelPod + "=" + string(o.UID)}, &list); err != nil {
		return nil, c.forNode("look for an agent on node "+o.Spec.NodeName, err)
	}
	forms := c.forms(o)
	for i := range list.Items {
		p := &list.Items[i]
		s := status(p, nodeContainer)
		if s == nil || s.State.Running == nil || p.DeletionTimestamp != nil || p.Spec.NodeName != o.Spec.NodeName || left(p) < nodeDeadline/2 {
			continue
		}
		if f := fits(forms, p.Spec.Containers[0].Image, s.ImageID, p.Spec.Containers[0].Command); f != nil {
			return &seat{pod: p, container: nodeContainer, serve: f.serve}, nil
		}
	}
	return nil, nil
}

// left is how long the pod may run yet: its Job's time runs since it was made.
func left(p *v1.Pod) time.Duration {
	if p.Spec.ActiveDeadlineSeconds == nil || p.CreationTimestamp.IsZero() {
		return 0
	}
	return time.Until(p.CreationTimestamp.Add(time.Duration(*p.Spec.ActiveDeadlineSeconds) * time.Second))
}

// putOnNode starts a pod on the node: by a Job, since that is what Kubernetes itself deletes
// with its pod, when it has ended or at its deadline, though nobody be left who made it.
func (c *cluster) putOnNode(ctx context.Context, o *v1.Pod, f form) (*seat, error) {
	if err := c.admits(ctx, c.nodeSpace); err != nil {
		return nil, err
	}
	name := prefix + random()
	body, err := json.Marshal(nodeJob(o, name, f))
	if err != nil {
		return nil, err
	}
	job := meta.PartialObjectMetadata{}
	if err := c.api.post(ctx, jobs, c.nodeSpace, body, &job); err != nil {
		return nil, c.forNode("make a pod on node "+o.Spec.NodeName, err)
	}
	c.say(fmt.Sprintf("pod %s: started %s in namespace %s on its node %s: a pod with power over that node, which ends %s after its last use, and at %s at the latest",
		o.Name, name, c.nodeSpace, o.Spec.NodeName, nodeIdle, time.Now().Add(nodeDeadline).Format("15:04")), true)
	p, err := c.podOfJob(ctx, &job)
	if err == nil {
		if err = c.await(ctx, p, nodeContainer, unseen); err != nil {
			err = &unstarted{err}
		}
	}
	if err != nil {
		// It would end by itself, at its deadline. ctx may be what has ended.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("the pod on node %s: %w", o.Spec.NodeName, err), c.api.delete(within, jobs, c.nodeSpace, name))
	}
	return &seat{pod: p, container: nodeContainer, serve: f.serve}, nil
}

// nodeJob is the Job of a pod on o's node. It sees that node's processes and may enter their
// network namespaces, which takes all that pod security calls privileged; but it has none of the
// node's devices and files, no token, and a network namespace of its own.
func nodeJob(o *v1.Pod, name string, f form) any {
	root, no, yes := int64(0), false, true
	zero, soon, seconds, grace := int32(0), int32(5), int64(nodeDeadline/time.Second), int64(15)
	labels := map[string]string{labelPod: string(o.UID), "app.kubernetes.io/name": "meshtop"}
	spec := v1.PodSpec{
		NodeName: o.Spec.NodeName, HostPID: true, RestartPolicy: v1.RestartPolicyNever, DNSPolicy: v1.DNSDefault,
		ActiveDeadlineSeconds: &seconds, TerminationGracePeriodSeconds: &grace,
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		Tolerations: []v1.Toleration{{Operator: v1.TolerationOpExists}},
		Containers: []v1.Container{{
			Name: nodeContainer, Image: f.image, ImagePullPolicy: v1.PullIfNotPresent, Command: f.hold,
			TerminationMessagePolicy: v1.TerminationMessageFallbackToLogsOnError,
			SecurityContext: &v1.SecurityContext{
				Capabilities: &v1.Capabilities{Drop: []v1.Capability{"ALL"}, Add: []v1.Capability{
					"NET_ADMIN", "NET_RAW", "SETUID", "SETGID", // as beside a pod
					"SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", // into its namespace; its processes and their files
				}},
				RunAsUser: &root, RunAsGroup: &root, RunAsNonRoot: &no, ReadOnlyRootFilesystem: &yes,
				SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeRuntimeDefault},
				// The runtimes' own profiles keep a container from other containers' processes.
				AppArmorProfile: &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeUnconfined},
				SELinuxOptions:  &v1.SELinuxOptions{Type: "spc_t"},
			},
		}},
	}
	return map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"name": name, "labels": labels, "annotations": map[string]string{domain + "target": o.Namespace + "/" + o.Name}},
		"spec": map[string]any{
			"backoffLimit": &zero, "activeDeadlineSeconds": &seconds, "ttlSecondsAfterFinished": &soon,
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec},
		},
	}
}

// admits says why a namespace admits no such pod, as far as its label tells; a Job is made there
// all the same, and only its pod is refused. Where the namespace may not be read, nothing.
func (c *cluster) admits(ctx context.Context, space string) error {
	var n v1.Namespace
	err := c.api.get(ctx, namespaces, "", space, &n)
	switch level := n.Labels[labelEnforce]; {
	case apierrors.IsNotFound(err):
		return &told{err, inspect.ErrNotFound, ": say --node-namespace"}
	case err != nil && !apierrors.IsForbidden(err):
		return err
	case level == "baseline" || level == "restricted":
		return &told{fmt.Errorf("the pod security of namespace %s (%s) admits no pod with power over its node", space, level), inspect.ErrNoPower,
			": say --node-namespace with one that is labelled " + labelEnforce + "=privileged"}
	}
	return nil
}

// forNode is err with what was done, and which rights that takes.
func (c *cluster) forNode(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if apierrors.IsForbidden(err) {
		return &told{err, inspect.ErrNoPower, "; --via node needs the role of deploy/rbac/node.yaml in namespace " + c.nodeSpace + " (--node-namespace)"}
	}
	return err
}

// podOfJob waits for the Job's pod. That it was refused only the Job's events say.
func (c *cluster) podOfJob(ctx context.Context, job *meta.PartialObjectMetadata) (*v1.Pod, error) {
	within, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		var list v1.PodList
		err := c.api.list(within, pods, job.Namespace, meta.ListOptions{LabelSelector: "job-name=" + job.Name}, &list)
		if err == nil && len(list.Items) > 0 {
			return &list.Items[0], nil
		}
		said, refused := c.said(within, job.Namespace, map[string]string{"involvedObject.uid": string(job.UID)})
		switch {
		case err != nil && within.Err() == nil:
			return nil, err
		case refused:
			return nil, &told{errors.New("it was refused" + said), inspect.ErrNoPower, "; say --node-namespace with one that admits it"}
		}
		select {
		case <-within.Done():
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("the Job %s made none within %s%s", job.Name, c.wait, said)
		case <-time.After(pause):
		}
	}
}

// outlives refuses a promise that would end with the agent on the node, before its time: Kubernetes
// makes the life of a pod no longer. The kernel keeps its own.
func (p *Pod) outlives(c flow.Change) error {
	if c.TTL == 0 || c.Kind == flow.Restore || c.Kind == flow.NoPolicy || c.Driver == flow.Kernel || p.cluster.via != viaNode {
		return nil
	}
	at := p.seat.Load()
	if rest := left(at).Round(time.Second); c.TTL > rest {
		return fmt.Errorf("refused: nobody would end this in %s: pod %s on the node, which is to, ends in %s: use --driver kernel, or a shorter --ttl", c.TTL, at.Name, max(rest, 0))
	}
	return nil
}

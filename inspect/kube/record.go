package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	authentication "k8s.io/api/authentication/v1"
	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A policy that is in force is told where those look who may not enter the pod: in a Lease that
// says who, what and until when, and in an Event of the pod. The Lease belongs to the pod, and
// goes with it. Neither proves anything: what is in force is what the pod itself says.

const (
	manager = "meshtop" // of the fields that are ours, and the component of events
	domain  = "meshtop.github.io/"

	policyMark = domain + "policy"
	driverMark = domain + "driver"
	byMark     = domain + "by"
	reasonMark = domain + "reason"
	sinceMark  = domain + "since"
	endMark    = domain + "expires" // RFC 3339, or "never"
)

// never is the end of what nobody ends.
const never = "never"

// leaseName is the pod's Lease.
func leaseName(pod string) string { return nameOf("meshtop-egress-", pod) }

// nameOf is what an object about a pod is called: a name of Kubernetes has at most 253 characters.
func nameOf(prefix, pod string) string {
	name := prefix + pod
	return strings.TrimRight(name[:min(len(name), 253)], "-.")
}

// marks are a policy as the annotations of an object.
func marks(c flow.Change, by string, expires time.Time) map[string]string {
	end := never
	if !expires.IsZero() {
		end = expires.UTC().Format(time.RFC3339)
	}
	return map[string]string{policyMark: c.Kind.String(), driverMark: c.Driver.String(), byMark: by, reasonMark: c.Reason,
		sinceMark: c.Since.UTC().Format(time.RFC3339Nano), endMark: end}
}

// marked is the policy that an object's annotations tell of; false: they tell of none.
func marked(a map[string]string) (c flow.Change, expires time.Time, ok bool) {
	for k := flow.BlockAll; k <= flow.AllowAll; k++ {
		if a[policyMark] == k.String() {
			c.Kind = k
		}
	}
	for d := flow.Kernel; d <= flow.NetworkPolicy; d++ {
		if a[driverMark] == d.String() {
			c.Driver = d
		}
	}
	c.By, c.Reason = a[byMark], a[reasonMark]
	c.Since, _ = time.Parse(time.RFC3339, a[sinceMark])
	expires, err := time.Parse(time.RFC3339, a[endMark])
	c.Permanent = a[endMark] == never
	if !c.Permanent && err == nil && !c.Since.IsZero() {
		c.TTL = expires.Sub(c.Since)
	}
	return c, expires, c.Kind != flow.NoPolicy && c.Driver != flow.NoDriver && (c.Permanent || err == nil)
}

// who is the user as the API server knows it, with the name that the client gave.
func (p *Pod) who(ctx context.Context, by string) string {
	var s authentication.SelfSubjectReview
	if err := p.cluster.api.create(ctx, reviews, "", &authentication.SelfSubjectReview{}, &s); err != nil || s.Status.UserInfo.Username == "" {
		return by
	}
	if by == "" {
		return s.Status.UserInfo.Username
	}
	return s.Status.UserInfo.Username + " (" + by + ")"
}

// owner makes an object one of the pod's, which is deleted after it.
func (p *Pod) owner() []meta.OwnerReference {
	return []meta.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.object.Name, UID: p.object.UID}}
}

// byObject says whether a driver's policy is an object of Kubernetes, which stands outside the
// pod and which nobody ends in time.
func byObject(d flow.Driver) bool { return d == flow.Sidecar || d == flow.NetworkPolicy }

// oneRecord says whether the end of one driver's policy is that of the other's: all those
// inside the pod are one.
func oneRecord(a, b flow.Driver) bool { return a == b || !byObject(a) && !byObject(b) }

// lease is what is told of a policy until expires; a zero time: until somebody ends it.
func (p *Pod) lease(c flow.Change, by string, expires time.Time) *coordination.Lease {
	o := p.object
	since, now := meta.NewMicroTime(c.Since), meta.NewMicroTime(time.Now())
	l := &coordination.Lease{TypeMeta: meta.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: meta.ObjectMeta{Name: leaseName(o.Name), Namespace: o.Namespace, Annotations: marks(c, by, expires),
			Labels:          map[string]string{"app.kubernetes.io/managed-by": manager},
			OwnerReferences: p.owner()},
		Spec: coordination.LeaseSpec{HolderIdentity: &by, AcquireTime: &since, RenewTime: &now}}
	if !expires.IsZero() {
		seconds := max(int32(time.Until(expires).Round(time.Second)/time.Second), 1)
		l.Spec.LeaseDurationSeconds = &seconds
	}
	return l
}

// record writes down what was put into force, or taken back.
func (p *Pod) record(ctx context.Context, c flow.Change, now flow.Policy) flow.Record {
	by := p.who(ctx, c.By)
	if c.Kind == flow.Restore {
		var err error
		if was, _ := p.cluster.told(ctx, p.object); was.Change.Kind == flow.NoPolicy || oneRecord(was.Change.Driver, c.Driver) {
			err = p.cluster.api.delete(ctx, leases, p.object.Namespace, leaseName(p.object.Name))
		}
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return p.recorded("", err, p.event(ctx, "EgressRestored", v1.EventTypeNormal, "meshtop took the egress policy back, by "+by))
	}
	where := "Lease " + p.object.Namespace + "/" + leaseName(p.object.Name)
	end := never
	if !now.Expires.IsZero() {
		end = now.Expires.UTC().Format(time.RFC3339)
	}
	why := ""
	if c.Reason != "" {
		why = ": " + c.Reason
	}
	reason := map[flow.PolicyKind]string{flow.BlockAll: "EgressBlocked", flow.AllowAll: "EgressOpened"}[c.Kind]
	note := fmt.Sprintf("meshtop put %s into force by the %s driver (%s), by %s, until %s%s", c.Kind, c.Driver, now.State, by, end, why)
	return p.recorded(where, p.cluster.api.apply(ctx, leases, p.lease(c, by, now.Expires)), p.event(ctx, reason, v1.EventTypeWarning, note))
}

// recorded is where a record stands, and what of it could not be written.
func (p *Pod) recorded(where string, lease, event error) flow.Record {
	r := flow.Record{Where: where}
	if lease != nil {
		r.Where = ""
		lease = fmt.Errorf("the Lease: %w", lease)
	}
	if event != nil {
		event = fmt.Errorf("the Event: %w", event)
	}
	if err := errors.Join(lease, event); err != nil {
		r.Why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return r
}

// longest note of an event (events.k8s.io/v1).
const longest = 1024

func (p *Pod) event(ctx context.Context, reason, kind, note string) error {
	o, now := p.object, meta.Now()
	return p.cluster.api.create(ctx, events, o.Namespace, &v1.Event{
		ObjectMeta:     meta.ObjectMeta{GenerateName: o.Name[:min(len(o.Name), 200)] + ".", Namespace: o.Namespace},
		InvolvedObject: v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Name: o.Name, Namespace: o.Namespace, UID: o.UID},
		Reason:         reason, Message: strings.ToValidUTF8(note[:min(len(note), longest)], ""), Type: kind, Count: 1,
		FirstTimestamp: now, LastTimestamp: now, Source: v1.EventSource{Component: manager}, ReportingController: manager,
	}, nil)
}

// told is the policy that the pod's Lease tells of. None, one whose time is over, and one of an
// older pod of the same name are no error and no record.
func (c *cluster) told(ctx context.Context, o *v1.Pod) (flow.Policy, flow.Record) {
	var l coordination.Lease
	err := c.api.get(ctx, leases, o.Namespace, leaseName(o.Name), &l)
	switch {
	case apierrors.IsNotFound(err):
		return flow.Policy{}, flow.Record{}
	case err != nil:
		return flow.Policy{}, flow.Record{Why: "the Lease could not be read: " + err.Error()}
	}
	tells, ok := toldBy(&l, o.UID, time.Now())
	if !ok {
		return flow.Policy{}, flow.Record{}
	}
	return tells, flow.Record{Where: "Lease " + l.Namespace + "/" + l.Name}
}

// toldBy is the policy that a Lease tells of the pod with this UID; false: of none that still holds.
// An object holds on when its time is over.
func toldBy(l *coordination.Lease, uid types.UID, now time.Time) (flow.Policy, bool) {
	c, expires, ok := marked(l.Annotations)
	if len(l.OwnerReferences) != 1 || l.OwnerReferences[0].UID != uid || !ok || !expires.IsZero() && expires.Before(now) && !byObject(c.Driver) {
		return flow.Policy{}, false
	}
	return flow.Policy{Change: c, Expires: expires}, true
}

// noted is how many Events of a pod's policies are shown.
const noted = 3

// log is what Events say of the pod's policies, the newest first.
func (c *cluster) log(ctx context.Context, o *v1.Pod) ([]flow.Noted, error) {
	var list v1.EventList
	opt := meta.ListOptions{FieldSelector: "involvedObject.uid=" + string(o.UID) + ",source=" + manager, Limit: page}
	if err := c.api.list(ctx, events, o.Namespace, opt, &list); err != nil {
		return nil, fmt.Errorf("the Events could not be read: %w", err)
	}
	slices.SortStableFunc(list.Items, func(a, b v1.Event) int { return b.LastTimestamp.Compare(a.LastTimestamp.Time) })
	var out []flow.Noted
	for _, e := range list.Items[:min(len(list.Items), noted)] {
		out = append(out, flow.Noted{At: e.LastTimestamp.Time, Kind: e.Reason, Text: e.Message})
	}
	return out, nil
}

// renewed moves the end of a record.
func (p *Pod) renewed(ctx context.Context, ttl time.Duration) error {
	was, r := p.cluster.told(ctx, p.object)
	if r.Where == "" {
		return nil // nobody wrote one; the policy is renewed all the same
	}
	return p.cluster.api.apply(ctx, leases, p.lease(was.Change, was.Change.By, time.Now().Add(ttl)))
}

// joined is what the pod says of its policy, with what stands in its record. Where they differ
// the pod is right, and the difference is said.
func (p *Pod) joined(ctx context.Context, now flow.Policy) flow.Policy {
	lease, r := p.cluster.told(ctx, p.object)
	now.Record = r
	kind := lease.Change.Kind
	live := now.State == flow.StateApplied || now.State == flow.StateAccepted || now.State == flow.StateUnknown && now.Change.Kind != flow.NoPolicy
	switch {
	case r.Where == "":
	case byObject(lease.Change.Driver) && !byObject(now.Change.Driver):
		now.Record.Why = p.besides(ctx, lease)
	case live && now.Change.Kind == kind:
		now.Record.By = lease.Change.By
	case live:
		now.Record.Why = fmt.Sprintf("it tells of %s by %s, which is not what is in force", kind, lease.Change.By)
	case now.State != flow.StateUnknown:
		now.Record.Why = fmt.Sprintf("it tells of %s by %s until %s, and nothing of that is in force in the pod", kind, lease.Change.By, lease.Expires.UTC().Format(time.RFC3339))
	}
	if r.Where != "" || live {
		if log, err := p.cluster.log(ctx, p.object); err == nil {
			now.Record.Log = log
		} else if now.Record.Why == "" {
			now.Record.Why = err.Error()
		}
	}
	return now
}

// besides says what became of a policy that is told of and that the pod itself does not show: an
// object of Kubernetes.
func (p *Pod) besides(ctx context.Context, lease flow.Policy) string {
	tells := fmt.Sprintf("it tells of %s by %s, by the %s driver", lease.Change.Kind, lease.Change.By, lease.Change.Driver)
	o, err := p.Driven(lease.Change.Driver)
	var at flow.Policy
	if err == nil {
		at, err = o.Policy(ctx)
	}
	switch {
	case err != nil:
		return tells + ": whether that is still there is not known: " + err.Error()
	case at.State == flow.StateNone:
		return tells + ", and that object is gone"
	}
	return tells + fmt.Sprintf(": the %s is there, which restore with --driver %s deletes", at.Record.Where, lease.Change.Driver)
}

// Recorded is what the pod's Lease tells of, by whom, and what its Events say.
func (p *lesser) Recorded(ctx context.Context) (flow.Policy, error) {
	now, r := p.cluster.told(ctx, p.object)
	now.State, now.Record = flow.StateUnknown, r
	now.Record.By = now.Change.By
	now.Why = "nobody has looked into the pod (" + p.way + "): "
	switch {
	case r.Where != "":
		now.State, now.Why = flow.StateTold, now.Why+"its Lease alone tells of this"
		log, err := p.cluster.log(ctx, p.object)
		if now.Record.Log = log; err != nil {
			now.Record.Why = err.Error()
		}
	case r.Why != "":
		now.Why += r.Why
	default:
		now.Why += "no Lease tells of a policy, which who puts one into force need not write"
	}
	return now, ctx.Err()
}

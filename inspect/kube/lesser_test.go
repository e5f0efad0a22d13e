package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What only the agent can do is refused, with the way to it, and no part that was not asked for
// is told of.
func TestLesser(t *testing.T) {
	p := (&cluster{}).intended(pod(func(p *v1.Pod) { p.Name, p.Namespace = "web", "shop" }))
	_, watched := p.Observe(context.Background(), nil, inspect.ObserveOptions{})
	_, sent := p.Send(context.Background(), flow.Request{})
	for _, err := range []error{watched, sent, p.Limit()} {
		if !errors.Is(err, inspect.ErrNoPower) || !strings.Contains(err.Error(), "pod web.shop (by intent): only the agent can") || !strings.Contains(err.Error(), "meshtop can-i pod web -n shop") {
			t.Errorf("%v", err)
		}
	}
	s, err := p.Read(context.Background(), inspect.Want{Parts: []string{"iptables-save"}})
	if err != nil || len(s.Gaps) > 0 || s.Files[objectPart] != nil {
		t.Errorf("one part: %v, %v, %d files", err, s.Gaps, len(s.Files))
	}
	if s, err = p.Read(context.Background(), inspect.Want{Needs: []flow.Need{{Part: "route", Name: "x"}}}); err != nil || len(s.Files)+len(s.Gaps) > 0 {
		t.Errorf("a need: %v, %v", err, s)
	}
}

// The places that are asked: where /ready is, and the usual ports; never another of the proxy's.
func TestAdmins(t *testing.T) {
	ready := func(path string, port intstr.IntOrString) *v1.Pod {
		return pod(func(p *v1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "envoy", Ports: []v1.ContainerPort{{Name: "adm", ContainerPort: 8001}, {ContainerPort: 15001}},
				ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: path, Port: port}}}})
		})
	}
	const usual = "127.0.0.1:15000 127.0.0.1:19000 127.0.0.1:9901"
	for want, p := range map[string]*v1.Pod{
		usual: ready("/healthz/ready", intstr.FromInt32(15021)),
		"127.0.0.1:9901 127.0.0.1:15000 127.0.0.1:19000": ready("/ready", intstr.FromInt32(9901)),
		"127.0.0.1:8001 " + usual:                        ready("/ready", intstr.FromString("adm")),
	} {
		if got := strings.Trim(fmt.Sprint(admins(p)), "[]"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A way is one of those that there are.
func TestVia(t *testing.T) {
	var v via
	if err := v.Set("forward"); err != nil || v != viaForward {
		t.Errorf("%v, %v", v, err)
	}
	if err := v.Set("ssh"); err == nil || !strings.Contains(err.Error(), "want agent, node, exec, forward, intent") {
		t.Errorf("%v", err)
	}
}

package tui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/flow"
)

// partly are the screens on a recording of which parts are missing, for a reason.
func partly(t *testing.T, scene, reason string, calls []inspect.Call, parts ...string) Options {
	t.Helper()
	opt := sceneOptions(t, scene)
	whole, err := opt.Source.Read(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	files := maps.Clone(whole.Files)
	var gaps []flow.Gap
	for _, p := range parts {
		delete(files, p)
		gaps = append(gaps, flow.Gap{Part: p, Reason: reason})
	}
	opt.Target, opt.Command, opt.Request = "netns web", "netns web", nil
	opt.Source.Read = func(context.Context, func(inspect.Progress)) (Reading, error) {
		return Reading{Live: true, Reading: session.Parsed("netns web", noon().Add(-8*time.Second), files, gaps, calls)}, nil
	}
	return opt
}

var ruleParts = []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json"}

// way is a way on by one flag.
func way(text, flag, value string) inspect.WayOn {
	return inspect.WayOn{Text: text, Flags: []inspect.Flag{{Name: flag, Value: value}}}
}

// opens are the screens on a recording that is opened once they are shown; each try takes the
// next of the errors, and nil opens it.
func opens(t *testing.T, opt Options, errs ...error) (Options, *[]Opening) {
	t.Helper()
	asked := new([]Opening)
	src, name := opt.Source, opt.Target
	opt.Source, opt.Request, opt.Target, opt.Command = Source{}, nil, "pod outpod", "pod outpod"
	opt.Opener = &Opener{Others: true, Waiting: []inspect.WayOn{
		way("the agent's image by another name, or from another registry", "image", ""),
		way("send the agent into an image that the pod already uses", "deliver", "beside"),
		way("what the images of its containers can read, without an agent", "via", "exec")},
		Open: func(_ context.Context, how Opening) (Opened, error) {
			n := len(*asked)
			*asked = append(*asked, how)
			if n < len(errs) && errs[n] != nil {
				return Opened{}, errs[n]
			}
			o := Opened{Target: name, Command: "pod outpod", Source: src, NoRules: []inspect.WayOn{way("put the agent beside it", "via", "agent"), way("rules that somebody else has saved", "iptables", "")},
				NoEnvoy: []inspect.WayOn{way("Envoy's admin interface is elsewhere", "admin", ""), way("a configuration that somebody else has saved", "config-dump", "")}}
			if how.Other != "" {
				o.Target, o.Command = "pod "+how.Other, "pod "+how.Other
			}
			return o, nil
		}}
	return opt, asked
}

// stuckAt is an error with ways on.
type stuckAt struct {
	error
	ways []inspect.WayOn
}

func (s *stuckAt) Unwrap() error           { return s.error }
func (s *stuckAt) WaysOn() []inspect.WayOn { return s.ways }

// forbidden is what an account without rights gets.
func forbidden() error {
	return &stuckAt{fmt.Errorf(`pod outpod: pods "outpod" is forbidden: User "dev@corp" cannot patch resource "pods/ephemeralcontainers" in API group "" in the namespace "default": %w`, inspect.ErrNoPower),
		[]inspect.WayOn{way("Envoy's half by a port-forward to its admin interface", "via", "forward"), way("the rules and the configuration as its object and ConfigMaps have them", "via", "intent"),
			{Command: "meshtop can-i pod outpod -n default", Text: "which role to ask for"}, way("the rules that somebody else has read", "iptables", "")}}
}

// unpulled is an agent whose image is not to be had.
func unpulled() error {
	return &stuckAt{errors.New(`pod outpod: meshtop-x7k2aa did not start within 1m0s: ErrImagePull: failed to pull and unpack image "registry.corp/agent:0.3": unexpected status: 401 Unauthorized; its events: Failed: Failed to pull image "registry.corp/agent:0.3"`),
		[]inspect.WayOn{way("the agent's image by another name, or from another registry", "image", ""), way("send the agent into an image that the pod already uses", "deliver", "beside"),
			way("what the images of its containers can read", "via", "exec"), way("the rules and the configuration as its object and ConfigMaps have them", "via", "intent")}}
}

// viewer is what an account with the role view may do.
func viewer() flow.Rights {
	r := flow.Rights{Pod: "outpod", Namespace: "default", User: "dev@corp"}
	add := func(role, need, gives, object string, yes bool, verbs ...string) {
		one := flow.Right{Role: role, Need: need, Gives: gives, Object: object}
		for _, v := range verbs {
			one.Verbs = append(one.Verbs, flow.Verb{Name: v, Allowed: yes})
		}
		r.List = append(r.List, one)
	}
	add("view", "see the pod", "the rules as they were meant", "pods", true, "get")
	add("view", "forward a port", "Envoy's half of a trace", "pods/portforward", true, "get", "create")
	add("capture", "start a process in the pod", "what its images can read", "pods/exec", false, "get", "create")
	add("capture", "add an ephemeral container", "the agent", "pods/ephemeralcontainers", false, "patch")
	add("operate", "record a policy as an event", "everybody sees who changed what", "events", false, "create")
	return r
}

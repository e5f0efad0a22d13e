// Package kube is pods of a cluster: it finds one, puts the agent beside it, and speaks to
// that by exec. client-go lives here and nowhere else.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
)

// Flags are those of the command line that say which cluster is meant, as kubectl has them.
type Flags struct {
	rules     *clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	image     string
	wait      time.Duration
	via       via
	nodeSpace string
	given     string      // the image where --image names none
	noInput   atomic.Bool // the terminal's input is somebody else's
	deliver   string

	// Bootstrap makes a config dump of what an Envoy is started with; name is where that stands.
	// Nil: nothing can.
	Bootstrap func(name string, data []byte) ([]byte, error)
}

// NewFlags are the flags; image is the agent's where --image names none.
func NewFlags(image string) *Flags {
	return &Flags{rules: clientcmd.NewDefaultClientConfigLoadingRules(), image: image, given: image, wait: time.Minute}
}

// Register adds the flags to a verb's; the verbs share their values.
func (f *Flags) Register(to *pflag.FlagSet) {
	to.StringVar(&f.rules.ExplicitPath, "kubeconfig", "", "the kubeconfig, instead of KUBECONFIG's")
	to.StringVar(&f.overrides.CurrentContext, "context", "", "the kubeconfig's context")
	to.StringVarP(&f.overrides.Context.Namespace, "namespace", "n", "", "where the pod is, if not in the context's namespace")
	to.StringVar(&f.overrides.AuthInfo.Impersonate, "as", "", "act as this user")
	to.StringArrayVar(&f.overrides.AuthInfo.ImpersonateGroups, "as-group", nil, "act as one of this group (repeatable)")
	to.StringVar(&f.image, "image", f.image, "the agent's container image")
	to.StringVar(&f.deliver, "deliver", "", "send this agent, or one of this folder or image's archive (beside: meshtop's folder), into an image that the pod already uses, or --image's")
	to.DurationVar(&f.wait, "wait", f.wait, "how long the agent may take to start")
	to.Var(&f.via, "via", "the way to the pod; by itself the first that is allowed")
	to.StringVar(&f.nodeSpace, "node-namespace", "", "where --via node starts its pod; by itself the context's namespace")
}

// LeaveInput keeps programs that a kubeconfig names for credentials from the terminal's input from
// now on: keys typed at screens are not for them. One that always wants a terminal is asked
// without one.
func (f *Flags) LeaveInput() { f.noInput.Store(true) }

// say is told what is done in a sentence. lasting: it is worth keeping; else the next one
// replaces it.
type say = func(line string, lasting bool)

// Open finds the pod that kind ("pod", "deploy") and name mean, puts the agent beside it if
// none runs there, and opens it.
func (f *Flags) Open(ctx context.Context, kind, name string, tell func(line string, lasting bool)) (inspect.Pod, error) {
	c, err := f.cluster(tell)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	p, err := c.open(ctx, kind, name)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, worded(err))
	}
	return p, nil
}

func (f *Flags) loader() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(f.rules, &f.overrides)
}

// cluster is the one that the flags mean. Nothing is sent.
func (f *Flags) cluster(tell say) (*cluster, error) {
	// client-go tells by klog what it returns as errors too; on a screen that is dirt.
	klog.SetLogger(klog.Logger{}) // which discards; to another output alone errors would go, too
	loader := f.loader()
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no cluster is configured: say --kubeconfig FILE, or set KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig: %w", err)
	}
	config.WarningHandler = rest.NoWarnings{}
	if f.noInput.Load() && config.ExecProvider != nil {
		p := *config.ExecProvider
		p.StdinUnavailable = true
		if p.InteractiveMode == clientapi.AlwaysExecInteractiveMode {
			p.InteractiveMode = clientapi.IfAvailableExecInteractiveMode
		}
		config.ExecProvider = &p
	}
	config.UserAgent = "meshtop"
	config.QPS = -1 // a handful of questions; the API server bounds its clients itself
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("which namespace: %w", err)
	}
	nodeSpace := f.nodeSpace
	if nodeSpace == "" {
		if nodeSpace, err = f.contextSpace(loader); err != nil {
			return nil, err
		}
	}
	image, sent, err := f.sends()
	if err != nil {
		return nil, err
	}
	return &cluster{api: &api{config: config}, namespace: namespace, image: image, payloads: sent, wait: f.wait, via: f.via, nodeSpace: nodeSpace, bootstrap: f.Bootstrap, say: tell}, nil
}

// sends is the image that was asked for, and what is sent into it; nil: nothing.
func (f *Flags) sends() (image string, sent []payload, err error) {
	if f.deliver == "" {
		return f.image, nil, nil
	}
	if f.via != viaBest && f.via != viaAgent && f.via != viaNode {
		return "", nil, fmt.Errorf("--deliver: --via %s needs no agent", f.via)
	}
	if sent, err = payloads(f.deliver); err != nil {
		return "", nil, fmt.Errorf("--deliver: %w", err)
	}
	if f.image == f.given { // the agent's own image, which has no shell
		return "", sent, nil
	}
	return f.image, sent, nil
}

// contextSpace is the namespace of the kubeconfig's context, whatever -n says.
func (f *Flags) contextSpace(loader clientcmd.ClientConfig) (string, error) {
	raw, err := loader.RawConfig()
	if err != nil {
		return "", fmt.Errorf("the kubeconfig: %w", err)
	}
	if c := raw.Contexts[cmp.Or(f.overrides.CurrentContext, raw.CurrentContext)]; c != nil {
		return cmp.Or(c.Namespace, "default"), nil
	}
	return "default", nil
}

// cluster is where pods are.
type cluster struct {
	api       *api
	namespace string
	image     string
	payloads  []payload // nil: the agent is in the image
	wait      time.Duration
	via       via
	bootstrap func(name string, data []byte) ([]byte, error)
	nodeSpace string // of pods on nodes
	say       say
	names     namer
}

var errNoImage = errors.New("which image holds the agent? say --image; or --deliver, which sends one")

package kube

import (
	"context"
	"fmt"
	"sync"

	apps "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// api asks an API server, by client-go's REST client. The typed clients and the dynamic one link
// all kinds that Kubernetes has, and every start of the program would pay for registering them,
// whichever verb it runs: a third of its processor time.
type api struct {
	config *rest.Config

	mu     sync.Mutex
	groups map[schema.GroupVersion]*rest.RESTClient
}

// kind is a kind of object, by its group and its name in an address.
type kind struct {
	group  schema.GroupVersion
	plural string
}

var (
	pods        = kind{v1.SchemeGroupVersion, "pods"}
	namespaces  = kind{v1.SchemeGroupVersion, "namespaces"}
	events      = kind{v1.SchemeGroupVersion, "events"}
	deployments = kind{apps.SchemeGroupVersion, "deployments"}
)

// coding is how the objects above and the options of a question are written.
type coding struct {
	objects    runtime.NegotiatedSerializer
	parameters runtime.ParameterCodec
}

var codecs = sync.OnceValue(func() coding {
	s := runtime.NewScheme()
	meta.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{v1.AddToScheme, apps.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // one kind twice: a fault of the list
		}
	}
	return coding{serializer.NewCodecFactory(s).WithoutConversion(), runtime.NewParameterCodec(s)}
})

// client is the REST client of a group.
func (a *api) client(g schema.GroupVersion) (*rest.RESTClient, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.groups[g]; c != nil {
		return c, nil
	}
	config := rest.CopyConfig(a.config)
	config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &g, "/apis", codecs().objects
	if g.Group == "" {
		config.APIPath = "/api"
	}
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.config.Host, err)
	}
	if a.groups == nil {
		a.groups = map[schema.GroupVersion]*rest.RESTClient{}
	}
	a.groups[g] = c
	return c, nil
}

// get reads one object.
func (a *api) get(ctx context.Context, k kind, namespace, name string, into runtime.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Get().Namespace(namespace).Resource(k.plural).Name(name).Do(ctx).Into(into)
}

// list reads a list of objects.
func (a *api) list(ctx context.Context, k kind, namespace string, opt meta.ListOptions, into runtime.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Get().Namespace(namespace).Resource(k.plural).VersionedParams(&opt, codecs().parameters).Do(ctx).Into(into)
}

// patch changes an object, or what sub names of it.
func (a *api) patch(ctx context.Context, k kind, namespace, name string, how types.PatchType, body []byte, sub ...string) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Patch(how).Namespace(namespace).Resource(k.plural).Name(name).SubResource(sub...).Body(body).Do(ctx).Error()
}

// pod reads one pod.
func (a *api) pod(ctx context.Context, namespace, name string) (*v1.Pod, error) {
	p := &v1.Pod{}
	return p, a.get(ctx, pods, namespace, name, p)
}

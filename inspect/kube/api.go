package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	coordination "k8s.io/api/coordination/v1"
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
	services    = kind{v1.SchemeGroupVersion, "services"}
	configmaps  = kind{v1.SchemeGroupVersion, "configmaps"}
	events      = kind{v1.SchemeGroupVersion, "events"}
	deployments = kind{apps.SchemeGroupVersion, "deployments"}
	leases      = kind{coordination.SchemeGroupVersion, "leases"}
	reviews     = kind{authentication.SchemeGroupVersion, "selfsubjectreviews"}
	policies    = kind{schema.GroupVersion{Group: "networking.k8s.io", Version: "v1"}, "networkpolicies"}
	sidecars    = kind{schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}, "sidecars"}
)

// coding is how the objects above and the options of a question are written.
type coding struct {
	objects    runtime.NegotiatedSerializer
	parameters runtime.ParameterCodec
}

var codecs = sync.OnceValue(func() coding {
	s := runtime.NewScheme()
	meta.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{v1.AddToScheme, apps.AddToScheme, coordination.AddToScheme, authentication.AddToScheme} {
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

// get reads one object; one of no namespace where that is empty.
func (a *api) get(ctx context.Context, k kind, namespace, name string, into runtime.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.plural).Name(name).Do(ctx).Into(into)
}

// raw reads one object of a kind that has no type here.
func (a *api) raw(ctx context.Context, k kind, namespace, name string) ([]byte, error) {
	c, err := a.client(k.group)
	if err != nil {
		return nil, err
	}
	return c.Get().Namespace(namespace).Resource(k.plural).Name(name).Do(ctx).Raw()
}

// list reads a list of objects.
func (a *api) list(ctx context.Context, k kind, namespace string, opt meta.ListOptions, into runtime.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Get().Namespace(namespace).Resource(k.plural).VersionedParams(&opt, codecs().parameters).Do(ctx).Into(into)
}

// pages reads a list page by page, and gives each: an API server must not build one of thousands.
func pages[L any, P interface {
	*L
	runtime.Object
	GetContinue() string
}](ctx context.Context, a *api, k kind, namespace string, opt meta.ListOptions, each func(P)) error {
	opt.Limit = page
	for {
		l := P(new(L))
		if err := a.list(ctx, k, namespace, opt, l); err != nil {
			return err
		}
		each(l)
		if opt.Continue = l.GetContinue(); opt.Continue == "" {
			return nil
		}
	}
}

// patch changes an object, or what sub names of it.
func (a *api) patch(ctx context.Context, k kind, namespace, name string, how types.PatchType, body []byte, sub ...string) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Patch(how).Namespace(namespace).Resource(k.plural).Name(name).SubResource(sub...).Body(body).Do(ctx).Error()
}

// create makes an object; into takes it as it was made, if it is not nil.
func (a *api) create(ctx context.Context, k kind, namespace string, o, into runtime.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	r := c.Post().NamespaceIfScoped(namespace, namespace != "").Resource(k.plural).Body(o).Do(ctx)
	if into == nil {
		return r.Error()
	}
	return r.Into(into)
}

// apply makes an object what o says, and leaves alone what o does not say (server-side apply).
func (a *api) apply(ctx context.Context, k kind, o meta.Object) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	// By force: whose it was does not matter, for it is named for what it is about.
	return c.Patch(types.ApplyPatchType).Namespace(o.GetNamespace()).Resource(k.plural).Name(o.GetName()).
		Param("fieldManager", manager).Param("force", "true").Body(raw).Do(ctx).Error()
}

// post makes an object of a kind that has no type here, and reads of the answer what all have.
func (a *api) post(ctx context.Context, k kind, namespace string, body []byte, made *meta.PartialObjectMetadata) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	raw, err := c.Post().Namespace(namespace).Resource(k.plural).SetHeader("Content-Type", "application/json").
		SetHeader("Accept", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, made)
}

// delete takes an object away, and what it owns soon after.
func (a *api) delete(ctx context.Context, k kind, namespace, name string) error {
	c, err := a.client(k.group)
	if err != nil {
		return err
	}
	return c.Delete().Namespace(namespace).Resource(k.plural).Name(name).SetHeader("Content-Type", "application/json").
		Body([]byte(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}`)).Do(ctx).Error()
}

// pod reads one pod.
func (a *api) pod(ctx context.Context, namespace, name string) (*v1.Pod, error) {
	p := &v1.Pod{}
	return p, a.get(ctx, pods, namespace, name, p)
}

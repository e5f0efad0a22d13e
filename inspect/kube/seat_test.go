package kube

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// registry keeps one pod as an API server does: a patch of another version than its own is a
// conflict.
type registry struct{ pod *v1.Pod }

// ServeHTTP answers a question for the pod and a patch of it.
func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPatch {
		var patch v1.Pod
		if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || !strings.HasSuffix(r.URL.Path, "/ephemeralcontainers") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if patch.ResourceVersion != g.pod.ResourceVersion {
			s := apierrors.NewConflict(v1.Resource("pods"), g.pod.Name, errors.New("it has been modified")).Status()
			s.APIVersion, s.Kind = "v1", "Status"
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(s)
			return
		}
		g.pod.Spec.EphemeralContainers = append(g.pod.Spec.EphemeralContainers, patch.Spec.EphemeralContainers...)
		g.pod.ResourceVersion += "+"
	}
	_ = json.NewEncoder(w).Encode(g.pod)
}

// Of two clients at once one puts an agent into a pod, and the other takes it; a pod that has
// changed otherwise gets one all the same, and a successor of its name none.
func TestPutsNoTwin(t *testing.T) {
	for what, c := range map[string]struct {
		meanwhile func(*v1.Pod, form)
		want      int // containers in the pod
		err       string
	}{
		"nothing": {func(*v1.Pod, form) {}, 1, ""},
		"another client": {func(p *v1.Pod, f form) {
			p.Spec.EphemeralContainers = []v1.EphemeralContainer{container(p, "meshtop-theirs", f)}
			p.ResourceVersion = "2"
		}, 1, ""},
		"one of another image": {func(p *v1.Pod, f form) {
			f.image = "agent:2"
			p.Spec.EphemeralContainers = []v1.EphemeralContainer{container(p, "meshtop-theirs", f)}
			p.ResourceVersion = "2"
		}, 2, ""},
		"its status":          {func(p *v1.Pod, _ form) { p.ResourceVersion = "2" }, 1, ""},
		"another of its name": {func(p *v1.Pod, _ form) { p.ResourceVersion, p.UID = "2", "other" }, 0, "replaced"},
	} {
		seen := pod(func(p *v1.Pod) {
			p.TypeMeta = meta.TypeMeta{APIVersion: "v1", Kind: "Pod"}
			p.Name, p.Namespace, p.UID, p.ResourceVersion = "x", "shop", "u", "1"
		})
		g := &registry{seen.DeepCopy()}
		cl := &cluster{image: "agent:1", say: func(string, bool) {}}
		c.meanwhile(g.pod, cl.forms(seen)[0])
		s := httptest.NewServer(g)
		cl.api = &api{config: &rest.Config{Host: s.URL, QPS: -1}}
		at, err := cl.put(t.Context(), seen, cl.forms(seen)[0])
		s.Close()
		there := g.pod.Spec.EphemeralContainers
		if len(there) != c.want || c.err == "" && (err != nil || !at.fresh || at.container != there[len(there)-1].Name) ||
			c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("meanwhile %s: %+v, %v; %d containers", what, at, err, len(there))
		}
	}
}

// A container may run at any moment unless its image could not be had.
func TestHopes(t *testing.T) {
	for reason, want := range map[string]bool{"": true, "ContainerCreating": true, "PodInitializing": true, "ErrImagePull": false, "ImagePullBackOff": false, "CreateContainerError": false} {
		p := pod(func(p *v1.Pod) {
			p.Status.EphemeralContainerStatuses = []v1.ContainerStatus{{Name: "a", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}}}
		})
		if got := hopes(p, "a"); got != want {
			t.Errorf("%q: %v", reason, got)
		}
	}
	if !hopes(pod(nil), "a") {
		t.Error("kubelet has not told of it")
	}
}

// A container that starts at once is spoken to at once; one whose image takes a minute is asked
// for once a second, and not while it cannot be had.
func TestEagerly(t *testing.T) {
	no := errors.New("container not found")
	for _, c := range []struct {
		what        string
		runs        time.Duration // since when a try succeeds
		futile      bool
		told        time.Duration // when kubelet's word comes
		done        bool
		least, most int
	}{
		{"starts at once", 0, false, time.Minute, true, 1, 1},
		{"starts in a second", time.Second, false, time.Minute, true, 10, 12},
		{"a pull of a minute", time.Hour, false, time.Minute, false, 60, 100},
		{"an image that is not there", 0, true, time.Minute, false, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, tried := time.Now(), 0
			started := make(chan error, 1)
			time.AfterFunc(c.told, func() { started <- nil })
			done, err := eagerly(started, func() bool { return c.futile }, func() error {
				if tried++; time.Since(began) < c.runs {
					return no
				}
				return nil
			})
			if done != c.done || err != nil || tried < c.least || tried > c.most {
				t.Errorf("%s: %v, %v after %d tries", c.what, done, err, tried)
			}
			if took := time.Since(began); c.done && took > c.runs+firstPause {
				t.Errorf("%s: it took %v", c.what, took)
			}
		})
	}
}

package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// clerk answers lists as an API server does: by the one field, and to whom it is allowed.
type clerk struct {
	mu    sync.Mutex
	asked []string
	may   map[string]bool // "services", "services of shop"
}

// ServeHTTP answers a list.
func (c *clerk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // api v1 [namespaces NAME] KIND
	kind, of := parts[len(parts)-1], parts[len(parts)-1]
	if len(parts) == 5 {
		of += " of " + parts[3]
	}
	field := r.URL.Query().Get("fieldSelector")
	c.mu.Lock()
	c.asked = append(c.asked, of+" "+field)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if !c.may[of] {
		s := apierrors.NewForbidden(v1.Resource(kind), "", nil).Status()
		s.APIVersion, s.Kind = "v1", "Status"
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(s)
		return
	}
	var out any = v1.PodList{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	switch ip := field[strings.LastIndexByte(field, '=')+1:]; {
	case kind == "services":
		list := v1.ServiceList{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "ServiceList"}}
		if ip == "10.96.0.1" {
			list.Items = []v1.Service{{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Name: "http", Port: 80}, {Port: 81}}}}}
		}
		out = list
	case ip == "10.0.0.9":
		on := v1.PodSpec{HostNetwork: true, NodeName: "n1"}
		out = v1.PodList{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []v1.Pod{{ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "x"}, Spec: on}, {ObjectMeta: meta.ObjectMeta{Namespace: "b", Name: "y"}, Spec: on}}}
	case ip == "10.0.0.7":
		out = v1.PodList{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []v1.Pod{{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "web-0"}}}}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func TestNames(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.8")}
	for _, c := range []struct {
		may      []string
		names    string // of the addresses
		partial  string
		most     int // questions, also when all is asked twice
		mayAsked string
	}{
		{[]string{"services", "pods"}, "shop/web:http shop/web-0 n1 -", "", 7, "pods "},
		{[]string{"services of shop", "pods of shop"}, "shop/web:http shop/web-0 n1 -", "this account may list services and pods of namespace shop alone", 15, "pods of shop "},
		{[]string{"services"}, "shop/web:http - - -", "this account may list no pods", 12, "pods of shop "},
		{nil, "- - - -", "this account may list no services and no pods", 16, "pods of shop "},
	} {
		at := &clerk{may: map[string]bool{}}
		for _, m := range c.may {
			at.may[m] = true
		}
		s := httptest.NewServer(at)
		var n namer
		a := &api{config: &rest.Config{Host: s.URL, QPS: -1}}
		for range 2 {
			got, calls, err := n.ask(t.Context(), a, "shop", addrs)
			var words []string
			for _, addr := range addrs {
				w := got.At(netip.AddrPortFrom(addr, 80))
				if w == "" {
					w = "-"
				}
				words = append(words, w)
			}
			if err != nil || strings.Join(words, " ") != c.names || got.Partial != c.partial {
				t.Errorf("may %v: %v, %q, %v (%v)", c.may, words, got.Partial, err, calls)
			}
		}
		s.Close()
		if len(at.asked) > c.most || !strings.Contains(strings.Join(at.asked, "\n"), c.mayAsked) {
			t.Errorf("may %v: %d questions, want at most %d:\n%s", c.may, len(at.asked), c.most, strings.Join(at.asked, "\n"))
		}
	}
}

// What may not be listed is asked for again after a while: a server that was restarted refuses all
// for a moment.
func TestNamesAgain(t *testing.T) {
	at := &clerk{may: map[string]bool{}}
	s := httptest.NewServer(at)
	defer s.Close()
	var n namer
	a := &api{config: &rest.Config{Host: s.URL, QPS: -1}}
	ask := func() flow.Names {
		got, calls, err := n.ask(t.Context(), a, "shop", []netip.Addr{netip.MustParseAddr("10.0.0.7")})
		if err != nil {
			t.Error(err, calls)
		}
		return got
	}
	if got := ask(); got.Partial == "" {
		t.Errorf("%+v", got)
	}
	at.may = map[string]bool{"services": true, "pods": true}
	if got := ask(); got.Partial == "" || len(at.asked) != 4 {
		t.Errorf("asked again at once: %+v, %q", got, at.asked)
	}
	for k, until := range n.narrow {
		n.narrow[k] = until.Add(-namedFor)
	}
	for k, was := range n.known {
		n.known[k] = known{was.labels, was.until.Add(-namedFor)}
	}
	if got := ask(); got.Partial != "" || len(got.Labels) != 1 {
		t.Errorf("%+v, %q", got, at.asked)
	}
}

// An answer that something was left out of counts no longer than that does.
func TestNamesOfNarrow(t *testing.T) {
	at := &clerk{may: map[string]bool{"services": true}}
	s := httptest.NewServer(at)
	defer s.Close()
	soon := time.Now().Add(namedFor / 2)
	n := namer{narrow: map[string]time.Time{"pods/": soon, "pods/shop": soon}}
	addr := netip.MustParseAddr("10.0.0.7")
	if _, _, err := n.ask(t.Context(), &api{config: &rest.Config{Host: s.URL, QPS: -1}}, "shop", []netip.Addr{addr}); err != nil {
		t.Error(err)
	}
	if got := n.known[addr].until; !got.Equal(soon) {
		t.Errorf("known until %v, want %v", got, soon)
	}
}

// A server that is not there is an error, and soon.
func TestNamesOfNobody(t *testing.T) {
	if _, _, err := (&namer{}).ask(t.Context(), nobody().api, "shop", []netip.Addr{netip.MustParseAddr("10.0.0.7")}); err == nil {
		t.Error("no error")
	}
}

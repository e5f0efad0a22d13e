package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// A successor is found on whatever page of a namespace's pods it stands, and no question is for
// more than a page.
func TestSuccessorOnTheLastPage(t *testing.T) {
	yes := true
	made := meta.ObjectMeta{Namespace: "shop", OwnerReferences: []meta.OwnerReference{{Kind: "StatefulSet", Name: "db", UID: "1", Controller: &yes}}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("limit") != strconv.Itoa(page) {
			t.Errorf("asked for %q", r.URL)
		}
		at, _ := strconv.Atoi(q.Get("continue"))
		list := v1.PodList{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []v1.Pod{{ObjectMeta: meta.ObjectMeta{Name: "other"}}}}
		if at < 2 {
			list.Continue = strconv.Itoa(at + 1)
		} else {
			list.Items[0] = v1.Pod{ObjectMeta: made, Status: v1.PodStatus{Phase: v1.PodRunning}}
			list.Items[0].Name, list.Items[0].UID = "db-0", "new"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	}))
	defer s.Close()
	c := &cluster{api: &api{config: &rest.Config{Host: s.URL, QPS: -1}}}
	if got, err := c.successor(t.Context(), &v1.Pod{ObjectMeta: made}); err != nil || got != "db-0.shop" {
		t.Errorf("%q, %v", got, err)
	}
}

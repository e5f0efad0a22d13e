package kube

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A pod follows another if the same controller made both: of a Deployment also by another of its
// ReplicaSets.
func TestFollows(t *testing.T) {
	yes := true
	of := func(kind, name, uid, hash string) *v1.Pod {
		p := &v1.Pod{}
		if kind != "" {
			p.OwnerReferences = []meta.OwnerReference{{Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}}
		}
		if hash != "" {
			p.Labels = map[string]string{"pod-template-hash": hash}
		}
		return p
	}
	web := of("ReplicaSet", "web-5d9", "1", "5d9")
	for _, c := range []struct {
		name   string
		was, p *v1.Pod
		want   bool
	}{
		{"the same ReplicaSet", web, of("ReplicaSet", "web-5d9", "1", "5d9"), true},
		{"the next of the Deployment", web, of("ReplicaSet", "web-77c", "2", "77c"), true},
		{"another Deployment", web, of("ReplicaSet", "web-api-77c", "3", "77c"), false},
		{"a ReplicaSet of nobody", of("ReplicaSet", "web", "1", ""), of("ReplicaSet", "web", "2", ""), false},
		{"the same StatefulSet", of("StatefulSet", "db", "1", ""), of("StatefulSet", "db", "1", ""), true},
		{"another of its name", of("StatefulSet", "db", "1", ""), of("StatefulSet", "db", "2", ""), false},
		{"nobody's", web, of("", "", "", ""), false},
	} {
		if got := follows(c.was, c.p); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

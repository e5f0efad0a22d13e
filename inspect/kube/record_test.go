package kube

import (
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
	"k8s.io/client-go/rest"
)

// What an object's annotations tell is what was written; what is not ours tells nothing.
func TestMarks(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	for _, c := range []flow.Change{
		{Kind: flow.BlockAll, Driver: flow.Kernel, By: "me", Reason: "INC-1\n: {x}", Since: since, TTL: 10 * time.Minute},
		{Kind: flow.AllowAll, Driver: flow.NetworkPolicy, Since: since, Permanent: true},
	} {
		var end time.Time
		if !c.Permanent {
			end = since.Truncate(time.Second).Add(c.TTL)
		}
		got, expires, ok := marked(marks(c, c.By, end))
		want := c
		if want.TTL > 0 {
			want.TTL = end.Sub(since)
		}
		if !ok || !expires.Equal(end) || got.Kind != want.Kind || got.Driver != want.Driver || got.By != want.By || got.Reason != want.Reason || !got.Since.Equal(want.Since) || got.TTL != want.TTL || got.Permanent != want.Permanent {
			t.Errorf("%+v %v %v, want %+v", got, expires, ok, want)
		}
	}
	for what, a := range map[string]map[string]string{
		"nothing": nil, "a word": {policyMark: "block-none", driverMark: "kernel", endMark: never},
		"no driver": {policyMark: "block-all", endMark: never}, "no end": {policyMark: "block-all", driverMark: "kernel", endMark: "soon"},
	} {
		if c, _, ok := marked(a); ok {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

// nobody is a cluster that does not answer: its records cannot be read.
func nobody() *cluster { return &cluster{api: &api{config: &rest.Config{Host: "127.0.0.1:1"}}} }

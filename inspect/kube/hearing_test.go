package kube

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Of what kubelet says of an image that is not there, what says more than a word is told.
func TestWarnings(t *testing.T) {
	at := func(s int, reason, message string) v1.Event {
		return v1.Event{LastTimestamp: meta.NewTime(time.Unix(int64(s), 0)), Reason: reason, Message: message}
	}
	got := warnings([]v1.Event{
		at(3, "Failed", "Error: ImagePullBackOff"), at(2, "Failed", "Error: container's runAsUser breaks non-root policy"),
		at(1, "Failed", `Failed to pull image "x": connection refused`), at(1, "Failed", "Error: ErrImagePull"),
	})
	want := []string{`Failed: Failed to pull image "x": connection refused`, "Failed: Error: container's runAsUser breaks non-root policy"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

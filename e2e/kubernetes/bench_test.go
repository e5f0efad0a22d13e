package kubernetes

import (
	"flag"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

var attaches = flag.Int("k8s.attaches", 1, "how often a pod is attached to without and with an agent beside it, for the medians")

// attached: the time from the command to the first trace of a running pod, when the image is on the
// node: without an agent beside it, and with one. Only counted, not judged: machines differ.
func (c client) attached(t *testing.T) {
	const pod = "outpod-mesh"
	var first, again []time.Duration
	for range *attaches {
		c.kubectl(t, "mesh", "delete", "pod", pod, "--wait=true", "--grace-period=1")
		c.kubectl(t, "mesh", "apply", "-f", "scenes/mesh.yaml")
		c.kubectl(t, "mesh", "wait", "--for=condition=Ready", "--timeout=60s", "pod/"+pod)
		first = append(first, c.timed(t, pod))
		again = append(again, c.timed(t, pod))
	}
	t.Logf("first trace of a running pod, medians of %d: %v without an agent, %v with one", *attaches, median(first), median(again))
}

// timed is how long one trace of a pod takes.
func (c client) timed(t *testing.T, pod string) time.Duration {
	t.Helper()
	start := time.Now()
	out, err := exec.Command(c.bin, "trace", "pod", pod, "-n", "scene-mesh", "--to", "http://10.107.42.16/", "--uid", "0").CombinedOutput()
	took := time.Since(start)
	if err != nil || !strings.Contains(string(out), "DELIVERED") {
		t.Errorf("%v: %s", err, out)
	}
	return took
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2].Round(time.Millisecond)
}

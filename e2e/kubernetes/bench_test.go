package kubernetes

import (
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	attaches = flag.Int("k8s.attaches", 1, "how often a pod is attached to without and with an agent beside it, for the medians")
	bar      bars
)

func init() {
	flag.Var(&bar, "k8s.bar", "`WITHOUT,WITH`: the longest that the medians may be, without an agent beside the pod and with one; empty: any")
}

// bars are the longest times to a first trace: without an agent beside the pod, and with one.
type bars []time.Duration

// String is the flag's value.
func (b *bars) String() string {
	var out []string
	for _, d := range *b {
		out = append(out, d.String())
	}
	return strings.Join(out, ",")
}

// Set takes both.
func (b *bars) Set(s string) error {
	var out bars
	for word := range strings.SplitSeq(s, ",") {
		d, err := time.ParseDuration(word)
		if err != nil {
			return err
		}
		out = append(out, d)
	}
	if len(out) != 2 {
		return fmt.Errorf("%q: want two times", s)
	}
	*b = out
	return nil
}

// over says which of the times is over its bar; empty: none.
func (b bars) over(took ...time.Duration) string {
	var out []string
	for i, d := range b {
		if took[i] > d {
			out = append(out, fmt.Sprintf("%s an agent: %v, more than %v", []string{"without", "with"}[i], took[i], d))
		}
	}
	return strings.Join(out, "; ")
}

// Times are judged only where there are bars, and each by its own.
func TestBars(t *testing.T) {
	for _, c := range []struct {
		flag          string
		without, with time.Duration
		want          string
	}{
		{"", time.Hour, time.Hour, ""},
		{"2.5s,0.7s", 2500 * time.Millisecond, 700 * time.Millisecond, ""},
		{"2.5s,0.7s", 2501 * time.Millisecond, 0, "without an agent: 2.501s, more than 2.5s"},
		{"2.5s,0.7s", 0, 701 * time.Millisecond, "with an agent: 701ms, more than 700ms"},
	} {
		var b bars
		if c.flag != "" {
			if err := b.Set(c.flag); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.over(c.without, c.with); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	if err := new(bars).Set("2.5s"); err == nil {
		t.Error("one bar was taken for two")
	}
}

// attached: the time from the command to the first trace of a running pod, when the image is on the
// node: without an agent beside it, and with one. Judged by -k8s.bar alone: machines differ.
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
	if over := bar.over(median(first), median(again)); over != "" {
		t.Error(over)
	}
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

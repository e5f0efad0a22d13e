// Package confirm judges meshtop's confirmation in the lab: a request that goes as
// predicted is confirmed, and one that was tampered with is not.
package confirm

import (
	"context"
	"flag"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtop/meshtop/capture"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules/confirm"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

var runs = flag.Int("confirm.runs", 3, "how often each scene is confirmed, in a row and without retries")

// rig is a scene that is up, and what was read of it before anything was done to it.
type rig struct {
	lab     *lab.Lab
	pod     *local.Pod
	reading session.Reading
}

func raise(t *testing.T, opt lab.Options, lopt local.Options) *rig {
	t.Helper()
	l := lab.New(t, opt)
	p, err := local.Named(l.Pod(), lopt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := session.Read(context.Background(), p, inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{l, p, r}
}

// confirm sends the case's request and gives the report.
func (r *rig) confirm(t *testing.T, req flow.Request) confirm.Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, rep, err := session.Confirm(ctx, r.pod, r.reading, req, session.ConfirmOptions{Send: true, Sender: r.sender()})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// sender is the lab's own client: it sends from inside and from outside.
func (r *rig) sender() func(context.Context, flow.Request) (inspect.Sent, error) {
	return func(ctx context.Context, req flow.Request) (inspect.Sent, error) {
		a, err := r.lab.Send(ctx, req)
		return inspect.Sent{Symptom: a.Symptom, Local: a.Local, Note: a.Err}, err
	}
}

// usable says whether a case can be confirmed at all: UDP has no connection to follow, and a
// request that loops is never sent.
func usable(c scenes.Case) bool { return c.Request.Proto == flow.TCP || c.Request.Proto == 0 }

// some are the cases that are confirmed: all when asked for more than the usual runs, else
// every so many, the first among them.
func some(cases []scenes.Case) []scenes.Case {
	var out []scenes.Case
	step := 1
	if *runs <= 3 {
		step = max(1, len(cases)/4)
	}
	for i := 0; i < len(cases); i += step {
		if usable(cases[i]) {
			out = append(out, cases[i])
		}
	}
	return out
}

// Every observable step of every scene is confirmed, several times in a row.
func TestScenesConfirm(t *testing.T) {
	for _, name := range scenes.Names() {
		if name == "loop" {
			continue // TestLoopIsNotSent
		}
		t.Run(name, func(t *testing.T) {
			r := raise(t, lab.Options{Scene: name}, local.Options{})
			for range *runs {
				for _, c := range some(r.lab.Scene.Cases) {
					rep := r.confirm(t, c.Request)
					if rep.Trace.Verdict == flow.Unknown {
						if rep.Word == confirm.Contradicted {
							t.Errorf("%s: contradicted though nothing was claimed\n%s", c.Name, render.ReportText(rep))
						}
						continue
					}
					if rep.Word != confirm.Confirmed {
						t.Errorf("%s: %v\n%s", c.Name, rep.Word, render.ReportText(rep))
					}
				}
			}
		})
	}
}

// What would make the proxy dial itself is never sent.
func TestLoopIsNotSent(t *testing.T) {
	r := raise(t, lab.Options{Scene: "loop"}, local.Options{})
	sent := false
	for _, c := range r.lab.Scene.Cases {
		if !strings.Contains(c.Name, "15001") {
			continue
		}
		_, _, err := session.Confirm(context.Background(), r.pod, r.reading, c.Request, session.ConfirmOptions{Send: true,
			Sender: func(context.Context, flow.Request) (inspect.Sent, error) { sent = true; return inspect.Sent{}, nil }})
		if err != session.ErrSelfDial || sent {
			t.Errorf("%s: %v, sent %v", c.Name, err, sent)
		}
	}
}

// sabotage is what is done to a pod after it was read, and the stage at which the report
// must say so.
type sabotage struct {
	what  string
	scene string
	cases string // the case's name
	do    func(*testing.T, *rig)
	stage flow.Stage
	word  confirm.Word
}

func killEnvoy(t *testing.T, r *rig) {
	t.Helper()
	p, err := os.FindProcess(r.lab.EnvoyPID())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := r.lab.InPod("sh", "-c", "while ss -tln | grep -qE ':(15001|15006|8080) '; do :; done"); err != nil {
		t.Fatal(err)
	}
}

// deleteRule deletes a rule as `iptables -D` names it.
func deleteRule(args string) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		t.Helper()
		if _, err := r.lab.InPod("iptables-nft", append([]string{"-t", "nat"}, strings.Fields(args)...)...); err != nil {
			t.Fatal(err)
		}
	}
}

// Each scene has a twin that was tampered with, and the report says so at exactly the step
// that it concerns.
func TestSabotage(t *testing.T) {
	for _, s := range []sabotage{
		{"rule removed", "mesh", "svc", deleteRule("-D OUTPUT 2"), flow.Netfilter, confirm.Contradicted},
		{"rule removed", "allow-all", "svc-80", deleteRule("-D OUTPUT 2"), flow.Netfilter, confirm.Contradicted},
		{"rule removed", "block-all", "svc-80", deleteRule("-D OUTPUT 2"), flow.Netfilter, confirm.Contradicted},
		{"Envoy killed", "mesh", "svc", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "inbound", "get-80", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "both", "in-80", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "header-match", "v2", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "weights", "draw-0", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "tcp-ratelimit", "first", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "http-ratelimit", "aa-1", killEnvoy, flow.Listener, confirm.Contradicted},
		{"Envoy killed", "auth", "good", killEnvoy, flow.Listener, confirm.Contradicted},
	} {
		t.Run(s.scene+"/"+s.what, func(t *testing.T) {
			r := raise(t, lab.Options{Scene: s.scene}, local.Options{})
			c := caseOf(t, r, s.cases)
			s.do(t, r)
			rep := r.confirm(t, c.Request)
			at(t, rep, s.stage, s.word)
		})
	}
}

// at checks that the word stands at the stage, and that nothing before it is contradicted.
func at(t *testing.T, rep confirm.Report, stage flow.Stage, word confirm.Word) {
	t.Helper()
	for _, st := range rep.Steps {
		if st.Word == word {
			if st.Stage != stage {
				t.Errorf("%v at %v, want it at %v\n%s", word, st.Stage, stage, render.ReportText(rep))
			}
			return
		}
		if st.Word == confirm.Contradicted {
			t.Errorf("contradicted at %v, want %v at %v\n%s", st.Stage, word, stage, render.ReportText(rep))
			return
		}
	}
	t.Errorf("no step is %v\n%s", word, render.ReportText(rep))
}

func caseOf(t *testing.T, r *rig, name string) scenes.Case {
	t.Helper()
	for _, c := range r.lab.Scene.Cases {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("scene %s has no case %q", r.lab.Scene.Name, name)
	return scenes.Case{}
}

// A pod whose Envoy was given another configuration than the one that was read: the cluster
// has another endpoint, or the routes are swapped.
func TestOtherConfiguration(t *testing.T) {
	for _, s := range []struct {
		what, scene, cases string
		stage              flow.Stage
	}{
		{"another endpoint", "mesh", "svc", flow.Endpoint},
		{"clusters swapped", "header-match", "v2", flow.Cluster},
	} {
		t.Run(s.scene+"/"+s.what, func(t *testing.T) {
			before := raise(t, lab.Options{Scene: s.scene}, local.Options{})
			reading := before.reading
			c := caseOf(t, before, s.cases)
			after := raise(t, lab.Options{Scene: s.scene, Config: tampered(t, s.scene)}, local.Options{})
			after.reading = reading
			rep := after.confirm(t, c.Request)
			if rep.Word != confirm.Contradicted {
				t.Errorf("%v, want contradicted\n%s", rep.Word, render.ReportText(rep))
			}
			at(t, rep, s.stage, confirm.Contradicted)
		})
	}
}

func tampered(t *testing.T, scene string) []byte {
	t.Helper()
	s, err := scenes.Named(scene)
	if err != nil {
		t.Fatal(err)
	}
	conf := string(s.Envoy)
	switch scene {
	case "header-match":
		conf = strings.NewReplacer("cluster: app_cluster_v2", "cluster: app_cluster_v1", "cluster: app_cluster_v1", "cluster: app_cluster_v2").Replace(conf)
	default:
		conf = strings.Replace(conf, "address: 10.107.42.16", "address: 10.107.42.21", -1)
		conf = strings.Replace(conf, "address: 10.107.42.21", "address: 10.107.42.16", 1) // the listener keeps its own
	}
	if conf == string(s.Envoy) {
		t.Fatal("nothing was changed")
	}
	return []byte(conf)
}

// A ring that is too small for the traffic makes what was not seen unverifiable.
func TestLossIsUnverifiable(t *testing.T) {
	r := raise(t, lab.Options{Scene: "mesh"}, local.Options{Ring: capture.RingOptions{BlockSize: 4096, Blocks: 1}})
	c := caseOf(t, r, "svc")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	flood := func(ctx context.Context, req flow.Request) (inspect.Sent, error) {
		for range 200 {
			if _, err := r.lab.Send(ctx, req); err != nil {
				return inspect.Sent{}, err
			}
		}
		a, err := r.lab.Send(ctx, req)
		return inspect.Sent{Symptom: a.Symptom, Local: a.Local}, err
	}
	_, rep, err := session.Confirm(ctx, r.pod, r.reading, c.Request, session.ConfirmOptions{Send: true, Sender: flood})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Loss.Dropped == 0 {
		t.Fatal("the ring lost nothing: the test shows nothing")
	}
	if rep.Word == confirm.Contradicted {
		t.Errorf("loss contradicts nothing\n%s", render.ReportText(rep))
	}
	for _, st := range rep.Steps {
		if st.Word == confirm.NotObserved {
			t.Errorf("%v %s is not observed, though packets were lost", st.Stage, st.Subject)
		}
	}
}

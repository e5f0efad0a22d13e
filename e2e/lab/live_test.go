package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/kernel"
	"github.com/meshtop/meshtop/e2e/lab/lab"
	"github.com/meshtop/meshtop/e2e/lab/scenes"
	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/local"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/render"
)

// random are the scenes where a draw, a bucket or a script decides: what was seen must be
// among the trace's variants.
var random = []string{"weights", "tcp-ratelimit", "http-ratelimit", "auth"}

// Real requests in every scene, on both back ends where the scene has rules: what the client,
// Envoy's access log and the kernel saw is what the trace of a live read says.
func TestLive(t *testing.T) {
	sent := 0
	for _, name := range scenes.Names() {
		s, err := scenes.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		backends := []lab.Backend{lab.NFT}
		if len(s.Rules) > 0 {
			backends = append(backends, lab.Legacy)
		}
		for _, b := range backends {
			t.Run(name+"/"+string(b), func(t *testing.T) { sent += live(t, name, b) })
		}
	}
	t.Logf("%d requests sent, seed %d", sent, *seed)
	if sent < 60 {
		t.Errorf("%d requests, want 60 or more", sent)
	}
}

// live brings a scene up, reads it once, and sends each of its requests.
func live(t *testing.T, name string, b lab.Backend) int {
	l := lab.New(t, lab.Options{Scene: name, Backend: b})
	pod, err := local.Named(l.Pod(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	read, err := pod.Read(context.Background(), inspect.Want{})
	if err != nil || len(read.Gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, read.Gaps)
	}
	snap, err := rules.ParseSnapshot(read.Files, read.Gaps)
	if err != nil || len(snap.Gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, snap.Gaps)
	}
	ear, err := kernel.Listen(l.PodSpace(), kernel.Files(read.Files))
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	o := &observer{l: l, ear: ear, ports: map[uint16]bool{}}
	for _, k := range snap.Host.Sockets {
		if k.State == "LISTEN" && k.Process == "envoy" && k.Local.Port() != 9901 && k.Local.Port() != 15000 {
			o.ports[k.Local.Port()] = true
		}
	}
	d := draw{rand.New(rand.NewPCG(*seed, 0))}
	all := append(slices.Clone(l.Scene.Cases), d.cases(*amount)...)
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			saw, err := o.observe(context.Background(), c.Request)
			if err != nil {
				t.Fatalf("%v\nsaw %+v", err, saw.answer)
			}
			compare(t, rules.Trace(snap, c.Request), saw, name)
		})
	}
	return len(all)
}

// compare reports each way in which a trace and what was seen differ.
func compare(t *testing.T, tr flow.Trace, saw seen, scene string) {
	t.Helper()
	variants := tr.Variants
	if len(variants) == 0 {
		variants = []flow.Variant{{Legs: tr.Legs, Verdict: tr.Verdict, Outcome: tr.Outcome, Caller: tr.Caller}}
	} else if !slices.Contains(random, scene) {
		t.Errorf("the trace has %d variants where only one way is possible", len(variants))
	}
	var all []string
	for i, v := range variants {
		d := differences(v, saw)
		if v.Verdict == flow.Unknown && scene == scripted {
			d = beforeScript(v, saw)
		}
		if len(d) == 0 {
			return
		}
		all = append(all, fmt.Sprintf("variant %d: %s", i, strings.Join(d, "; ")))
	}
	line, _ := json.Marshal(saw.line)
	t.Errorf("%s\nclient %+v %s\npackets %v\nlog %s\n%s", strings.Join(all, "\n"), saw.answer.Symptom, saw.answer.Err, saw.packets[:min(3, len(saw.packets))], line, render.Text(tr, render.TextOptions{}))
}

// scripted is the scene in which a Lua script, which meshtop does not run, may answer: one of
// its variants is unknown.
const scripted = "auth"

// beforeScript lists where what was decided before the script is not what was seen. It is
// only for what the script answered itself: a request that it let pass is no unknown.
func beforeScript(v flow.Variant, saw seen) []string {
	if saw.line.Text("response_code_details") != "lua_response" {
		return []string{"verdict: trace unknown, and no script answered"}
	}
	known := v
	known.Verdict, known.Caller = saw.verdict, saw.caller
	known.Outcome.Cluster, known.Outcome.Endpoint = saw.outcome.Cluster, saw.outcome.Endpoint
	if known.Outcome.VirtualHost == "" {
		known.Outcome.VirtualHost = saw.outcome.VirtualHost
	}
	return differences(known, saw)
}

// differences lists where one variant is not what was seen.
func differences(v flow.Variant, saw seen) []string {
	var d []string
	differ := func(what string, got, want any) {
		if got != want {
			d = append(d, fmt.Sprintf("%s: trace %v, seen %v", what, got, want))
		}
	}
	differ("verdict", v.Verdict, saw.verdict)
	differ("listener", v.Outcome.Listener, saw.outcome.Listener)
	differ("filter chain", v.Outcome.FilterChain, saw.outcome.FilterChain)
	differ("virtual host", v.Outcome.VirtualHost, saw.outcome.VirtualHost)
	differ("cluster", v.Outcome.Cluster, saw.outcome.Cluster)
	differ("endpoint", v.Outcome.Endpoint, saw.outcome.Endpoint)
	differ("flags", v.Caller.Flags, saw.caller.Flags)
	if !sameEnd(v.Caller.TCP, saw.caller.TCP) {
		differ("tcp", v.Caller.TCP, saw.caller.TCP)
	}
	// What the endpoint itself answers is its own affair.
	if !saw.byServer() || saw.caller.Code == 200 {
		differ("code", v.Caller.Code, saw.caller.Code)
	}
	return append(d, hits(v.Legs, saw.packets)...)
}

// sameEnd says whether the caller's end is as foreseen; where timing decides, both will do.
func sameEnd(trace, saw flow.TCPEnd) bool {
	if trace == flow.TCPResetOrClosed {
		return saw == flow.TCPReset || saw == flow.TCPClosed
	}
	return trace == saw
}

// hits compares the rules of each leg with those that the kernel ran for its first packet.
func hits(legs []flow.Leg, all []packet) []string {
	var d []string
	rest := all
	for i, leg := range legs {
		n := slices.IndexFunc(rest, func(p packet) bool { return i == 0 || p.dst == leg.From.Dst })
		if n < 0 {
			d = append(d, fmt.Sprintf("leg %d: no packet to %s was seen", i+1, leg.From.Dst))
			continue
		}
		p := rest[n]
		rest = append(append([]packet(nil), rest[:n]...), rest[n+1:]...)
		if p.dst != leg.From.Dst {
			d = append(d, fmt.Sprintf("leg %d: the trace sends to %s, the packet went to %s", i+1, leg.From.Dst, p.dst))
		}
		if p.to != leg.To.Dst && p.to.IsValid() {
			d = append(d, fmt.Sprintf("leg %d: the trace ends at %s, the packet at %s", i+1, leg.To.Dst, p.to))
		}
		var want []string
		for _, s := range leg.Steps {
			if s.Stage == flow.Netfilter && !strings.HasSuffix(s.Subject, " policy") {
				want = append(want, s.Subject)
			}
		}
		if !slices.Equal(want, p.hits) {
			d = append(d, fmt.Sprintf("leg %d: rules: trace %q, kernel %q", i+1, want, p.hits))
		}
	}
	return d
}

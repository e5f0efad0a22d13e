package tui

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/session"
	"github.com/meshtop/meshtop/rules"
	"github.com/meshtop/meshtop/rules/flow"
)

func typeName(v any) string { return reflect.TypeOf(v).Name() }

func stringOf(v any) string { return fmt.Sprint(v) }

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// losers are the candidates of a hand-made step.
type losers []flow.Explained

func (l losers) Explain(m flow.Miss) flow.Explained { return l[m.Index] }

func (l losers) misses(near ...int32) []flow.Miss {
	var out []flow.Miss
	for i := range l {
		m := flow.Miss{Index: int32(i)}
		for _, n := range near {
			m.Near = m.Near || n == m.Index
		}
		out = append(out, m)
	}
	return out
}

// meshTrace is the path of the mesh scene, made by hand.
func meshTrace() flow.Trace {
	app := flow.Conn{Src: addr("10.244.1.7:0"), Dst: addr("10.107.42.16:80"), Proto: flow.TCP, Out: "eth0"}
	own := flow.Conn{Src: addr("10.244.1.7:0"), Dst: addr("10.107.42.16:80"), Proto: flow.TCP, UID: 1337, GID: 1337, Out: "eth0"}
	to := app
	to.Dst = addr("127.0.0.1:15001")
	t := flow.Trace{Verdict: flow.Delivered, Caller: flow.Symptom{Code: 200, TCP: flow.TCPOK},
		Outcome: flow.Outcome{Listener: "10.107.42.16_80", RouteConfig: "outbound_myngxsvc_route", VirtualHost: "myngxsvc_host", Cluster: "outbound|myngxsvc", Endpoint: "10.107.42.16:80"}}
	t.Legs = []flow.Leg{
		{From: app, To: to, Owner: flow.OwnerApp, Steps: []flow.Step{
			{Stage: flow.Socket, Subject: "uid 0", Verdict: flow.Continue, Reason: flow.Because(flow.WhyAppSocket, "10.107.42.16:80", "0")},
			outputStep(),
			envoyStep(flow.Listener, "virtualOutbound", "/configs/2/dynamic_listeners/0"),
			envoyStep(flow.Handoff, "10.107.42.16_80", "/configs/2/dynamic_listeners/1"),
			envoyStep(flow.FilterChain, "#0 of 1", "/configs/2/dynamic_listeners/1/filter_chains/0"),
			envoyStep(flow.RouteConfig, "outbound_myngxsvc_route", ""),
			envoyStep(flow.VirtualHost, "myngxsvc_host", ""),
			envoyStep(flow.Route, "#0", ""),
			{Stage: flow.HTTPFilter, Subject: "envoy.filters.http.lua", Verdict: flow.Continue, Reason: flow.Because(flow.WhyNotModelled, "lua"),
				Assumed: []flow.Assumption{{Reason: flow.Because(flow.WhyNotModelled, "lua"), Flag: `--pick "lua=continue"`}}},
			envoyStep(flow.Cluster, "outbound|myngxsvc", ""),
			envoyStep(flow.Endpoint, "10.107.42.16:80", ""),
		}},
		{From: own, To: own, Owner: flow.OwnerProxy, Steps: []flow.Step{
			{Stage: flow.Socket, Subject: "proxy uid 1337", Verdict: flow.Continue, Reason: flow.Because(flow.WhyAppSocket, "10.107.42.16:80", "1337")},
			{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 1", Verdict: flow.Continue,
				Tests:    []flow.Test{{Text: "-m owner --uid-owner 1337", Answer: flow.Yes}},
				Evidence: []flow.Evidence{{Source: "iptables-save", Ref: "ip nat OUTPUT 1", Text: "[118:7080] -A OUTPUT -m owner --uid-owner 1337 -j RETURN"}}},
			{Stage: flow.Wire, Subject: "eth0", Verdict: flow.Delivered, Reason: flow.Because(flow.WhyToWire, "eth0", "10.107.42.16:80")},
		}},
	}
	return t
}

func outputStep() flow.Step {
	l := losers{{Ref: "ip nat OUTPUT 1", Text: "[118:7080] -A OUTPUT -m owner --uid-owner 1337 -j RETURN",
		Tests: []flow.Test{{Text: "--uid-owner 1337", Answer: flow.No, Reason: flow.Because(flow.WhyAppSocket, "10.107.42.16:80", "0")}}}}
	return flow.Step{Stage: flow.Netfilter, Subject: "ip nat OUTPUT 2", Verdict: flow.Continue, Decision: true, Passed: l.misses(0), PassedTotal: 1, Explain: l,
		Tests: []flow.Test{{Text: "! -d 127.0.0.1/32", Answer: flow.Yes}, {Text: "-p tcp", Answer: flow.Yes}},
		Evidence: []flow.Evidence{{Source: "iptables-save", Ref: "ip nat OUTPUT 2",
			Text: "[42:2520] -A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001"}}}
}

func envoyStep(stage flow.Stage, subject, ref string) flow.Step {
	st := flow.Step{Stage: stage, Subject: subject, Verdict: flow.Continue}
	if ref != "" {
		st.Evidence = []flow.Evidence{{Source: "config_dump.json", Ref: ref, Text: `{"name":"` + subject + `","use_original_dst":true}`}}
	}
	return st
}

// meshFiles are the parts of the hand-made pod.
func meshFiles() map[string][]byte {
	return map[string][]byte{
		"iptables-save": []byte("*nat\n:OUTPUT ACCEPT [0:0]\n[118:7080] -A OUTPUT -m owner --uid-owner 1337 -j RETURN\n" +
			"[42:2520] -A OUTPUT ! -d 127.0.0.1/32 -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"),
		"config_dump.json": []byte(`{"configs":[{},{},{"dynamic_listeners":[{"name":"virtualOutbound","use_original_dst":true},` +
			`{"name":"10.107.42.16_80","filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"stat_prefix":"x"}}]}]}]}]}`),
	}
}

func meshReading() Reading {
	return Reading{Live: true, Reading: session.Reading{Taken: noon().Add(-8e9), Snapshot: &rules.Snapshot{Files: meshFiles()},
		Calls: []inspect.Call{{What: "iptables-save -c", Start: noon(), Took: 3e6, Bytes: 412}}}}
}

func meshRequest() *flow.Request {
	return &flow.Request{Dst: addr("10.107.42.16:80"), Proto: flow.TCP, HTTP: &flow.HTTP{Method: "GET", Authority: "10.107.42.16", Path: "/"}}
}

func meshOptions() Options {
	return Options{Target: "netns outpod", Command: "netns outpod", Request: meshRequest(), Source: source(meshReading(), meshTrace())}
}

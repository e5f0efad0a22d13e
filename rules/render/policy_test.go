package render

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

func somePolicy() flow.Policy {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	since := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	return flow.Policy{State: flow.StateApplied, Expires: since.Add(10 * time.Minute), Open: flow.OpenCount{Before: 2, Left: 2}, Refused: 3,
		Proof: []flow.Proof{{What: "probe 192.0.2.1:9 as uid 65534", Result: "refused", Holds: true, Took: 1100 * time.Microsecond}, {What: "probe [2001:db8::1]:9 as uid 65534", Result: "no route"}},
		Change: flow.Change{Kind: flow.BlockAll, Driver: flow.Kernel, TTL: 10 * time.Minute, By: "dev@corp", Reason: "INC-4711\x1b[31m", Since: since,
			Except: []flow.Hole{{Prefix: netip.MustParsePrefix("10.96.0.10/32"), Port: 53}}, Edits: []string{"create table inet meshtop"}, Undo: []string{"delete table inet meshtop"},
			Covers: []flow.Reach{{What: "tcp4"}, {What: "tcp6"}}, NotCovered: []flow.Reach{{What: "udp"}, {What: "proxy", Whose: "uid 1337"}},
			Effects: []flow.Effect{
				{Dst: at("10.107.42.16:80"), Proto: flow.TCP, UID: 101, Live: true, Before: flow.Delivered, After: flow.Refused},
				{Dst: at("203.0.113.7:8080"), Proto: flow.TCP, UID: 101, Port: true, Host: "a.example", Before: flow.Delivered, After: flow.Refused},
				{Dst: at("203.0.113.7:8080"), Proto: flow.TCP, UID: 101, Port: true, Host: "b.example", Before: flow.Refused, After: flow.Refused},
				{Dst: at("203.0.113.7:28080"), Proto: flow.TCP, UID: 101, Else: true, Before: flow.Refused, After: flow.Refused},
			},
			Kept: []flow.Kept{{Conn: flow.Conn{Src: at("10.244.1.7:41822"), Dst: at("10.107.42.16:80"), UID: 101}, Known: true, Process: "nginx", Proxied: true}, {Conn: flow.Conn{Src: at("10.244.1.7:5"), Dst: at("10.0.0.9:1")}}}}}
}

// The fields that programs read, by the names of the contract.
func TestPolicyJSON(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal(PolicyJSON(somePolicy()), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"schema": `"meshtop.policy/v1"`, "state": `"applied"`, "policy": `"block-all"`, "driver": `"kernel"`, "since": `"2026-11-23T03:00:00Z"`, "expires": `"2026-11-23T03:10:00Z"`,
		"by": `"dev@corp"`, "edits": `["create table inet meshtop"]`, "undo": `["delete table inet meshtop"]`, "except": `["10.96.0.10:53"]`,
		"covers": `["tcp4","tcp6"]`, "not_covered": `["udp","proxy uid 1337"]`, "open": `{"before":2,"closed":0,"left":2}`, "permanent": `false`,
		"proof": `[{"holds":true,"ms":1.1,"result":"refused","what":"probe 192.0.2.1:9 as uid 65534"},{"holds":false,"ms":0,"result":"no route","what":"probe [2001:db8::1]:9 as uid 65534"}]`,
	} {
		if raw, _ := json.Marshal(got[key]); string(raw) != want {
			t.Errorf("%s: %s, want %s", key, raw, want)
		}
	}
	var none map[string]any
	if err := json.Unmarshal(PolicyJSON(flow.Policy{State: flow.StateNone}), &none); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"edits", "undo", "except", "covers", "not_covered", "proof", "effects", "kept"} {
		if list, ok := none[key].([]any); !ok || len(list) != 0 {
			t.Errorf("%s of no policy is %v, want an empty list", key, none[key])
		}
	}
	if none["state"] != "none" || none["since"] != nil || none["expires"] != nil {
		t.Errorf("%v", none)
	}
}

// The text names the state first and what a reader must not miss; hosts of one port are one
// destination; foreign text is clean.
func TestPolicyText(t *testing.T) {
	p := somePolicy()
	text := PolicyText(p, PolicyOptions{Target: "netns web", Now: p.Change.Since.Add(100 * time.Second)})
	for _, want := range []string{
		"policy    block-all of netns web, applied and proven\n", "in 8m20s: the kernel ends it by itself", "2 of 3 destinations are refused",
		"10.107.42.16:80, uid 101 has a connection there: delivered -> refused", "port 8080 of any other address as a.example: delivered -> refused",
		"anything else over IPv4: refused as before", "connections of uid 1337 (the proxy, and any process that becomes it)",
		"2 connections opened before, which go on as they are", "nginx, through the proxy", "whose it is was not read, direct",
		"refused after 1.1 ms", "no route (proves nothing)", `INC-4711\x1b[31m`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.ContainsRune(text, 0x1b) {
		t.Error("an escape")
	}
	for driver, who := range map[flow.Driver]string{flow.XDS: "the control plane ends it; if that is killed, Envoy keeps it until one is started again", flow.EnvoyRuntime: "only a meshtop that still runs ends it"} {
		p.Change.Driver = driver
		if text := strings.Join(strings.Fields(PolicyText(p, PolicyOptions{})), " "); !strings.Contains(text, who) {
			t.Errorf("%s: it is not said that %s:\n%s", driver, who, text)
		}
	}
	p.Change.Permanent, p.Change.TTL, p.Expires = true, 0, time.Time{}
	if text := PolicyText(p, PolicyOptions{}); !strings.Contains(text, "NEVER by itself: permanent") {
		t.Errorf("a permanent policy is not said to be one:\n%s", text)
	}
	p.State, p.Why = flow.StateUnknown, "no probe has a route"
	if text := PolicyText(p, PolicyOptions{}); !strings.Contains(text, "state unknown") || !strings.Contains(text, "no probe has a route") || strings.Contains(text, "proven\n") && strings.Contains(text, "applied and") {
		t.Errorf("an unproven policy:\n%s", text)
	}
}

// What is not known is not called carried out, a time that is over is no negative one, and none
// is said only of the drivers that were asked.
func TestPolicyTextOfWhatIsNotThere(t *testing.T) {
	over := somePolicy()
	over.State, over.Change.Driver = flow.StateUnknown, flow.EnvoyRuntime
	for _, c := range []struct {
		p         flow.Policy
		want, not string
	}{
		{flow.Policy{Why: "no answer"}, "policy    unknown of netns web: whether one is in force could not be read\nwhy       no answer\n", "carried out"},
		{flow.Policy{State: flow.StateNone}, "none of netns web: nothing of meshtop's kernel or runtime driver is there (xds: --driver xds)\n", "why"},
		{flow.Policy{State: flow.StateNone, Change: flow.Change{Driver: flow.XDS}}, "none of netns web: nothing of meshtop's xds driver is there\n", "kernel"},
		{over, ", which is over: only a meshtop that still runs ends it", "in -"},
	} {
		text := PolicyText(c.p, PolicyOptions{Target: "netns web", Now: over.Expires.Add(time.Second)})
		if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(c.want), " ")) || strings.Contains(text, c.not) {
			t.Errorf("no %q, or %q, in\n%s", c.want, c.not, text)
		}
	}
}

// Every term that a plan uses has its words.
func TestReachWords(t *testing.T) {
	for _, what := range []string{"tcp4", "tcp6", "tcp", "udp", "dns", "udp answers", "protocols", "packet sockets", "forwarded", "handoff", "http", "proxy", "loopback", "own address", "established", "except", "mixed", "excluded", "node", "plugin", "pods"} {
		if s := ReachWord(flow.Reach{What: what, Whose: "x\x1b"}); s == "" || strings.ContainsRune(s, 0x1b) || s == what+" x\\x1b" {
			t.Errorf("%s: %q", what, s)
		}
	}
}

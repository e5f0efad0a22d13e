package envoy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// What a filter's configuration by ECDS says and cannot be told was read: the trace ends at
// the filter with the word and its place, and needs nothing.
func TestNewWordByECDS(t *testing.T) {
	ecds := `{'@type': 'type.googleapis.com/envoy.admin.v3.EcdsConfigDump', 'ecds_filters': [{'ecds_filter': {'@type': 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig', 'name': 'mine',
		'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.%s', %s}}}]}`
	mine := `{'name': 'mine', 'config_discovery': {'type_urls': ['x']}}`
	get := sent("GET", "/", "a")
	web := strings.ReplaceAll(withFilters(oneHost(answering("r", `"prefix":"/"`)), strings.ReplaceAll(mine, "'", `"`)), `"`, "'")
	for stage, c := range map[flow.Stage]struct{ chains, kind, odd string }{
		flow.ListenerFilter: {lfilters(mine) + ", " + chainList(chainOf("f", "", tcp("c"))), "listener.proxy_protocol.v3.ProxyProtocol", "'rules': '[redacted]'"},
		flow.NetworkFilter:  {chainList(chainOf("f", "", mine)), "network.tcp_proxy.v3.TcpProxy", "'weighted_clusters': '[redacted]'"},
		flow.HTTPFilter: {chainList(chainOf("f", "", `{'name': 'h', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', `+web+`}}`)),
			"http.fault.v3.HTTPFault", "'abort': {'http_status': 'soon'}"},
	} {
		cfg := mesh{listeners: lis("a", "0.0.0.0", 1, c.chains), clusters: static("c", "10.1.0.1:80"), more: "," + fmt.Sprintf(ecds, c.kind, c.odd)}.load(t)
		r := cfg.Accept(Conn{Accept: addr("10.5.5.5:1"), Src: addr("10.9.9.9:1"), Proto: flow.TCP}, &flow.Request{HTTP: &get}, new(flow.Choices))
		end := r.Steps[len(r.Steps)-1]
		if end.Stage != stage || end.Subject != "mine" || end.Reason.Kind != flow.WhyWrongKind || !strings.Contains(end.Reason.Args[0], "/ecds_filters/0/") || len(r.Needs) > 0 || len(end.Evidence) == 0 {
			t.Errorf("%s: needs %v, %+v", stage, r.Needs, end)
		}
	}
}

// A word that a newer Envoy may write, a number out of its bounds and a oneof without or with
// too many members are no defaults: where a request comes to the object that holds one, it is
// unknown, and elsewhere nothing changes.
func TestNewWords(t *testing.T) {
	m := oneOfAll()
	dump := string(m.dump())
	base, told := answers(map[string][]byte{dumpPart: []byte(dump)})
	if told {
		t.Fatal(base)
	}
	// The answers are to /exact with its header, /exact without, /p1, /r1, / at another host,
	// and TLS: a letter for each, u where it is unknown, d where it depends, = where it is as before.
	for name, c := range map[string]struct{ old, new, want string }{
		"source type":           {`"transport_protocol": "tls"`, `"source_type": "SHINY", "transport_protocol": "tls"`, "uuuuuu"},
		"codec":                 {`"stat_prefix": "h"`, `"codec_type": "HTTP4"`, "uuuuu="},
		"slashes":               {`"stat_prefix": "h"`, `"path_with_escaped_slashes_action": "SHINY"`, "uuuuu="},
		"a number of an enum":   {`"stat_prefix": "h"`, `"codec_type": 9`, "uuuuu="},
		"require TLS":           {`"domains": ["a.x", "*.y"]`, `"domains": ["a.x", "*.y"], "require_tls": "SHINY"`, "uuuu=="},
		"response code":         {`"FOUND"`, `"SHINY"`, "==u==="},
		"header kind":           {`"string_match": {"exact": "b"}`, `"shiny_match": {"exact": "b"}`, "dd===="},
		"string kind":           {`{"exact": "b"}`, `{"shiny": "b"}`, "uuuu=="},
		"path kind":             {`{"path": "/exact", `, `{"shiny_path": "/exact", `, "uuuu=="},
		"later path kind":       {`{"safe_regex": {"regex": "/r[0-9]"}}`, `{"shiny_path": "/r"}`, "=u=u=="},
		"two path kinds":        {`{"path": "/exact", `, `{"path": "/exact", "prefix": "/", `, "uuuu=="},
		"no action":             {`"redirect": {"host_redirect": "other", "response_code": "FOUND"}`, `"shiny_action": {}`, "==u==="},
		"status":                {`"status": 418`, `"status": 4180`, "===u=="},
		"weight":                {`"weight": 3`, `"weight": -3`, "====u="},
		"duration":              {`"timeout": "3s"`, `"timeout": "soon"`, "u====="},
		"cluster type":          {`"type": "EDS"`, `"type": "SHINY"`, "=====u"},
		"lb policy":             {`"type": "EDS"`, `"type": "EDS", "lb_policy": "SHINY"`, "=====u"},
		"port":                  {`{"address": "10.2.0.1", "port_value": 80}`, `{"address": "10.2.0.1", "port_value": 8080.5}`, "=====u"},
		"port too large":        {`{"address": "10.2.0.1", "port_value": 80}`, `{"address": "10.2.0.1", "port_value": 65616}`, "=====u"},
		"prefix":                {`"prefix_len": 8}], "transport_protocol": "tls"`, `"prefix_len": 129}], "transport_protocol": "tls"`, "uuuuuu"},
		"a word that is silent": {`"stat_prefix": "h"`, `"stat_prefix": "h", "tracing": {"operation_name": "SHINY"}`, "======"},
	} {
		if strings.Count(dump, c.old) == 0 {
			t.Fatalf("%s: %q is not in the dump", name, c.old)
		}
		got, _ := answers(map[string][]byte{dumpPart: []byte(strings.Replace(dump, c.old, c.new, 1))})
		mark := ""
		was := strings.Split(strings.TrimSpace(base), "\n")
		for i, line := range strings.Split(strings.TrimSpace(got), "\n") {
			switch {
			case strings.HasPrefix(line, "unknown"):
				mark += "u"
			case strings.Contains(line, " | "):
				mark += "d"
			case line == was[i]:
				mark += "="
			default:
				mark += "!"
			}
		}
		if mark != c.want {
			t.Errorf("%s: %s, want %s\n%s", name, mark, c.want, got)
		}
	}
}

// The step says where the word stands, and that it may be a newer Envoy's.
func TestNewWordSays(t *testing.T) {
	cfg := httpDump(t, oneHost(answering("r", `"prefix":"/"`))+`,"path_with_escaped_slashes_action":"SHINY"`)
	rs, _ := variants(cfg, sent("GET", "/", "a"), nil)
	s := rs[0].Steps[len(rs[0].Steps)-1]
	if s.Reason.Kind != flow.WhyNewWord || !strings.HasSuffix(s.Reason.Args[0], `/path_with_escaped_slashes_action is "SHINY", a word that is not known`) {
		t.Errorf("%+v", s)
	}
}

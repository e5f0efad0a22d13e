package envoy

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func nets(cidr ...string) string {
	var out []string
	for _, c := range cidr {
		a, n, _ := strings.Cut(c, "/")
		out = append(out, `{'address_prefix': '`+a+`', 'prefix_len': `+n+`}`)
	}
	return "[" + strings.Join(out, ",") + "]"
}

// Section 4.2: one path, the most specific key of each level, and never back.
func TestChainMatch(t *testing.T) {
	const dflt = `, 'default_filter_chain': {'name': 'dflt', 'filters': []}`
	listen := func(port int, more, chains string) string {
		s := lis("l", "0.0.0.0", port, lfilters(proxyProto, originalDst, tlsInspector), `'filter_chains': [`+chains+`]`)
		return strings.Replace(s[:len(s)-1], "'l'", "'l"+string(rune('a'+port))+"'", 1) + more + "}"
	}
	ch := func(name, match string) string { return chainOf(name, match, tcp("c")) }
	c := mesh{
		listeners: listen(1, dflt, strings.Join([]string{
			ch("p80deep", `'destination_port': 80, 'prefix_ranges': `+nets("10.0.0.0/8")),
			ch("any", ""), ch("p0", `'destination_port': 0, 'transport_protocol': 'tls'`),
		}, ",")) + listen(2, "", strings.Join([]string{
			ch("n8", `'prefix_ranges': `+nets("10.0.0.0/8")), ch("n16tls", `'prefix_ranges': `+nets("10.1.0.0/16")+`, 'transport_protocol': 'tls'`),
			ch("host", `'prefix_ranges': `+nets("10.1.2.77/24")), ch("v6", `'prefix_ranges': `+nets("fd00::/8")),
		}, ",")) + listen(3, dflt, strings.Join([]string{
			ch("exact", `'server_names': ['a.example.com']`), ch("sub", `'server_names': ['*.example.com']`), ch("org", `'server_names': ['*.ORG']`),
			ch("subplain", `'server_names': ['x.com'], 'transport_protocol': 'raw_buffer'`), ch("com", `'server_names': ['*.com']`),
		}, ",")) + listen(4, dflt, strings.Join([]string{
			ch("h2", `'application_protocols': ['h2']`), ch("h1", `'application_protocols': ['http/1.1', 'http/1.0']`), ch("none", ""),
		}, ",")) + listen(5, dflt, strings.Join([]string{
			ch("local", `'source_type': 'SAME_IP_OR_LOOPBACK'`), ch("external", `'source_type': 'EXTERNAL', 'source_ports': [7, 8]`),
		}, ",")) + listen(6, dflt, strings.Join([]string{
			ch("src", `'source_prefix_ranges': `+nets("10.7.0.0/16")+`, 'direct_source_prefix_ranges': `+nets("10.9.0.0/16")), ch("direct", `'direct_source_prefix_ranges': `+nets("10.9.9.0/24")),
		}, ",")) + listen(7, dflt, strings.Join([]string{
			ch("zero", `'prefix_ranges': `+nets("0.0.0.0/0")), ch("unset", ""),
		}, ",")) + listen(10, dflt, strings.Join([]string{
			ch("tls", `'transport_protocol': 'tls'`), ch("quic", `'transport_protocol': 'quic'`),
		}, ",")) + listen(8, dflt, ch("odd", `'address_suffix': '1.2.3.4'`)) + listen(9, "", ""),
		clusters: static("c", "10.1.0.1:80"),
	}.load(t)
	at := func(port, orig string) Conn { return Conn{Accept: addr("10.5.5.5:" + port), Orig: addr(orig)} }
	from := func(c Conn, src string) Conn { c.Src = addr(src); return c }
	prox := func(src string) *flow.Request {
		return &flow.Request{Proxy: &flow.ProxyHeader{Src: addr(src), Dst: addr("10.5.5.5:6")}}
	}
	rows := []l4row{
		{"port and prefix", at("1", "10.0.0.1:80"), nil, "p80deep"},
		{"a port's dead end does not fall back to port 0", at("1", "11.0.0.1:80"), nil, "dflt"},
		{"another port", at("1", "11.0.0.1:81"), nil, "any"},
		{"destination_port 0 is unset", at("1", "11.0.0.1:81"), hello(""), "p0"},
		{"longest prefix", at("2", "10.1.2.3:1"), nil, "host"},
		{"a longer prefix's dead end", at("2", "10.1.3.3:1"), nil, "-"},
		{"shorter where the longer is not there", at("2", "10.2.0.1:1"), nil, "n8"},
		{"v6", at("2", "[fd01::1]:1"), nil, "v6"},
		{"exact name", at("3", ""), hello("A.example.com"), "exact"},
		{"wildcard", at("3", ""), hello("b.example.com"), "sub"},
		{"two labels", at("3", ""), hello("c.b.example.com"), "sub"},
		{"the bare domain is no subdomain, .com is", at("3", ""), hello("example.com"), "com"},
		{"names at load are lower-cased", at("3", ""), hello("a.org"), "org"},
		{"no name", at("3", ""), hello(""), "dflt"},
		{"name's dead end", at("3", ""), hello("x.com"), "dflt"},
		{"client's order of ALPN", at("4", ""), hello("", "foo", "http/1.1", "h2"), "h1"},
		{"the other order", at("4", ""), hello("", "h2", "http/1.1"), "h2"},
		{"none of them", at("4", ""), hello("", "foo"), "none"},
		{"127.0.0.1 is local", from(at("5", ""), "127.0.0.1:9"), nil, "local"},
		{"127.0.0.2 is not", from(at("5", ""), "127.0.0.2:7"), nil, "external"},
		{"own address is local", from(at("5", "10.4.4.4:80"), "10.4.4.4:9"), nil, "local"},
		{"external, port not listed", from(at("5", ""), "10.4.4.5:9"), nil, "dflt"},
		{"source after PROXY, direct source before", from(at("6", ""), "10.9.1.1:9"), prox("10.7.1.1:1"), "src"},
		{"direct source alone", from(at("6", ""), "10.9.9.1:9"), prox("10.8.1.1:1"), "direct"},
		{"direct dead end", from(at("6", ""), "10.9.1.1:9"), prox("10.8.1.1:1"), "dflt"},
		{"explicit /0 beside unset: either", at("7", ""), nil, "unset|zero"},
		{"neither of two, and none for all", at("10", ""), nil, "dflt"},
		{"a field that is not modelled", at("8", ""), nil, "-"},
		{"no chain at all", at("9", ""), nil, "-"},
	}
	for _, r := range rows {
		if r.req == nil {
			r.req = raw()
		}
		if r.req.Proxy == nil {
			r.req.Proxy = &flow.ProxyHeader{Src: r.conn.Src, Dst: r.conn.Orig}
			if !r.conn.Src.IsValid() {
				r.req.Proxy.Src = addr("10.9.9.9:1")
			}
			if !r.conn.Orig.IsValid() {
				r.req.Proxy.Dst = r.conn.Accept
			}
		}
		r.conn.Proto = flow.TCP
		if !r.conn.Src.IsValid() {
			r.conn.Src = addr("10.9.9.9:1")
		}
		var got []string
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			name := c.Accept(r.conn, r.req, ch).Outcome.FilterChain
			if name == "" {
				name = "-"
			}
			got = append(got, name)
		}
		if g := strings.Join(got, "|"); g != r.want {
			t.Errorf("%s: chain %s, want %s", r.name, g, r.want)
		}
	}
}

// The losers of a chain match: first criterion in Envoy's order, near misses, and chains
// that fit but are less specific.
func TestChainLosers(t *testing.T) {
	c := mesh{
		listeners: lis("l", "0.0.0.0", 1, lfilters(tlsInspector), chainList(
			chainOf("winner", `'server_names': ['a.com'], 'transport_protocol': 'tls'`, tcp("c")),
			chainOf("port", `'destination_port': 443`, tcp("c")),
			chainOf("both", `'destination_port': 443, 'server_names': ['b.com']`, tcp("c")),
			chainOf("fits", `'server_names': ['*.com', 'b.org'], 'transport_protocol': 'tls'`, tcp("c")),
			chainOf("all", "", tcp("c")))),
		clusters: static("c", "10.1.0.1:80"),
	}.load(t)
	var step flow.Step
	for _, s := range c.Accept(Conn{Accept: addr("10.5.5.5:1"), Src: addr("10.9.9.9:9"), Proto: flow.TCP}, hello("a.com"), new(flow.Choices)).Steps {
		if s.Stage == flow.FilterChain {
			step = s
		}
	}
	want := []struct {
		name string
		why  flow.Reason
		near bool
	}{
		{"port", flow.Because(flow.WhyChainField, "destination_port", "443", "1"), true},
		{"both", flow.Because(flow.WhyChainField, "destination_port", "443", "1"), false},
		{"fits", flow.Because(flow.WhyChainLessSpecific, "server_names", "a.com"), true},
		{"all", flow.Because(flow.WhyChainLessSpecific, "server_names", "a.com"), true},
	}
	if len(step.Passed) != len(want) || step.PassedTotal != len(want) {
		t.Fatalf("%d losers, want %d", len(step.Passed), len(want))
	}
	for i, w := range want {
		if e := step.Explain.Explain(step.Passed[i]); e.Text != w.name || e.Reason != w.why || step.Passed[i].Near != w.near {
			t.Errorf("loser %d: %s %v near %v, want %+v", i, e.Text, e.Reason, step.Passed[i].Near, w)
		}
	}
	if tests := step.Explain.Explain(step.Passed[1]).Tests; len(tests) != 2 || tests[0].Answer != flow.No || tests[1].Text != "server_names b.com" {
		t.Errorf("tests of the second loser: %+v", tests)
	}
}

// Section 4.4, 4.5: filter_chain_matcher.
func TestChainMatcher(t *testing.T) {
	in := func(kind string) string {
		return `'input': {'name': 'i', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.` + kind + `'}}`
	}
	act := func(name string) string {
		return `{'action': {'name': 'a', 'typed_config': {'@type': 'type.googleapis.com/google.protobuf.StringValue', 'value': '` + name + `'}}}`
	}
	single := func(input, match string) string {
		return `{'single_predicate': {` + in(input) + `, 'value_match': {` + match + `}}}`
	}
	list := func(entries ...string) string {
		var out []string
		for i := 0; i < len(entries); i += 2 {
			out = append(out, `{'predicate': `+entries[i]+`, 'on_match': `+entries[i+1]+`}`)
		}
		return `'matcher_list': {'matchers': [` + strings.Join(out, ",") + `]}`
	}
	custom := func(input, typ, body string) string {
		return `'matcher_tree': {` + in(input) + `, 'custom_match': {'name': 'm', 'typed_config': {'@type': 'type.googleapis.com/xds.type.matcher.v3.` + typ + `', ` + body + `}}}`
	}
	n, listeners := 0, ""
	var rows []l4row
	add := func(name, tree string, conn Conn, req *flow.Request, want string) {
		n++
		conn.Accept = addr("10.5.5.5:" + string(rune('0'+n%10)) + string(rune('0'+n/10)))
		listeners += lis("l", "0.0.0.0", int(conn.Accept.Port()), lfilters(originalDst, tlsInspector), chainList(chainOf("a", "", tcp("c")), chainOf("b", `'destination_port': 9`, tcp("c"))),
			`'default_filter_chain': {'name': 'dflt', 'filters': [`+tcp("c")+`]}`, `'filter_chain_matcher': {`+tree+`}`)
		rows = append(rows, l4row{name, conn, req, want})
	}
	is := func(dst string) Conn { return Conn{Orig: addr(dst)} }
	port80 := single("DestinationPortInput", `'exact': '80'`)
	add("list", list(port80, act("a")), is("10.0.0.1:80"), nil, "a")
	add("list, no match", list(port80, act("a")), is("10.0.0.1:81"), nil, "dflt")
	add("on_no_match", list(port80, act("a"))+`, 'on_no_match': `+act("b"), is("10.0.0.1:81"), nil, "b")
	add("unknown name closes", list(port80, act("nosuch")), is("10.0.0.1:80"), nil, "-")
	add("a nested miss goes on in the list", list(port80, `{'matcher': {`+list(single("ServerNameInput", `'exact': 'x'`), act("a"))+`}}`, port80, act("b")), is("10.0.0.1:80"), nil, "b")
	add("absent input is false, and not of it true", list(`{'not_matcher': `+single("ServerNameInput", `'prefix': ''`)+`}`, act("b")), is("10.0.0.1:80"), nil, "b")
	add("and, or", list(`{'and_matcher': {'predicate': [`+port80+`, {'or_matcher': {'predicate': [`+single("TransportProtocolInput", `'exact': 'tls'`)+`, `+single("SourceTypeInput", `'exact': 'local'`)+`]}}]}}`, act("a")), is("10.0.0.1:80"), hello(""), "a")
	add("ALPN list as text", list(single("ApplicationProtocolInput", `'exact': '\u0027h2\u0027,\u0027http/1.1\u0027'`), act("a")), is("10.0.0.1:80"), hello("", "h2", "http/1.1"), "a")
	add("exact map", `'matcher_tree': {`+in("DestinationPortInput")+`, 'exact_match_map': {'map': {'80': `+act("a")+`}}}`, is("10.0.0.1:80"), nil, "a")
	add("exact map: a miss inside goes to on_no_match", `'matcher_tree': {`+in("DestinationPortInput")+`, 'exact_match_map': {'map': {'80': {'matcher': {`+list(single("ServerNameInput", `'exact': 'x'`), act("a"))+`}}}}}, 'on_no_match': `+act("b"), is("10.0.0.1:80"), nil, "b")
	prefix := `'matcher_tree': {` + in("DestinationIPInput") + `, 'prefix_match_map': {'map': {'10.': ` + act("a") + `, '10.0': {'matcher': {` + list(single("ServerNameInput", `'exact': 'x'`), act("b")) + `}}}}}`
	add("prefix map: longest", prefix, is("10.0.0.1:80"), hello("x"), "b")
	add("prefix map: shorter after a miss", prefix, is("10.0.0.1:80"), nil, "a")
	ip := func(excl string) string {
		return custom("DestinationIPInput", "IPMatcher", `'range_matchers': [{'ranges': `+nets("10.0.0.0/8")+excl+`, 'on_match': `+act("a")+`}, {'ranges': `+nets("10.0.0.0/16")+`, 'on_match': {'matcher': {`+list(single("ServerNameInput", `'exact': 'x'`), act("b"))+`}}}]`)
	}
	add("IP: longest", ip(""), is("10.0.0.1:80"), hello("x"), "b")
	add("IP: next after a miss", ip(""), is("10.0.0.1:80"), nil, "a")
	add("IP: exclusive only as the first", ip(`, 'exclusive': true`), is("10.0.0.1:80"), nil, "dflt")
	add("IP: exclusive as the first", ip(`, 'exclusive': true`), is("10.9.0.1:80"), nil, "a")
	names := custom("ServerNameInput", "ServerNameMatcher", `'domain_matchers': [{'domains': ['a.example.com', '*.com'], 'on_match': `+act("a")+`}, {'domains': ['*.example.com', '*'], 'on_match': `+act("b")+`}]`)
	add("names: exact", names, is("10.0.0.1:80"), hello("a.example.com"), "a")
	add("names: longest suffix", names, is("10.0.0.1:80"), hello("b.example.com"), "b")
	add("names: shorter suffix", names, is("10.0.0.1:80"), hello("example.com"), "a")
	add("names: star", names, is("10.0.0.1:80"), hello("x.org"), "b")
	add("keep_matching kills Envoy", list(port80, `{'keep_matching': true, `+act("a")[1:]), is("10.0.0.1:80"), nil, "unknown")
	add("an input nobody knows", list(single("AcmeInput", `'exact': 'x'`), act("b")), is("10.0.0.1:80"), nil, "b|dflt")
	c := mesh{listeners: listeners, clusters: static("c", "10.1.0.1:80")}.load(t)
	for _, r := range rows {
		if r.req == nil {
			r.req = raw()
		}
		r.conn.Proto, r.conn.Src = flow.TCP, addr("10.9.9.9:1")
		var got []string
		for ch := new(flow.Choices); ch != nil; ch = ch.Next() {
			res := c.Accept(r.conn, r.req, ch)
			switch {
			case res.Outcome.FilterChain != "":
				got = append(got, res.Outcome.FilterChain)
			case res.Verdict == flow.Unknown:
				got = append(got, "unknown")
			default:
				got = append(got, "-")
			}
		}
		if g := strings.Join(got, "|"); g != r.want {
			t.Errorf("%s: %s, want %s", r.name, g, r.want)
		}
	}
}

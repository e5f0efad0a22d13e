package render

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Flags are the flags of the trace verb that make this request, each quoted for a shell.
// What a flag's default already says is left out.
func Flags(r flow.Request) []string {
	var out []string
	add := func(flag, value string) { out = append(out, flag+" "+shellWord(value)) }
	if r.Dir == flow.Inbound {
		out = append(out, "--inbound")
	}
	add("--to", r.Dst.String())
	if r.Src.Addr().IsValid() && !r.Src.Addr().IsUnspecified() {
		src := r.Src.String()
		if r.Src.Port() == 0 {
			src = r.Src.Addr().String()
		}
		add("--src", src)
	}
	for _, n := range []struct {
		flag  string
		value uint32
	}{{"--uid", r.UID}, {"--gid", r.GID}, {"--mark", r.Mark}} {
		if n.value != 0 {
			add(n.flag, strconv.FormatUint(uint64(n.value), 10))
		}
	}
	switch {
	case r.Proto != flow.TCP && r.Proto != 0:
		add("--proto", r.Proto.String())
	case r.HTTP == nil:
		out = append(out, "--raw")
	}
	if r.In != "" {
		add("--in", r.In)
	}
	out = append(out, tlsFlags(r.TLS)...)
	out = append(out, httpFlags(r)...)
	for _, k := range r.Pick.Keys() {
		add("--pick", k+"="+r.Pick[k])
	}
	return out
}

func tlsFlags(t *flow.TLS) []string {
	if t == nil {
		return nil
	}
	out := []string{"--tls"}
	if t.SNI != "" {
		out = append(out, "--sni "+shellWord(t.SNI))
	}
	if len(t.ALPN) > 0 {
		out = append(out, "--alpn "+shellWord(strings.Join(t.ALPN, ",")))
	}
	return out
}

func httpFlags(r flow.Request) []string {
	h := r.HTTP
	if h == nil {
		return nil
	}
	var out []string
	if h.Version == "2" && r.TLS == nil {
		out = append(out, "--alpn h2c")
	}
	if h.Method != "" && h.Method != "GET" {
		out = append(out, "-X "+shellWord(h.Method))
	}
	if h.Authority != "" && h.Authority != r.Dst.Addr().String() && h.Authority != r.Dst.String() {
		out = append(out, "--authority "+shellWord(h.Authority))
	}
	if h.Path != "" && h.Path != "/" {
		out = append(out, "--path "+shellWord(h.Path))
	}
	for _, kv := range h.Headers {
		out = append(out, "-H "+shellWord(kv[0]+": "+kv[1]))
	}
	return out
}

// Command is the whole command line that traces this request; target is how the pod is
// named after the verb.
func Command(target string, r flow.Request) string {
	return strings.Join(append([]string{"meshtop trace " + Clean(target)}, cleanAll(Flags(r))...), " ")
}

// Curl is the request as a curl command (curl(1)); empty where it is not HTTP.
func Curl(r flow.Request) string {
	h := r.HTTP
	if h == nil {
		return ""
	}
	scheme, port := "http", uint16(80)
	if r.TLS != nil {
		scheme, port = "https", 443
	}
	host := or(h.Authority, r.Dst.String())
	cmd := []string{"curl -sS"}
	if h.Method != "" && h.Method != "GET" {
		cmd = append(cmd, "-X "+shellWord(h.Method))
	}
	if h.Body != nil {
		cmd = append(cmd, "--data-binary @-") // what it holds is not shown
	}
	for _, kv := range h.Headers {
		if h.Body != nil && strings.EqualFold(kv[0], "content-length") {
			continue
		}
		cmd = append(cmd, "-H "+shellWord(kv[0]+": "+kv[1]))
	}
	if to := r.Dst.String(); host != to && (host != bracketed(r.Dst) || r.Dst.Port() != port) {
		cmd = append(cmd, "--connect-to "+shellWord("::"+bracketed(r.Dst)+":"+strconv.Itoa(int(r.Dst.Port()))))
	}
	return strings.Join(cleanAll(append(cmd, shellWord(scheme+"://"+host+or(h.Path, "/")))), " ")
}

// bracketed is the address as an authority has it (RFC 3986, 3.2.2).
func bracketed(a netip.AddrPort) string {
	if a.Addr().Is6() {
		return "[" + a.Addr().String() + "]"
	}
	return a.Addr().String()
}

func cleanAll(words []string) []string {
	for i := range words {
		words[i] = Clean(words[i])
	}
	return words
}

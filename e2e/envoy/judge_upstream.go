package envoy

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/meshtop/meshtop/rules/envoy"
	"github.com/meshtop/meshtop/rules/flow"
)

// upstream compares what the endpoint got: where, the request with every header, and the
// TLS session.
func (d *differ) upstream(o *Outcome, r *envoy.Result) {
	u := o.Upstream
	if u.elsewhere(o) {
		return
	}
	if u.Addr != "" {
		d.field("upstream address", u.Addr, r.Upstream.Addr.String())
		d.field("upstream TLS", u.TLS.text(), helloOf(r.Upstream.TLS))
	}
	h := r.Upstream.HTTP
	if h == nil || u.Method == "" { // bytes
		return
	}
	d.field("upstream method", u.Method, h.Method)
	d.field("upstream target", u.Target, h.Path)
	d.field("upstream host", u.Host, h.Authority)
	if u.Version != "" && h.Version != "" { // empty: the endpoint chooses
		d.field("upstream version", u.Version, h.Version)
	}
	d.headers(u, h)
}

// elsewhere: Envoy dialled itself, or another one, which led the request on: that is a pass of
// its own, which rules.Trace follows and TestJoined judges.
func (u *UpstreamSide) elsewhere(o *Outcome) bool {
	return u.Addr != "" && o.Host != "" && u.Addr != o.Host
}

// framing are headers that say how the message is cut, not what it says.
var framing = []string{"content-length", "transfer-encoding"}

// headers compares the values of each name, in order. A name whose value meshtop calls
// unknown may have any or none; every other one must be there, and no other one.
func (d *differ) headers(u *UpstreamSide, h *flow.HTTP) {
	was, said := byName(u.Headers), byName(h.Headers)
	var names []string
	for n := range was {
		names = append(names, n)
	}
	for n := range said {
		if _, ok := was[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	if u.Version == "2" { // the endpoint's reader joins cookies (RFC 9113, 8.2.3), and keeps an Expect to itself
		said["cookie"] = strings.ReplaceAll(said["cookie"], `" "`, "; ")
		if strings.Contains(said["expect"], "100-continue") {
			said["expect"] = was["expect"]
		}
	}
	for _, n := range names {
		switch {
		case slices.Contains(h.Unsure, n), slices.Contains(framing, n):
		case n == "x-request-id" && was[n] == `["*"]` && said[n] != "" && u.Version == "": // as it was recorded once
		default:
			d.must("upstream header "+n, was[n], said[n])
		}
	}
}

// byName are the values of each header; empty values are values, too.
func byName(headers [][2]string) map[string]string {
	lists := map[string][]string{}
	for _, h := range headers {
		lists[h[0]] = append(lists[h[0]], h[1])
	}
	out := map[string]string{}
	for n, l := range lists {
		out[n] = fmt.Sprintf("%q", l)
	}
	return out
}

// text is what a ClientHello says; empty: there was none. Envoy shares connections between
// requests whose names differ only in case, so case is not compared.
func (t *TLS) text() string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("sni %q, alpn %q, certificate %v", strings.ToLower(t.SNI), t.ALPN, t.Cert)
}

func helloOf(t *flow.TLS) string {
	if t == nil {
		return ""
	}
	return (&TLS{SNI: t.SNI, ALPN: t.ALPN, Cert: t.Cert == flow.Yes}).text()
}

// ends compares what both ends saw. What the client saw of an end that is none of Envoy's
// decisions is not compared, but that of an upgrade is.
func (d *differ) ends(o *Outcome, r *envoy.Result) {
	if d.open {
		return
	}
	if !beyond(o, r) || o.Client.Status == 101 {
		d.client(o, r)
	}
	if o.Upstream != nil {
		d.upstream(o, r)
	}
}

// client compares what the client saw with what meshtop says that it sees.
func (d *differ) client(o *Outcome, r *envoy.Result) {
	c := o.Client
	if c == nil {
		return
	}
	d.field("location", c.Location, r.Caller.Location)
	d.answer(c, r)
	switch answered := o.Upstream != nil || strings.HasPrefix(c.Body, echoMark); {
	case answered:
		d.must("verdict", flow.Continue.String(), r.Verdict.String())
		d.must("status", fmt.Sprint(c.Status), fmt.Sprint(r.Caller.Code))
	case c.Error == syscall.ECONNREFUSED.Error():
		d.must("listener", "", r.Outcome.Listener)
		d.must("client's end", "closed", closed(r))
	case c.Status > 0:
		d.must("status", fmt.Sprint(c.Status), fmt.Sprint(r.Caller.Code))
	case c.Closed, c.TLSError && !c.Timeout:
		d.must("client's end", "closed", closed(r))
	case c.Timeout:
		d.must("client waits", "true", fmt.Sprint(r.Verdict == flow.Dropped))
	}
}

// closed says whether a client's connection ends without a byte.
func closed(r *envoy.Result) string {
	switch r.Caller.TCP {
	case flow.TCPReset, flow.TCPClosed, flow.TCPResetOrClosed, flow.TCPRefused:
		return "closed"
	}
	return r.Caller.TCP.String()
}

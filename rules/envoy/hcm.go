package envoy

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// stream is one request on its way through the HTTP connection manager.
// (source/common/http/conn_manager_impl.cc: ActiveStream::decodeHeaders)
type stream struct {
	p        *pass
	m        *manager
	h        *headers
	http2    bool
	version  string // "1.1", "2", "1.0" or another text
	grpc     bool   // by content-type, at decoding
	dropped  []string
	upgrade  string // of an upgrade request, or CONNECT; its Upgrade header may be empty
	upgrades bool
	port     string // that a CONNECT's authority lost before matching

	from     originalAddress // the client as x-forwarded-for tells it
	internal bool

	table *httpTable
	vhost *vhost
	in    routeInput
	route *route // nil: none matched
	index int    // of the route in its virtual host; -1 for one of a matcher tree
	// action is what the chosen route does.
	action routeAction
	drawn  []drawn

	missed  []flow.Miss       // of the route choice that is going on
	assumed []flow.Assumption // likewise
	// stale says that a filter had the route chosen again, which nobody has asked for since.
	stale bool
	// marked says that a filter before may have set dynamic metadata of the request.
	marked  bool
	lb      balanced
	delayed bool        // a fault filter delays it
	last    *httpFilter // the router
	plan    retryPlan   // as it is once the request is forwarded
	said    [2]string   // timeout and retries as the route's step tells them
}

// http hands the connection to the HTTP connection manager: hcm is its typed config
// (envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager).
// It ends the pass.
func (p *pass) http(hcm tree.Node) {
	m := memo(p.cfg, hcm, func() *manager { return p.cfg.readManager(hcm) })
	s := &stream{p: p, m: m, h: new(headers), index: -1}
	if !p.odd(flow.NetworkFilter, m.name, hcm, m.unknown) || !s.decode(hcm) || !s.prepare() {
		return
	}
	if !s.findTable() {
		return
	}
	if !s.chooseRoute() {
		return
	}
	if p.over || !s.runFilters() {
		return
	}
	s.router()
}

// decode reads the request off the connection.
func (s *stream) decode(hcm tree.Node) bool {
	p := s.p
	r := p.req.HTTP
	switch {
	case p.req.TLS != nil && p.downTLS == nil:
		return s.codecAnswer(garbled(hcm), flow.Because(flow.WhyNoRequest, "TLS"))
	case r == nil:
		return s.noRequest(hcm, p.req.Payload)
	}
	h2, ok := s.codecKind(hcm, r)
	s.http2, s.version = h2, orDefault(r.Version, "1.1")
	if !ok {
		return s.codecAnswer(garbled(hcm), flow.Because(flow.WhyNoRequest, "HTTP/"+s.version))
	}
	s.h.list = make([]header, 0, len(r.Headers)+8)
	if err := s.codec(r); err != nil {
		return s.codecAnswer(err, flow.Because(flow.WhyEarlyAnswer, strconv.Itoa(err.code), err.details))
	}
	for _, name := range r.Unsure {
		s.h.setUnsure(name)
	}
	for _, name := range s.dropped {
		p.add(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyHeaderDropped, name)})
	}
	s.grpc = s.h.isGRPC()
	return true
}

// noRequest is a client that sends bytes of its own instead of a request.
func (s *stream) noRequest(hcm tree.Node, b []byte) bool {
	if b != nil && len(b) == 0 || bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n")) {
		s.p.add(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Verdict: flow.Dropped, Reason: flow.Because(flow.WhyClientSilent)})
		s.p.end(flow.Dropped, flow.Symptom{TCP: flow.TCPOK})
		return false
	}
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	f := strings.Split(string(line), " ")
	if garbled(hcm).code != 0 && len(f) == 3 && http1Method(f[0], s.p.cfg.version) && strings.HasPrefix(f[2], "HTTP/") && f[2] != "HTTP/1.1" {
		return s.codecAnswer(&codecError{426, "low_version"}, flow.Because(flow.WhyNoRequest, f[2]))
	}
	return s.codecAnswer(garbled(hcm), flow.Because(flow.WhyNoRequest, "bytes"))
}

// garbled is what a codec says to bytes that are not its protocol: HTTP/1 answers 400,
// HTTP/2 closes without an answer, before there is a stream that could be logged
// (TestGaps: Envoy 1.40).
func garbled(hcm tree.Node) *codecError {
	if k := hcm.Field("codec_type").Enum(); k == "HTTP2" || k == "2" {
		return &codecError{}
	}
	return errCodec()
}

// codecAnswer ends the pass at the codec. HTTP/2 resets the stream instead of answering.
func (s *stream) codecAnswer(e *codecError, why flow.Reason) bool {
	end := flow.TCPOK
	if s.http2 || e.code == 0 {
		end = flow.TCPClosed
	}
	s.p.add(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Verdict: flow.Refused, Reason: why})
	s.p.end(flow.Refused, flow.Symptom{Code: e.code, Flags: "DPE", Details: e.details, TCP: end})
	return false
}

// answer ends the pass with a local reply. To a gRPC request every one of them has status
// 200, with the failure in grpc-status. (Http::Utility::sendLocalReply)
func (s *stream) answer(step flow.Step, v flow.Verdict, c flow.Symptom) {
	step.Verdict = v
	if code, known := s.mappedCode(c); !known {
		step.Assumed = append(step.Assumed, flow.Assumption{Reason: flow.Because(flow.WhyLocalReplyMap, strconv.Itoa(c.Code))})
	} else {
		c.Code = code
	}
	if s.grpc {
		c.Code = 200
	}
	if s.last == nil && s.action.kind != actionCluster {
		s.unsayAnswer()
	}
	step.Facts = append(step.Facts, changes("local_reply_config", s.replyNames())...)
	c.TCP = flow.TCPOK
	to, by, known := s.custom(c.Code)
	if by != "" && known {
		step.Facts = append(step.Facts, flow.Because(flow.WhyCustomReplaces, by, strconv.Itoa(to)))
		c.Code, c.Details = to, "" // it keeps the flags alone
	}
	s.p.add(step)
	if s.p.end(v, c); !known {
		s.p.last().Verdict = flow.Continue
		s.p.stop(flow.HTTPFilter, by, flow.Because(flow.WhyCustomFetches, strconv.Itoa(c.Code)), tree.Node{})
	}
}

// early answers before a route was looked for. Envoy looks for one when it writes the
// answer's headers, hence its log names virtual host, route and cluster all the same.
func (s *stream) early(code int, details string, why flow.Reason, location string) bool {
	if why.Kind == flow.NoReason {
		why = flow.Because(flow.WhyEarlyAnswer, strconv.Itoa(code), details)
	}
	s.answer(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Reason: why, Facts: s.nameEarly()}, flow.Refused, flow.Symptom{Code: code, Details: details, Location: location})
	return false
}

// prepare does what decodeHeaders does before it computes the route (section 6.2, 5 to 12).
func (s *stream) prepare() bool {
	host, has, _ := s.h.first(":authority")
	if !has && s.low() && s.m.defaultHost != "" {
		host, has = s.m.defaultHost, true
		s.h.set(":authority", host)
	}
	method, path := s.h.value(":method"), s.h.value(":path")
	connect := method == "CONNECT"
	switch {
	case !has:
		return s.early(400, "missing_host_header", flow.Reason{}, "")
	case !all(host, hostByte) && !s.http2: // the codec sees it (measured on 1.40: DPE, and no authority in the log)
		return s.codecAnswer(&codecError{400, "http.invalid_authority"}, flow.Because(flow.WhyEarlyAnswer, "400", "http.invalid_authority"))
	case !all(host, hostByte):
		return s.early(400, "http.invalid_authority", flow.Reason{}, "")
	case path == "" && !connect:
		return s.early(404, "missing_path_rejected", flow.Reason{}, "")
	case method == "QUERY" && s.h.value("content-type") == "":
		return s.early(400, "query_missing_content_type", flow.Reason{}, "")
	case path != "" && path[0] != '/':
		return s.early(404, "absolute_path_rejected", flow.Reason{}, "")
	}
	if path != "" && !s.normalizePath(path) {
		return false
	}
	s.normalizeHost(host)
	s.upgradeOf(method)
	return s.sanitize()
}

// upgradeOf notes an upgrade: CONNECT, or Connection: upgrade of HTTP/1.1.
func (s *stream) upgradeOf(method string) {
	if method == "CONNECT" {
		s.upgrade, s.upgrades = "CONNECT", true
		return
	}
	if s.http2 || !s.h.has("upgrade") {
		return
	}
	for _, t := range strings.Split(s.h.value("connection"), ",") {
		if equalFold(strings.TrimSpace(t), "upgrade") {
			s.upgrade, s.upgrades = s.h.value("upgrade"), true
		}
	}
	if equalFold(s.upgrade, "h2c") {
		s.upgrade, s.upgrades = "", false // Envoy removes upgrades to h2c (TestPassedHeaders)
		s.h.remove("http2-settings")
	}
}

// normalizePath is ConnectionManagerUtility::maybeNormalizePath.
func (s *stream) normalizePath(path string) bool {
	from := path
	if i := strings.IndexByte(path, '#'); i >= 0 {
		if !s.m.keepFragment {
			return s.early(400, "path_normalization_failed", flow.Reason{}, "")
		}
		path = path[:i]
	}
	redirect := false
	if s.m.slashes != "" {
		u, found := unescapeSlashes(path)
		if found {
			path, redirect = u, s.m.slashes == "UNESCAPE_AND_REDIRECT"
			s.h.set(":path", path)
		}
		if found && s.m.slashes == "REJECT_REQUEST" {
			return s.early(400, "path_normalization_failed", flow.Reason{}, "")
		}
	}
	if s.m.normalize {
		ok := false
		if path, ok = normalizePath(path, s.p.cfg.version); !ok {
			return s.early(400, "path_normalization_failed", flow.Reason{}, "")
		}
	}
	if s.m.merge {
		path = mergeSlashes(path)
	}
	if path == from {
		return true
	}
	s.h.set(":path", path)
	if redirect && s.grpc {
		return s.early(400, "path_normalization_failed", flow.Reason{}, "")
	}
	if redirect {
		return s.early(307, "path_normalization_failed", flow.Because(flow.WhyEarlyAnswer, "307", "path_normalization_failed", path), path)
	}
	s.p.add(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyPathNormalized, from, path)})
	return true
}

// normalizeHost is ConnectionManagerUtility::maybeNormalizeHost: first the trailing dot,
// then the port.
func (s *stream) normalizeHost(from string) {
	host := from
	if i := strings.LastIndexByte(host, '.'); s.m.stripDot && i >= 0 && (i == len(host)-1 || host[i+1] == ':') {
		host = host[:i] + host[i+1:]
	}
	if s.m.stripAny || s.m.stripMatching {
		name, port, ok := portOf(host)
		if ok && (s.m.stripAny || port == strconv.Itoa(int(s.p.local.Port()))) {
			host, s.port = name, port
		}
	}
	if host != from {
		s.h.set(":authority", host)
		s.p.add(flow.Step{Stage: flow.NetworkFilter, Subject: s.m.name, Verdict: flow.Continue, Reason: flow.Because(flow.WhyHostNormalized, from, host)})
	}
}

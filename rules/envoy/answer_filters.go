package envoy

import (
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// noteChange says which headers of the answer a filter changes that met the request: answers
// meet the same filters on their way back. What it says is what the filter may do at most.
func (s *stream) noteChange(f *httpFilter, rc routeConfig) {
	st := s.p.last()
	switch st.Reason.Kind {
	case flow.WhyDisabledPerPath, flow.WhyHTTPFilterOff, flow.WhyLuaNone:
		return
	case flow.WhyNoPreflight: // cors
		if st.Reason.Args[0] == "no policy" || st.Reason.Args[0] == "no origin" {
			return
		}
	}
	names, all := answerNames(f, rc)
	if all = all || len(f.odd) > 0 || len(notModelled(f.kind, rc.config)) > 0 || st.Reason == flow.Because(flow.WhyFilterOpaque, f.kind, "") && f.kind != "lua"; all || names != "" {
		if all {
			names = ""
		}
		st.Facts = append(st.Facts, flow.Because(flow.WhyAnswerMaybe, f.kind, names))
	}
}

// answerNames are the headers of answers that a filter may change, by its kind and
// configuration; all: it may be every one. (encodeHeaders of source/extensions/filters/http/*)
func answerNames(f *httpFilter, rc routeConfig) (names string, all bool) {
	if istioWasm(f) {
		return peerHeaders, false
	}
	switch f.kind {
	case "rbac", "fault", "csrf", "buffer", "jwt_authn", "basic_auth", "original_src", "set_filter_state", "admission_control",
		"adaptive_concurrency", "kill_request", "dynamic_forward_proxy", "on_demand":
		return "", false
	case "header_mutation": // it says so itself
		return "", false
	case "envoy.extensions.common.matching.v3.ExtensionWithMatcher": // the filter inside says so
		return "", false
	case "cors":
		return "access-control-allow-origin, access-control-allow-credentials, access-control-expose-headers", false
	case "local_ratelimit":
		if s := f.config.Field("enable_x_ratelimit_headers").Enum() + rc.config.Field("enable_x_ratelimit_headers").Enum(); strings.Contains(s, "DRAFT") {
			return "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset", false
		}
		return "", false
	case "health_check":
		return "x-envoy-upstream-healthchecked-cluster, x-envoy-immediate-health-check-fail", false
	case "lua":
		script, known := luaScript(f.config, rc.config)
		return "", !known || luaDefines(script, "envoy_on_response")
	case "header_to_metadata":
		return "", answerRules(f.config) || answerRules(rc.config) // they may remove what they read
	case "compressor", "decompressor", "gzip":
		return "accept-encoding, accept-ranges, content-encoding, content-length, etag, transfer-encoding, vary", false
	case "grpc_web":
		return "content-length, content-type, grpc-message, grpc-status, transfer-encoding", false
	case "istio.metadata_exchange", "metadata_exchange", "peer_metadata", "io.istio.http.peer_metadata.Config":
		return peerHeaders, false
	}
	return "", f.kind == "connect_grpc_bridge" || !passes(f.kind)
}

// peerHeaders are those by which Istio's proxies tell each other who they are.
const peerHeaders = "x-envoy-peer-metadata, x-envoy-peer-metadata-id"

func answerRules(config tree.Node) bool { return config.Field("response_rules").Len() > 0 }

// replyNames are the headers that local_reply_config may set in an answer of the proxy's own.
func (s *stream) replyNames() (names []string) {
	for _, m := range s.m.node.Path("local_reply_config", "mappers").All() {
		for _, o := range m.Field("headers_to_add").All() {
			names = append(names, lower(o.Path("header", "key").Str()))
		}
	}
	return names
}

// changes are the facts of headers of the answer that are changed, each named; where they are
// many, that it may be any.
func changes(kind string, names []string) (facts []flow.Reason) {
	if len(names) > maxAnswerFacts {
		return []flow.Reason{flow.Because(flow.WhyAnswerMaybe, kind, "")}
	}
	for _, name := range names {
		facts = append(facts, flow.Because(flow.WhyAnswerChanged, name))
	}
	return facts
}

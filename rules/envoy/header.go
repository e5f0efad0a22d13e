package envoy

import "strings"

// headers are the request headers as Envoy's filters see them: names in lower case,
// pseudo headers first, order kept. The zero value is empty.
type headers struct{ list []header }

// header is one entry. unsure says that it is or may be there with a value that meshtop
// cannot know, such as a generated id or what an opaque filter sets.
type header struct {
	name, value string
	unsure      bool
}

// inlineHeaders are those of which Envoy's header map holds one entry at most: repeated
// ones are joined with ',' when the request is decoded.
// (envoy/http/header_map.h INLINE_REQ_HEADERS, and registered custom inline headers)
var inlineHeaders = [...]string{
	":authority", ":method", ":path", ":protocol", ":scheme",
	"accept", "accept-encoding", "access-control-request-headers", "access-control-request-method", "authorization",
	"cache-control", "connection", "content-encoding", "content-length", "content-type", "etag", "expect", "grpc-accept-encoding", "grpc-timeout",
	"keep-alive", "origin", "pragma", "proxy-connection", "referer", "te", "transfer-encoding",
	"upgrade", "user-agent", "via", "x-client-trace-id", "x-envoy-attempt-count", "x-envoy-decorator-operation",
	"x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-expected-rq-timeout-ms",
	"x-envoy-external-address", "x-envoy-force-trace", "x-envoy-hedge-on-per-try-timeout", "x-envoy-internal",
	"x-envoy-ip-tags", "x-envoy-max-retries", "x-envoy-original-path", "x-envoy-original-url",
	"x-envoy-retriable-header-names", "x-envoy-retriable-status-codes", "x-envoy-retry-grpc-on", "x-envoy-retry-on",
	"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
	"x-envoy-upstream-rq-timeout-ms", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host",
	"x-forwarded-port", "x-forwarded-proto", "x-request-id",
}

// isInline says whether repeated headers of this name are joined.
func isInline(name string) bool {
	for _, n := range inlineHeaders {
		if n == name {
			return true
		}
	}
	return false
}

// lowerHeader is the name in Envoy's form: lower case, and :authority for host.
func lowerHeader(name string) string {
	name = lower(name)
	if name == "host" {
		return ":authority"
	}
	return name
}

// lower is ASCII lower case, without allocation where nothing changes.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return lowerFrom(s, i)
		}
	}
	return s
}

func lowerFrom(s string, i int) string {
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// equalFold is ASCII only, as absl::EqualsIgnoreCase.
func equalFold(a, b string) bool { return len(a) == len(b) && hasPrefixFold(a, b) }

func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := 0; i < len(prefix); i++ {
		if lowerByte(s[i]) != lowerByte(prefix[i]) {
			return false
		}
	}
	return true
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && equalFold(s[len(s)-len(suffix):], suffix)
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// decode adds a header as the codec does: an inline one joins what is there.
func (h *headers) decode(name, value string) {
	name = lower(name)
	if isInline(name) {
		for i := range h.list {
			if h.list[i].name == name {
				h.list[i].value = joined(h.list[i].value, value)
				return
			}
		}
	}
	h.list = append(h.list, header{name: name, value: value})
}

// joined is what becomes of an inline header that comes again: an empty value adds nothing.
// (HeaderMapImpl::appendToHeader)
func joined(before, value string) string {
	if before == "" || value == "" {
		return before + value
	}
	return before + "," + value
}

// add appends an entry; for inline names it joins (HeaderMap::addCopy).
func (h *headers) add(name, value string) { h.decode(name, value) }

// set replaces every entry of the name by one, in the place of the first.
func (h *headers) set(name, value string) { h.put(header{name: name, value: value}) }

// setUnsure is set for a value that meshtop cannot know.
func (h *headers) setUnsure(name string) { h.put(header{name: name, unsure: true}) }

// join adds to the first value of a header that is there.
func (h *headers) join(name, value string) {
	for i := range h.list {
		if e := &h.list[i]; e.name == name {
			e.value += "," + value
			return
		}
	}
}

func (h *headers) put(e header) {
	for i := range h.list {
		if h.list[i].name == e.name {
			h.list[i] = e
			h.drop(e.name, i+1)
			return
		}
	}
	h.list = append(h.list, e)
}

// remove takes every entry of the name away, and says whether there was one.
func (h *headers) remove(name string) bool { return h.drop(name, 0) }

func (h *headers) drop(name string, from int) bool {
	for i := from; i < len(h.list); i++ {
		if h.list[i].name == name {
			h.filter(i, func(e *header) bool { return e.name != name })
			return true
		}
	}
	return false
}

// filter keeps of the entries from index from on those that keep says.
func (h *headers) filter(from int, keep func(*header) bool) {
	out := h.list[:from]
	for i := from; i < len(h.list); i++ {
		if keep(&h.list[i]) {
			out = append(out, h.list[i])
		}
	}
	h.list = out
}

// first is the first value of the name. sure is false where it cannot be known.
func (h *headers) first(name string) (value string, ok, sure bool) {
	for i := range h.list {
		if h.list[i].name == name {
			return h.list[i].value, true, !h.list[i].unsure
		}
	}
	return "", false, true
}

// value is the first value of the name, empty where there is none or it is not known.
func (h *headers) value(name string) string {
	v, _, _ := h.first(name)
	return v
}

// has says whether there is an entry of the name.
func (h *headers) has(name string) bool {
	_, ok, _ := h.first(name)
	return ok
}

// joined are all values of the name, comma-separated without spaces
// (HeaderUtility::getAllOfHeaderAsString).
func (h *headers) joined(name string) (value string, ok, sure bool) {
	sure = true
	n := 0
	for i := range h.list {
		e := &h.list[i]
		if e.name != name {
			continue
		}
		sure = sure && !e.unsure
		if n++; n == 1 {
			value = e.value
		} else {
			value += "," + e.value
		}
	}
	return value, n > 0, sure
}

// clone is a copy that may change for itself.
func (h *headers) clone() *headers {
	return &headers{list: append(make([]header, 0, len(h.list)+8), h.list...)}
}

// isGRPC says whether Envoy takes the request for gRPC: by its content type, and only if it
// has a path, which CONNECT has not. (Grpc::Common::isGrpcRequestHeaders)
func (h *headers) isGRPC() bool { return h.has(":path") && isGRPC(h.value("content-type")) }

// isGRPC says whether a content-type is gRPC's.
// (Grpc::Common::isGrpcRequestHeaders: application/grpc or application/grpc+...)
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

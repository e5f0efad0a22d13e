package envoy

import (
	"bytes"
	"encoding/json"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// balancing is the namespace of the metadata by which a subset is chosen.
// (Config::MetadataFilters::ENVOY_LB)
const balancing = "envoy.lb"

// balanced is what filters put into the request's metadata for the choice of a subset; it
// counts before the route's own metadata_match. (router.cc: metadataMatchCriteria)
type balanced struct {
	match  []tree.Node
	unsure string // kind of the filter that sets what cannot be told; empty: none
}

// balance notes what a filter sets for the choice of a subset.
func (s *stream) balance(f *httpFilter, rc routeConfig) {
	config := f.config
	if rc.config.Exists() {
		config = rc.config
	}
	if !marks(f.kind) || !bytes.Contains(config.Raw(), []byte(`"`+balancing+`"`)) {
		return
	}
	known := false
	switch f.kind {
	case "set_metadata":
		known = s.setMetadata(config)
	case "header_to_metadata":
		known = s.headersToMetadata(config)
	}
	if !known {
		s.lb.unsure = f.kind
	}
}

// setMetadata is envoy.filters.http.set_metadata. What is there already stays, unless an
// entry may overwrite it, which is not followed.
func (s *stream) setMetadata(config tree.Node) bool {
	if config.Field("metadata_namespace").Is(balancing) { // the old field
		return false
	}
	for _, m := range config.Field("metadata").All() {
		if !m.Field("metadata_namespace").Is(balancing) {
			continue
		}
		if len(s.lb.match) > 0 || !m.Field("value").Exists() {
			return false
		}
		s.lb.match = append(s.lb.match, m.Field("value"))
	}
	return true
}

// headersToMetadata is envoy.filters.http.header_to_metadata, as far as whole values of
// headers, or literal ones, are set as strings.
func (s *stream) headersToMetadata(config tree.Node) bool {
	set := map[string]string{}
	for _, r := range config.Field("request_rules").All() {
		name := lowerHeader(r.Field("header").Str())
		_, has, sure := s.h.first(name)
		to := r.Field("on_header_missing")
		if has {
			to = r.Field("on_header_present")
		}
		if !to.Field("metadata_namespace").Is(balancing) && sure {
			continue
		}
		value := to.Field("value").Str()
		if value == "" && has {
			value, sure = s.single(name)
		}
		kind := orDefault(to.Field("type").Enum(), "STRING")
		if !sure || value == "" || kind != "STRING" && kind != "0" || to.Field("encode", "regex_value_rewrite").Exists() || r.Field("cookie").Exists() {
			return false
		}
		set[to.Field("key").Str()] = value
	}
	if len(set) == 0 {
		return true
	}
	text, err := json.Marshal(set)
	if err != nil {
		return false
	}
	n, err := document("request", text)
	if err != nil {
		return false
	}
	s.lb.match = append(s.lb.match, n)
	return true
}

// unsureSubset ends the pass where the cluster chooses a subset by what cannot be told.
func (s *stream) unsureSubset() bool {
	c := s.p.cfg.cluster(s.action.cluster)
	if s.lb.unsure == "" || c == nil || c.subsets == nil {
		return false
	}
	s.p.res.Outcome.Cluster = c.name
	s.p.stop(flow.Cluster, c.name, flow.Because(flow.WhyFilterOpaque, s.lb.unsure, "sets metadata "+balancing+", by which the subset is chosen"), c.subsets.node)
	return true
}

package envoy

import (
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// metadataGaps are filters that set metadata by which a subset is chosen.
func metadataGaps() []gap {
	stage := func(v string) M { return M{"filter_metadata": M{"envoy.lb": M{"stage": v}}} }
	at := func(where, v string) M {
		m := endpoint(where)
		m["metadata"] = stage(v)
		return m
	}
	sub := static("c.sub", at(up(30), "prod"), at(up(31), "dev"))
	sub["lb_subset_config"] = M{"fallback_policy": "NO_FALLBACK", "subset_selectors": A{M{"keys": A{"stage"}}}}
	set := func(value M, more ...any) any {
		return ext("sm", filterNS+"http.set_metadata.v3.Config", M{"metadata": append(A{M{"metadata_namespace": "envoy.lb", "value": value}}, more...)})
	}
	header := func(present M) any {
		rule := M{"header": "x-a", "on_header_present": present, "on_header_missing": M{"metadata_namespace": "envoy.lb", "key": "stage", "value": "prod"}}
		return ext("h2m", filterNS+"http.header_to_metadata.v3.Config", M{"request_rules": A{rule}})
	}
	whole := M{"metadata_namespace": "envoy.lb", "key": "stage"}
	regex := M{"metadata_namespace": "envoy.lb", "key": "stage", "regex_value_rewrite": M{"pattern": M{"google_re2": M{}, "regex": "^x-(.*)$"}, "substitution": "\\1"}}
	row := func(name, want string, f any, action M, unknown flow.ReasonKind, headers ...[2]string) gap {
		return gap{name: "metadata: " + name, want: want, unknown: unknown, request: get("a.test", "/", headers...),
			listener: web(oneRoute(routeTo("c.sub", everything, action)), M{"http_filters": A{f, router()}})}
	}
	prod, dev := `"host":"`+up(30)+`"`, `"host":"`+up(31)+`"`
	all := []gap{
		row("set", dev, set(M{"stage": "dev"}), nil, flow.NoReason),
		row("set before the route's", dev, set(M{"stage": "dev"}), M{"metadata_match": stage("prod")}, flow.NoReason),
		row("another namespace", prod, ext("sm", filterNS+"http.set_metadata.v3.Config", M{"metadata": A{M{"metadata_namespace": "x", "value": M{"stage": "dev"}}}}), M{"metadata_match": stage("prod")}, flow.NoReason),
		row("a key of no selector", `"flags":"UH"`, set(M{"tier": "dev"}), nil, flow.NoReason),
		row("overwritten", prod, set(M{"stage": "dev"}, M{"metadata_namespace": "envoy.lb", "value": M{"stage": "prod"}, "allow_overwrite": true}), nil, flow.WhyFilterOpaque),
		row("of a header", dev, header(whole), nil, flow.NoReason, [2]string{"x-a", "dev"}),
		row("of a missing header", prod, header(whole), nil, flow.NoReason),
		row("of a header, no such subset", `"flags":"UH"`, header(whole), nil, flow.NoReason, [2]string{"x-a", "test"}),
		row("of a rewritten header", dev, header(regex), nil, flow.WhyFilterOpaque, [2]string{"x-a", "x-dev"}),
	}
	all[0].clusters = []M{sub}
	return all
}

func TestMetadataSubset(t *testing.T) {
	if Isolated(t) {
		runGaps(t, metadataGaps())
	}
}

package confirm

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// limits says whether a counter is of the limit that a step names: by the kind of filter, and
// by its stat_prefix where the step's evidence has it (Envoy docs, "Local rate limit" of
// both kinds of filter and "Connection limit filter").
func limits(st flow.Step, name string) bool {
	http := strings.Contains(name, "http_local_rate_limit.")
	if http != (st.Stage == flow.HTTPFilter) {
		return false
	}
	prefix := configOf(st).StatPrefix
	return prefix == "" || strings.Contains("."+name, "."+statistic(prefix)+".")
}

// denied says whether a counter is of the filter at which a step denies: by the kind of filter,
// and by its prefixes where the step's evidence has them (Envoy docs, "Role Based Access Control"
// and "External Authorization" of both kinds of filter).
func denied(st flow.Step, name string) bool {
	f, http := configOf(st), strings.HasPrefix(name, "http.") || strings.HasPrefix(name, "cluster.")
	switch {
	case http != (st.Stage == flow.HTTPFilter), strings.Contains("."+name, ".ext_authz.") != (kindOf(st) == filterAuthz):
		return false
	case st.Stage == flow.HTTPFilter && kindOf(st) == filterRBAC: // the filter's own is the connection manager's
		_, rest, _ := strings.Cut(name, "rbac.")
		return strings.HasPrefix(rest, statistic(f.RulesPrefix))
	}
	prefix := strings.TrimSuffix(statistic(f.StatPrefix), ".")
	return prefix == "" || strings.Contains("."+name, "."+prefix)
}

// filterKind is a filter that denies.
type filterKind uint8

const (
	filterOther filterKind = iota
	filterRBAC
	filterAuthz
)

func kindOf(st flow.Step) filterKind {
	switch typ := configOf(st).Type; {
	case st.Reason.Kind == flow.WhyRBACDenies, st.Reason.Kind == flow.WhyNetRBACDenies, strings.HasSuffix(typ, ".RBAC"):
		return filterRBAC
	case strings.HasSuffix(typ, ".ExtAuthz"):
		return filterAuthz
	}
	return filterOther
}

// filterConfig is what tells a filter's counters from those of others.
type filterConfig struct{ Type, StatPrefix, RulesPrefix string }

// configOf reads the filter of a step's evidence, or what a route puts in the place of its
// configuration, which comes after it.
func configOf(st flow.Step) filterConfig {
	for _, e := range slices.Backward(st.Evidence) {
		var f filterConfig
		f.read(json.NewDecoder(strings.NewReader(e.Text)), "")
		if f != (filterConfig{}) {
			return f
		}
	}
	return filterConfig{}
}

// read takes what is known from a value, as far as it goes: long evidence is cut.
func (f *filterConfig) read(d *json.Decoder, path string) bool {
	t, err := d.Token()
	if err != nil {
		return false
	}
	switch v := t.(type) {
	case json.Delim:
		for d.More() {
			name := ""
			if v == '{' {
				key, _ := d.Token()
				name, _ = key.(string)
			}
			if !f.read(d, path+"/"+name) {
				return false
			}
		}
		_, err = d.Token() // its end
	case string:
		switch strings.TrimPrefix(path, "/typed_config") {
		case "/@type":
			f.Type = v
		case "/stat_prefix":
			f.StatPrefix = v
		case "/rules_stat_prefix":
			f.RulesPrefix = v
		}
	}
	return err == nil
}

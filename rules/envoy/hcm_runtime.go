package envoy

import (
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
	"github.com/meshtop/meshtop/rules/flow"
)

// fraction is a share of requests: value % den < num, with runtime applied.
// (config.core.v3.RuntimeFractionalPercent, type.v3.FractionalPercent)
type fraction struct {
	num, den uint64
	key      string // runtime key; empty: none
}

func (f fraction) always() bool { return f.num >= f.den }
func (f fraction) never() bool  { return f.num == 0 }

func (f fraction) answer() flow.Answer {
	switch {
	case f.always():
		return flow.Yes
	case f.never():
		return flow.No
	}
	return flow.Maybe
}

func (f fraction) String() string {
	s := strconv.FormatUint(f.num, 10) + "/" + strconv.FormatUint(f.den, 10)
	if f.key != "" {
		s += " of runtime key " + f.key
	}
	return s
}

// readPercent is a FractionalPercent; the denominator is HUNDRED where nothing is said.
func readPercent(n tree.Node) fraction {
	return fraction{num: n.Field("numerator").Uint(0), den: denominator(n.Field("denominator").Enum())}
}

func denominator(enum string) uint64 {
	switch enum {
	case "TEN_THOUSAND", "1":
		return 10_000
	case "MILLION", "2":
		return 1_000_000
	}
	return 100
}

// readFraction is a RuntimeFractionalPercent whose default stands in the member dflt.
func (c *Config) readFraction(n tree.Node, dflt string) fraction {
	f := readPercent(n.Field(dflt))
	return c.override(f, n.Field("runtime_key").Str())
}

// override applies a runtime key: an integer is a percentage, a struct a FractionalPercent;
// anything else leaves the default. (Runtime::SnapshotImpl::featureEnabled)
func (c *Config) override(f fraction, key string) fraction {
	if key == "" {
		return f
	}
	f.key = key
	v, ok := c.value(key)
	if !ok {
		return f
	}
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		f.num, f.den = n, 100
	} else if d, err := tree.Parse([]byte(strings.TrimSpace(v)), 0); err == nil && d.Root().IsObject() {
		p := readPercent(d.Root())
		f.num, f.den = p.num, p.den
	} else if num, ok := structField(v, "numerator"); ok {
		den, _ := structField(v, "denominator")
		if n, err := strconv.ParseFloat(num, 64); err == nil && n >= 0 {
			f.num, f.den = uint64(n), denominator(den)
		}
	}
	return f
}

// structField is a field's value in the debug text of a google.protobuf.Struct, as which
// /runtime prints a FractionalPercent:
//
//	fields { key: "numerator" value { number_value: 100 } }
func structField(text, name string) (string, bool) {
	_, rest, ok := strings.Cut(text, `key: "`+name+`"`)
	if !ok {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, "key:")
	_, value, ok := strings.Cut(rest, "_value:")
	if !ok {
		return "", false
	}
	f := strings.Fields(value)
	if len(f) == 0 {
		return "", false
	}
	return strings.Trim(f[0], `"`), true
}

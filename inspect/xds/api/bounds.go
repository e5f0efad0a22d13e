package api

import (
	"cmp"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// bounds are what a number, or a duration in nanoseconds, may be: both ends inside a range, or
// outside where the low one is above the high one.
type bounds struct {
	low, high         *protoreflect.Value // nil: none
	aboveLow, belowHi bool                // the end itself is out (gt, lt)
	show              func(protoreflect.Value) string
}

// boundsOf reads lt, lte, gt and gte; of gives the number of a limit, and show its text.
func boundsOf(rules protoreflect.Message, of func(protoreflect.Value) protoreflect.Value, show func(protoreflect.Value) string) bounds {
	limit := func(name protoreflect.Name) *protoreflect.Value {
		fd := field(rules, name)
		if !rules.Has(fd) {
			return nil
		}
		v := of(rules.Get(fd))
		return &v
	}
	b := bounds{low: limit("gte"), high: limit("lte"), show: show}
	if gt := limit("gt"); gt != nil {
		b.low, b.aboveLow = gt, true
	}
	if lt := limit("lt"); lt != nil {
		b.high, b.belowHi = lt, true
	}
	return b
}

func (b bounds) check(v protoreflect.Value) wrong {
	low, high := false, false
	if b.low != nil {
		c, ordered := compare(v, *b.low)
		low = ordered && (c < 0 || c == 0 && b.aboveLow)
	}
	if b.high != nil {
		c, ordered := compare(v, *b.high)
		high = ordered && (c > 0 || c == 0 && b.belowHi)
	}
	bad := low && high
	if b.low == nil || b.high == nil || b.inside() {
		bad = low || high
	}
	if !bad {
		return wrong{}
	}
	return wrong{reason: b.String()}
}

func (b bounds) inside() bool {
	c, _ := compare(*b.high, *b.low)
	return c > 0
}

// String says what a value must be.
func (b bounds) String() string {
	bracket := func(open bool, is, isNot string) string {
		if open {
			return is
		}
		return isNot
	}
	switch {
	case b.low == nil:
		return "value must be less than " + bracket(b.belowHi, "", "or equal to ") + b.show(*b.high)
	case b.high == nil:
		return "value must be greater than " + bracket(b.aboveLow, "", "or equal to ") + b.show(*b.low)
	case b.inside():
		return fmt.Sprintf("value must be inside range %s%s, %s%s", bracket(b.aboveLow, "(", "["), b.show(*b.low), b.show(*b.high), bracket(b.belowHi, ")", "]"))
	}
	return fmt.Sprintf("value must be outside range %s%s, %s%s", bracket(b.belowHi, "[", "("), b.show(*b.high), b.show(*b.low), bracket(b.aboveLow, "]", ")"))
}

// compare compares two numbers of one kind; what is no number has no order.
func compare(a, b protoreflect.Value) (c int, ordered bool) {
	switch a.Interface().(type) {
	case float32, float64:
		x, y := a.Float(), b.Float()
		return cmp.Compare(x, y), x == x && y == y
	case uint32, uint64:
		return cmp.Compare(a.Uint(), b.Uint()), true
	}
	return cmp.Compare(a.Int(), b.Int()), true
}

// zero is 0 of the kind of v.
func zero(v protoreflect.Value) protoreflect.Value {
	switch v.Interface().(type) {
	case float32, float64:
		return protoreflect.ValueOfFloat64(0)
	case uint32, uint64:
		return protoreflect.ValueOfUint64(0)
	}
	return protoreflect.ValueOfInt64(0)
}

// span is how long a text, list or map may be.
type span struct {
	min, max                    *uint64 // nil: no limit
	exact, between, least, most string  // what is said of one that is not
}

func lengthOf(rules protoreflect.Message, min, max protoreflect.Name, unit string) span {
	return spanOf(rules, min, max, "value length must be %d "+unit, "value length must be between %d and %d "+unit+", inclusive",
		"value length must be at least %d "+unit, "value length must be at most %d "+unit)
}

func countOf(rules protoreflect.Message, min, max protoreflect.Name, unit string) span {
	return spanOf(rules, min, max, "value must contain exactly %d "+unit+"(s)", "value must contain between %d and %d "+unit+"s, inclusive",
		"value must contain at least %d "+unit+"(s)", "value must contain no more than %d "+unit+"(s)")
}

func spanOf(rules protoreflect.Message, min, max protoreflect.Name, exact, between, least, most string) span {
	limit := func(name protoreflect.Name) *uint64 {
		fd := field(rules, name)
		if !rules.Has(fd) {
			return nil
		}
		n := rules.Get(fd).Uint()
		return &n
	}
	return span{limit(min), limit(max), exact, between, least, most}
}

func (s span) broken(n int) bool {
	return s.min != nil && uint64(n) < *s.min || s.max != nil && uint64(n) > *s.max
}

func (s span) wrong() wrong {
	switch {
	case s.max == nil:
		return wrong{reason: fmt.Sprintf(s.least, *s.min)}
	case s.min == nil:
		return wrong{reason: fmt.Sprintf(s.most, *s.max)}
	case *s.min == *s.max:
		return wrong{reason: fmt.Sprintf(s.exact, *s.min)}
	}
	return wrong{reason: fmt.Sprintf(s.between, *s.min, *s.max)}
}

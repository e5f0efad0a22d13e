package doctor

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// shadows finds rules that can never match, because a rule before them in the same chain
// takes every packet that they would.
func (e *examiner) shadows() {
	for _, p := range e.book.shadowed() {
		e.add(Shadowed, Warning, evidences(p[1], p[0]), p[1].subject(), p[0].subject())
	}
}

// ShadowedRules are the subjects of the rules that can never match.
func ShadowedRules(files map[string][]byte) []string {
	var out []string
	for _, p := range read(files).shadowed() {
		out = append(out, p[1].subject())
	}
	return out
}

// maxChain bounds the rules of a chain that are compared with each other.
const maxChain = 2000

// shadowed are pairs of a rule and the later one that it hides.
func (b book) shadowed() [][2]line {
	by := map[string][]line{}
	var order []string
	for _, l := range b.lines {
		if by[l.place()] == nil {
			order = append(order, l.place())
		}
		by[l.place()] = append(by[l.place()], l)
	}
	var out [][2]line
	for _, place := range order {
		var takes []line // rules that a packet does not come past, and whose tests are steady
		for _, l := range by[place][:min(len(by[place]), maxChain)] {
			for _, t := range takes {
				if hides(t, l) {
					out = append(out, [2]line{t, l})
					break
				}
			}
			if l.leaves && steady(l) {
				takes = append(takes, l)
			}
		}
	}
	return out
}

// hides says whether each packet that b matches matches a too: each test of a follows
// from a test of b.
func hides(a, b line) bool {
	for _, t := range a.tests {
		if !slices.ContainsFunc(b.tests, func(u string) bool { return follows(t, u) }) {
			return false
		}
	}
	return true
}

// steady says whether a rule's tests give the same answer for the same packet each time,
// whatever the rules between it and a later one do: no chance, no rate, no mark.
func steady(l line) bool {
	if l.quoted {
		return false
	}
	for _, t := range l.tests {
		if l.source == "nft.json" {
			if strings.Contains(t, `"mark"`) || strings.Contains(t, "numgen") || strings.Contains(t, `"ct"`) || strings.Contains(t, `"@`) {
				return false
			}
			continue
		}
		word, _, _ := strings.Cut(strings.TrimPrefix(t, "! "), " ")
		if !slices.Contains([]string{"-s", "-d", "-i", "-o", "-p", "tcp", "udp", "multiport", "owner", "addrtype", "iprange"}, word) {
			return false
		}
	}
	return true
}

// follows says whether test t is true wherever test u is.
func follows(t, u string) bool {
	if t == u {
		return true
	}
	if strings.Contains(t, "! ") || strings.Contains(u, "! ") {
		return false
	}
	wide, narrow := strings.Fields(t), strings.Fields(u)
	if len(wide) != len(narrow) || len(wide) < 2 || !slices.Equal(wide[:len(wide)-1], narrow[:len(narrow)-1]) {
		return false
	}
	a, b := wide[len(wide)-1], narrow[len(narrow)-1]
	switch wide[len(wide)-2] {
	case "-s", "-d":
		return within(a, b)
	case "-i", "-o":
		prefix, ok := strings.CutSuffix(a, "+")
		return ok && strings.HasPrefix(b, prefix)
	case "--dport", "--sport", "--dports", "--sports":
		return covers(a, b)
	}
	return false
}

func within(wide, narrow string) bool {
	a, err1 := prefix(wide)
	b, err2 := prefix(narrow)
	return err1 == nil && err2 == nil && a.Bits() <= b.Bits() && a.Contains(b.Addr())
}

func prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen()), err
}

// covers says whether each run of ports in b lies in a run of a.
func covers(a, b string) bool {
	for _, x := range strings.Split(b, ",") {
		lo, hi, ok := ports(x)
		if !ok || !slices.ContainsFunc(strings.Split(a, ","), func(y string) bool {
			from, to, ok := ports(y)
			return ok && from <= lo && hi <= to
		}) {
			return false
		}
	}
	return true
}

// ports reads "80", "80:90", ":90" and "80:".
func ports(s string) (lo, hi uint64, ok bool) {
	from, to, run := strings.Cut(s, ":")
	if !run {
		to = from
	} else if to == "" {
		to = "65535"
	}
	if from == "" {
		from = "0"
	}
	lo, err1 := strconv.ParseUint(from, 10, 16)
	hi, err2 := strconv.ParseUint(to, 10, 16)
	return lo, hi, err1 == nil && err2 == nil
}

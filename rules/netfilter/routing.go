package netfilter

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// routing is what the kernel knows of one family.
type routing struct {
	read   bool // false: what stands here was made from the addresses alone
	tables map[string][]route
	rules  []routeRule
}

// route is one route (ip-route(8)).
type route struct {
	kind         uint16 // one of the type bits; 0: none was found
	net, mask    ip
	bits         int
	dev          string
	src          ip
	hasSrc       bool
	gw           ip
	hasGW        bool
	metric       uint64
	table, text  string
	hops         []routeHop // more than one: the kernel spreads connections over them
	guess        bool       // made from the addresses alone
	viaRuleGuess bool       // found by a rule that was read of the other family
}

type routeHop struct {
	dev    string
	gw     ip
	hasGW  bool
	weight uint64
}

// local says that packets by this route come to a socket of this host.
func (r *route) local() bool { return r.kind == typeLocal }

// device is where packets leave by; local ones go over lo.
func (r *route) device() string {
	if r.local() {
		return loopback
	}
	return r.dev
}

// gateway is the next hop towards dst.
func (r *route) gateway(dst ip) ip {
	if r.hasGW {
		return r.gw
	}
	return dst
}

// routeRule is one rule of the policy database (ip-rule(8)).
type routeRule struct {
	prio               int
	not                bool
	src, srcMask, dst  ip
	dstMask            ip
	mark, mask         uint32
	hasMark            bool
	in, out            string
	proto              uint8
	hasSport, hasDport bool
	sport, dport       portRange
	uids               idRange
	hasUIDs            bool
	table              string
	kind               uint16 // of an action that is no table: prohibit, unreachable, blackhole
	jump               int    // of a goto; 0: none
	suppress           int    // routes not longer than this are passed over; -1: none
	tos                bool
	guess              bool
}

type routeJSON struct {
	Type     string          `json:"type"`
	Dst      string          `json:"dst"`
	Gateway  string          `json:"gateway"`
	Via      json.RawMessage `json:"via"`
	Dev      string          `json:"dev"`
	Table    any             `json:"table"`
	Src      string          `json:"prefsrc"`
	Metric   uint64          `json:"metric"`
	Pref     string          `json:"pref"`
	Flags    []string        `json:"flags"`
	Nexthops []struct {
		Gateway string   `json:"gateway"`
		Dev     string   `json:"dev"`
		Weight  uint64   `json:"weight"`
		Flags   []string `json:"flags"`
	} `json:"nexthops"`
}

// six says whether a line is of IPv6. "default" alone does not; iproute2 prints a
// router preference for IPv6 routes only.
func (r *routeJSON) six() bool {
	return r.Pref != "" || strings.Contains(r.Dst+r.Gateway+r.Src, ":")
}

// readRoutes reads `ip -j route show table all`, which lists both families.
func (h *Host) readRoutes(data []byte, onlyV4 bool) error {
	var list []routeJSON
	if err := decode(data, &list); err != nil {
		return err
	}
	h.families[0].read = true
	for i := range list {
		six := list[i].six()
		if !six || !onlyV4 {
			h.families[famIndex(six)].read = true
			h.addRoute(&list[i], six)
		}
	}
	return nil
}

func (h *Host) readRoutes6(data []byte) error {
	var list []routeJSON
	if err := decode(data, &list); err != nil {
		return err
	}
	h.families[1].read = true
	for i := range list {
		h.addRoute(&list[i], true)
	}
	return nil
}

func (h *Host) addRoute(j *routeJSON, v6 bool) {
	r := route{kind: routeKind(j.Type), dev: j.Dev, metric: j.Metric, table: tableName(j.Table), text: routeText(j)}
	dst := j.Dst
	if dst == "default" || dst == "all" {
		r.mask = ip{}
	} else {
		var ok bool
		if r.net, r.mask, ok = parseNet(dst, v6); !ok {
			return
		}
	}
	r.bits = ones(r.mask)
	r.src, r.hasSrc = optionalAddr(j.Src, v6)
	r.gw, r.hasGW = optionalAddr(j.Gateway, v6)
	if slices.Contains(j.Flags, "dead") {
		return // no packet takes it
	}
	for _, n := range j.Nexthops {
		if slices.Contains(n.Flags, "dead") {
			continue
		}
		hop := routeHop{dev: n.Dev, weight: max(n.Weight, 1)}
		hop.gw, hop.hasGW = optionalAddr(n.Gateway, v6)
		r.hops = append(r.hops, hop)
	}
	if len(r.hops) > 0 {
		r.dev, r.gw, r.hasGW = r.hops[0].dev, r.hops[0].gw, r.hops[0].hasGW
	}
	f := &h.families[famIndex(v6)]
	if f.tables == nil {
		f.tables = map[string][]route{}
	}
	f.tables[r.table] = append(f.tables[r.table], r)
}

func optionalAddr(s string, v6 bool) (ip, bool) {
	if s == "" {
		return ip{}, false
	}
	return parseAddr(s, v6)
}

func routeKind(s string) uint16 {
	switch s {
	case "", "unicast":
		return typeUnicast
	case "local":
		return typeLocal
	case "broadcast":
		return typeBroadcast
	case "anycast":
		return typeAnycast
	case "multicast":
		return typeMulticast
	case "blackhole":
		return typeBlackhole
	case "unreachable":
		return typeUnreachable
	case "prohibit":
		return typeProhibit
	case "throw":
		return typeThrow
	case "nat":
		return typeNAT
	}
	return typeUnspec
}

// tableName is a table by the name that `ip` gives it; the well-known ones have numbers
// of their own (/etc/iproute2/rt_tables).
func tableName(v any) string {
	s := ""
	switch t := v.(type) {
	case string:
		s = t
	case float64:
		s = strconv.FormatFloat(t, 'f', -1, 64)
	}
	switch s {
	case "", "254":
		return "main"
	case "255":
		return "local"
	case "253":
		return "default"
	}
	return s
}

// routeText is the route as `ip route` prints it.
func routeText(j *routeJSON) string {
	var b strings.Builder
	word := func(name, value string) {
		if value != "" {
			b.WriteString(name + value)
		}
	}
	word("", j.Type)
	if j.Type != "" {
		b.WriteByte(' ')
	}
	word("", j.Dst)
	word(" via ", j.Gateway)
	word(" dev ", j.Dev)
	if t := tableName(j.Table); t != "main" {
		word(" table ", t)
	}
	word(" src ", j.Src)
	for _, n := range j.Nexthops {
		word(" nexthop via ", n.Gateway)
		word(" dev ", n.Dev)
	}
	return b.String()
}

type ruleJSON struct {
	Priority   int     `json:"priority"`
	Not        rawWord `json:"not"`
	Src        string  `json:"src"`
	SrcLen     *int    `json:"srclen"`
	Dst        string  `json:"dst"`
	DstLen     *int    `json:"dstlen"`
	TOS        string  `json:"tos"`
	Mark       string  `json:"fwmark"`
	Mask       string  `json:"fwmask"`
	In         string  `json:"iif"`
	Out        string  `json:"oif"`
	UIDStart   *uint32 `json:"uid_start"`
	UIDEnd     *uint32 `json:"uid_end"`
	Proto      string  `json:"ipproto"`
	Sport      *uint16 `json:"sport"`
	SportStart *uint16 `json:"sport_start"`
	SportEnd   *uint16 `json:"sport_end"`
	Dport      *uint16 `json:"dport"`
	DportStart *uint16 `json:"dport_start"`
	DportEnd   *uint16 `json:"dport_end"`
	Table      any     `json:"table"`
	Action     string  `json:"action"`
	Goto       any     `json:"goto"`
	Suppress   *int    `json:"suppress_prefixlen"`
}

// rawWord notes that a key is there: iproute2 writes flags as null.
type rawWord bool

// UnmarshalJSON is called for null too.
func (w *rawWord) UnmarshalJSON([]byte) error { *w = true; return nil }

// readRules reads `ip -j rule`. Where the rules of IPv6 were not read, those that name no
// address stand for them too: Istio and its like write both.
func (h *Host) readRules(data []byte, both bool) error {
	var list []ruleJSON
	if err := decode(data, &list); err != nil {
		return err
	}
	h.families[0].rules = parseRules(list, false, false)
	if both {
		h.families[1].rules = parseRules(list, true, true)
	}
	return nil
}

func (h *Host) readRules6(data []byte) error {
	var list []ruleJSON
	if err := decode(data, &list); err != nil {
		return err
	}
	h.families[1].rules = parseRules(list, true, false)
	return nil
}

func parseRules(list []ruleJSON, v6, guess bool) []routeRule {
	out := []routeRule{}
	for i := range list {
		j := &list[i]
		if guess && (j.Src != "" && j.Src != "all" || j.Dst != "" && j.Dst != "all") {
			continue
		}
		r, ok := j.rule(v6)
		if ok {
			r.guess = guess && j.Priority != 0 && j.Priority < 32766
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b routeRule) int { return a.prio - b.prio })
	return out
}

func (j *ruleJSON) rule(v6 bool) (routeRule, bool) {
	r := routeRule{prio: j.Priority, not: bool(j.Not), in: j.In, out: j.Out, table: tableName(j.Table), suppress: -1, tos: j.TOS != ""}
	var ok1, ok2 bool
	r.src, r.srcMask, ok1 = ruleNet(j.Src, j.SrcLen, v6)
	r.dst, r.dstMask, ok2 = ruleNet(j.Dst, j.DstLen, v6)
	if j.Mark != "" {
		mark, _, ok := parseMark(j.Mark)
		r.mark, r.mask, r.hasMark = mark, ^uint32(0), true
		if j.Mask != "" {
			r.mask, _, _ = parseMark(j.Mask)
		}
		ok1 = ok1 && ok
	}
	if j.Proto != "" {
		n, ok := protoNumber(j.Proto)
		r.proto = n
		ok1 = ok1 && ok
	}
	r.sport, r.hasSport = rulePorts(j.Sport, j.SportStart, j.SportEnd)
	r.dport, r.hasDport = rulePorts(j.Dport, j.DportStart, j.DportEnd)
	if j.UIDStart != nil && j.UIDEnd != nil {
		r.uids, r.hasUIDs = idRange{*j.UIDStart, *j.UIDEnd}, true
	}
	if j.Suppress != nil {
		r.suppress = *j.Suppress
	}
	switch j.Action {
	case "", "to_tbl", "lookup":
	default:
		r.kind = routeKind(j.Action)
	}
	switch g := j.Goto.(type) {
	case float64:
		r.jump = int(g)
	case string:
		r.jump, _ = strconv.Atoi(g)
	}
	return r, ok1 && ok2
}

func ruleNet(s string, bits *int, v6 bool) (net, mask ip, ok bool) {
	if s == "" || s == "all" || s == "default" {
		return ip{}, ip{}, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is6() != v6 {
		return ip{}, ip{}, false
	}
	mask = allOnes(v6)
	if bits != nil {
		mask = maskOf(*bits, v6)
	}
	return toIP(a).and(mask), mask, true
}

func rulePorts(one, from, to *uint16) (portRange, bool) {
	switch {
	case one != nil:
		return portRange{*one, *one}, true
	case from != nil && to != nil:
		return portRange{*from, *to}, true
	}
	return portRange{}, false
}

package netfilter

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
	"github.com/meshtop/meshtop/rules/flow"
)

// istioPod is one recorded pod: its parts, the owners of the sockets that it sent from, and
// what nft trace said.
type istioPod struct {
	name    string
	files   map[string][]byte
	trace   string
	senders []struct {
		Port uint16
		UID  uint32
	}
}

func istioPods(t *testing.T) []*istioPod {
	t.Helper()
	var out []*istioPod
	for _, f := range packed.Files(t, "testdata/istio.txtar.gz") {
		i := strings.LastIndexByte(f.Name, '/')
		pod, part := f.Name[:i], f.Name[i+1:]
		if len(out) == 0 || out[len(out)-1].name != pod {
			out = append(out, &istioPod{name: pod, files: map[string][]byte{}})
		}
		p := out[len(out)-1]
		var err error
		switch part {
		case "trace":
			p.trace = string(f.Data)
		case "senders.json":
			err = json.Unmarshal(f.Data, &p.senders)
		default:
			p.files[part] = f.Data
		}
		if err != nil {
			t.Fatal(f.Name, err)
		}
	}
	return out
}

// sighting is one packet that nft traced: where it was first seen, and the rules it hit as
// nft prints them. What lo hands back is a second sighting of the same packet.
type sighting struct {
	hook, dev string // "out" or "pre" of the tracing table; the device there
	src, dst  netip.AddrPort
	ipID      string
	mark      uint32
	hits      [][2]string // chain and rule
	nat       bool        // it met a nat chain
	back      *sighting
}

// traceTable is the table that the recording turned the trace on in, before all others.
const traceTable = "inet lab-trace "

var (
	traceLine = regexp.MustCompile(`^trace id (\S+) (\S+ \S+ \S+) (packet:|rule|policy) ?(.*)$`)
	traceDev  = regexp.MustCompile(`^[io]if "([^"]+)"`)
	traceWord = regexp.MustCompile(`(ip saddr|ip daddr|ip id|sport|dport|meta mark) (\S+)`)
	counted   = regexp.MustCompile(`counter packets \d+ bytes \d+`)
)

// sightings reads a trace, in its order.
func sightings(t *testing.T, text string) []*sighting {
	t.Helper()
	var all []*sighting
	by := map[string]*sighting{}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		m := traceLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("line %q", line)
		}
		s := by[m[1]]
		if s == nil {
			s = &sighting{}
			by[m[1]] = s
			all = append(all, s)
		}
		hook, own := strings.CutPrefix(m[2], traceTable)
		switch {
		case m[3] == "packet:" && own:
			s.hook = hook
			s.packet(t, m[4])
		case m[3] == "packet:":
			s.nat = s.nat || strings.Contains(m[2], "nat")
		case m[3] == "rule" && !own:
			rule, _, _ := strings.Cut(m[4], " (verdict ")
			s.hits = append(s.hits, [2]string{m[2], plainRule(rule)})
		case m[3] == "policy" && own:
			if w := traceWord.FindStringSubmatch(m[4]); w != nil {
				n, err := strconv.ParseUint(w[2], 0, 32)
				if err != nil {
					t.Fatal(line, err)
				}
				s.mark = uint32(n)
			}
		}
	}
	return all
}

func (s *sighting) packet(t *testing.T, text string) {
	has := map[string]string{}
	for _, w := range traceWord.FindAllStringSubmatch(text, -1) {
		if has[w[1]] == "" {
			has[w[1]] = w[2]
		}
	}
	d := traceDev.FindStringSubmatch(text)
	src, err1 := netip.ParseAddrPort(has["ip saddr"] + ":" + has["sport"])
	dst, err2 := netip.ParseAddrPort(has["ip daddr"] + ":" + has["dport"])
	if d == nil || err1 != nil || err2 != nil {
		t.Fatalf("packet %q: %v", text, cmp.Or(err1, err2))
	}
	s.dev, s.src, s.dst, s.ipID = d[1], src, dst, has["ip id"]
}

// plainRule is a rule as nft lists it, without what changes as it is used.
func plainRule(s string) string {
	s, _, _ = strings.Cut(s, " # handle ")
	return strings.TrimSpace(counted.ReplaceAllString(s, "counter"))
}

// numbered are the places of each rule of a listing in its chain, from 1.
func numbered(listing string) map[[2]string][]int {
	out := map[[2]string][]int{}
	table, chain, n := "", "", 0
	for _, l := range strings.Split(listing, "\n") {
		f := strings.Fields(l)
		switch {
		case len(f) > 2 && f[0] == "table":
			table = f[1] + " " + f[2]
		case len(f) > 1 && f[0] == "chain":
			chain, n = table+" "+f[1], 0
		case len(f) == 0, f[0] == "}", f[0] == "type":
		default:
			n++
			k := [2]string{chain, plainRule(l)}
			out[k] = append(out[k], n)
		}
	}
	return out
}

// Every packet of the recorded Istio pods hit the rules that Walk says, in order, and came
// where it says. nft traces nothing of iptables-legacy: there only the end is compared.
func TestIstioTrace(t *testing.T) {
	metadata := netip.MustParseAddr("169.254.169.254") // nobody answers there: SYNs are sent again and again
	var n struct{ pods, packets, hits, again, before int }
	for _, p := range istioPods(t) {
		rs, gaps, err := Parse(p.files)
		h, more, err2 := ParseHost(p.files)
		if err != nil || err2 != nil || len(gaps)+len(more) > 0 {
			t.Errorf("%s: %v %v %v %v", p.name, err, err2, gaps, more)
			continue
		}
		n.pods++
		places := numbered(string(p.files["nft.txt"]))
		known := map[[2]netip.AddrPort]bool{}
		for _, s := range joined(sightings(t, p.trace)) {
			k := [2]netip.AddrPort{s.src, s.dst}
			if known[k] { // a SYN sent again: its connection is no new one
				n.again++
				continue
			}
			known[k] = true
			ch := &flow.Choices{}
			r := rs.Walk(h, p.packet(h, s), ch)
			if s.dst.Addr() == metadata && !s.nat && len(nftHits(r)) > 0 { // its connection began before the recording
				n.before++
				continue
			}
			n.packets++
			n.hits += len(s.all())
			if len(ch.Made()) > 0 {
				t.Errorf("%s: %s>%s: chose %v", p.name, s.src, s.dst, ch.Made())
			}
			p.check(t, r, s, places)
		}
	}
	t.Logf("%d pods, %d packets, %d rules hit; %d SYNs sent again, %d of connections begun before", n.pods, n.packets, n.hits, n.again, n.before)
	if n.pods != 37 || n.packets < 700 || n.before > 5 {
		t.Errorf("%d pods, %d packets, %d begun before", n.pods, n.packets, n.before)
	}
}

// nftHits are the rules hit that nft can trace.
func nftHits(r Result) []string {
	return slices.DeleteFunc(hits(r), func(h string) bool { return strings.HasPrefix(h, "legacy ") })
}

// all are the rules hit in both halves.
func (s *sighting) all() [][2]string {
	if s.back == nil {
		return s.hits
	}
	return slices.Concat(s.hits, s.back.hits)
}

// joined makes one of the two sightings of a packet that lo handed back.
func joined(all []*sighting) []*sighting {
	var out []*sighting
	for _, s := range all {
		if s.hook == "pre" && s.dev == loopback {
			same := func(o *sighting) bool {
				return o.hook == "out" && o.back == nil && o.ipID == s.ipID && o.src.Port() == s.src.Port()
			}
			if i := slices.IndexFunc(out, same); i >= 0 {
				out[i].back = s
			}
			continue // whose first half the recording missed
		}
		out = append(out, s)
	}
	return out
}

// packet is a sighting as its sender made it. What no request of the recording sent is
// Envoy's own.
func (p *istioPod) packet(h *Host, s *sighting) Packet {
	q := Packet{Src: s.src, Dst: s.dst, Proto: flow.TCP}
	if s.hook == "pre" {
		q.Dir, q.In = flow.Inbound, s.dev
		return q
	}
	q.Mark, q.GID = s.mark, 1337
	for _, l := range h.Sockets { // 0 where it runs as root, for TPROXY
		if l.Process == "envoy" {
			q.UID = l.UID
		}
	}
	for _, o := range p.senders {
		if o.Port == s.src.Port() {
			q.UID, q.GID = o.UID, o.UID
		}
	}
	return q
}

func (p *istioPod) check(t *testing.T, r Result, s *sighting, places map[[2]string][]int) {
	t.Helper()
	got, want := nftHits(r), s.all()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = slices.ContainsFunc(places[want[i]], func(n int) bool { return got[i] == want[i][0]+" "+strconv.Itoa(n) })
	}
	if !ok {
		t.Errorf("%s: %s>%s:\n got %q\nwant %q", p.name, s.src, s.dst, got, want)
	}
	switch {
	case s.back != nil:
		ok = r.Fate == FateLocal && r.To.Dst == s.back.dst && r.To.Src == s.back.src
	case s.hook == "out":
		ok = r.Fate == FateWire && r.To.Out == s.dev
	default:
		ok = r.Fate == FateLocal
	}
	if !ok {
		t.Errorf("%s: %s>%s: got %v %+v, want %+v", p.name, s.src, s.dst, r.Fate, r.To, s.back)
	}
}

package capture

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// ParseEvents reads what `conntrack -E -o timestamp,id` prints (conntrack(8)): a line an
// event. Lines that cannot be read are returned as gaps with their number; the rest stays.
func ParseEvents(text []byte) ([]flow.Observation, []flow.Gap) {
	var out []flow.Observation
	var gaps []flow.Gap
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" {
			continue
		}
		o, ok, err := parseEvent(line)
		if err != nil {
			gaps = append(gaps, flow.Gap{Part: "conntrack-events", Reason: fmt.Sprintf("line %d: %v", n, err)})
			continue
		}
		if ok {
			out = append(out, o)
		}
	}
	if err := sc.Err(); err != nil {
		gaps = append(gaps, flow.Gap{Part: "conntrack-events", Reason: err.Error()})
	}
	return out, gaps
}

func parseEvent(line string) (o flow.Observation, ok bool, err error) {
	words := strings.Fields(line)
	if stamp, rest, found := strings.Cut(line, "]"); found && strings.HasPrefix(stamp, "[") && strings.Contains(stamp, ".") {
		if o.At, err = parseStamp(stamp[1:]); err != nil {
			return o, false, err
		}
		words = strings.Fields(rest)
	}
	if len(words) < 3 || !strings.HasPrefix(words[0], "[") || !strings.HasSuffix(words[0], "]") {
		return o, false, fmt.Errorf("%q is no conntrack event", cutText(line))
	}
	o.Kind, o.Event = flow.SeenConntrack, strings.Trim(words[0], "[]")
	proto, err := strconv.ParseUint(words[2], 10, 8)
	if err != nil {
		return o, false, fmt.Errorf("protocol %q: %w", words[2], err)
	}
	if p := flow.Proto(proto); p != flow.TCP && p != flow.UDP {
		return o, false, nil
	}
	return o, true, fillEvent(&o, words[3:], flow.Proto(proto))
}

// fillEvent reads the state, the original tuple, the reply tuple and the id.
func fillEvent(o *flow.Observation, words []string, proto flow.Proto) error {
	tuples := [2]map[string]string{{}, {}}
	at := -1
	for _, w := range words {
		key, value, isPair := strings.Cut(w, "=")
		switch {
		case !isPair && proto == flow.TCP && o.State == "" && at < 0 && w != "" && w[0] >= 'A' && w[0] <= 'Z':
			o.State = w
		case key == "id":
			id, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return fmt.Errorf("id %q: %w", value, err)
			}
			o.ConntrackID, o.Ref = uint32(id), "conntrack id "+value
		case key == "src":
			if at++; at > 1 {
				return fmt.Errorf("a third tuple: %q", w)
			}
			fallthrough
		case key == "dst" || key == "sport" || key == "dport":
			if at >= 0 {
				tuples[at][key] = value
			}
		}
	}
	var err error
	if o.Tuple, err = tupleText(tuples[0], proto); err != nil {
		return fmt.Errorf("original direction: %w", err)
	}
	if o.Reply, err = tupleText(tuples[1], proto); err != nil {
		return fmt.Errorf("reply direction: %w", err)
	}
	return nil
}

func tupleText(t map[string]string, proto flow.Proto) (flow.Tuple, error) {
	src, err := addrPort(t["src"], t["sport"])
	if err != nil {
		return flow.Tuple{}, err
	}
	dst, err := addrPort(t["dst"], t["dport"])
	return flow.Tuple{Src: src, Dst: dst, Proto: proto}, err
}

func addrPort(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", cutText(addr), err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", cutText(port), err)
	}
	return netip.AddrPortFrom(a, uint16(n)), nil
}

// parseStamp reads seconds and microseconds since 1970.
func parseStamp(s string) (time.Time, error) {
	sec, frac, _ := strings.Cut(strings.TrimSpace(s), ".")
	a, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w", cutText(s), err)
	}
	b, err := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w", cutText(s), err)
	}
	return time.Unix(a, b), nil
}

func cutText(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

package edits

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// maxNote is how long a comment of nft's may be, less its end (NFTNL_UDATA_COMMENT_MAXLEN).
const maxNote = 127

// Notes are the comments that say what the table is, in order: "by=dev@corp". A text that is
// longer than a comment may be takes several with the same word before them.
func Notes(c flow.Change) []string {
	var out []string
	add := func(key, value string) {
		for first := true; first || value != ""; first = false {
			n := min(len(value), maxNote-len(key)-1)
			out = append(out, key+"="+value[:n])
			value = value[n:]
		}
	}
	add("policy", c.Kind.String())
	add("by", plain(c.By))
	add("reason", plain(c.Reason))
	for _, f := range flags(&c) {
		if *f.on {
			add(f.key, "yes")
		}
	}
	for _, u := range c.ProxyUIDs {
		add("uid", strconv.FormatUint(uint64(u), 10))
	}
	for _, g := range c.ProxyGIDs {
		add("gid", strconv.FormatUint(uint64(g), 10))
	}
	for _, p := range c.Capture {
		add("capture", strconv.Itoa(int(p)))
	}
	for _, h := range c.Except {
		add("except", h.String())
	}
	for _, h := range c.Open {
		add("open", h.String())
	}
	return out
}

// flag is a word that is there or not.
type flag struct {
	key string
	on  *bool
}

func flags(c *flow.Change) []flag {
	return []flag{{"strong", &c.Strong}, {"all", &c.All}, {"hold", &c.Hold}, {"close-open", &c.CloseOpen}, {"permanent", &c.Permanent}}
}

// ReadNotes is the change that notes tell of, as far as they do.
func ReadNotes(notes []string) (flow.Change, error) {
	c := flow.Change{Driver: flow.Kernel}
	var by, reason string
	for _, n := range notes {
		key, value, ok := strings.Cut(n, "=")
		switch key {
		case "by":
			by += value
		case "reason":
			reason += value
		default:
			ok = ok && readNote(&c, key, value)
		}
		if !ok {
			return flow.Change{}, fmt.Errorf("the note %q is none of ours", n)
		}
	}
	var ok bool
	if c.By, ok = unplain(by); !ok {
		return flow.Change{}, fmt.Errorf("the name %q is not written as ours are", by)
	}
	if c.Reason, ok = unplain(reason); !ok {
		return flow.Change{}, fmt.Errorf("the reason %q is not written as ours are", reason)
	}
	if c.Kind == flow.NoPolicy {
		return flow.Change{}, fmt.Errorf("no note names the policy")
	}
	return c, nil
}

// readNote reads a note whose value is a word, a number or a hole.
func readNote(c *flow.Change, key, value string) bool {
	for _, f := range flags(c) {
		if f.key == key {
			*f.on = value == "yes"
			return *f.on
		}
	}
	if key == "policy" {
		for _, k := range []flow.PolicyKind{flow.BlockAll, flow.AllowAll} {
			if k.String() == value {
				c.Kind = k
				return true
			}
		}
		return false
	}
	if key == "except" || key == "open" {
		h, ok := readHole(value)
		if key == "except" {
			c.Except = append(c.Except, h)
		} else {
			c.Open = append(c.Open, h)
		}
		return ok
	}
	n, err := strconv.ParseUint(value, 10, 32)
	switch key {
	case "uid":
		c.ProxyUIDs = append(c.ProxyUIDs, uint32(n))
	case "gid":
		c.ProxyGIDs = append(c.ProxyGIDs, uint32(n))
	case "capture":
		c.Capture = append(c.Capture, uint16(n))
		return err == nil && n < 1<<16
	default:
		return false
	}
	return err == nil
}

// readHole reads what flow.Hole's String writes: 10.0.0.0/8, 10.0.0.1:53, [fd00::/8]:443.
func readHole(s string) (flow.Hole, bool) {
	host, port := s, 0
	if in, rest, ok := strings.Cut(strings.TrimPrefix(s, "["), "]:"); ok {
		host, port = in, atoi(rest)
	} else if at := strings.LastIndexByte(s, ':'); at >= 0 && strings.Count(s, ":") == 1 {
		host, port = s[:at], atoi(s[at+1:])
	}
	p, err := netip.ParsePrefix(host)
	if a, e := netip.ParseAddr(host); err != nil && e == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	h := flow.Hole{Prefix: p, Port: uint16(max(port, 0))}
	return h, err == nil && port >= 0 && h.String() == s
}

// atoi is a port, or -1.
func atoi(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// plain escapes what could end a quoted word of nft's or move a terminal's cursor; unplain
// takes it back.
func plain(s string) string {
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `\x22`)
}

// unplain is false for a text that plain cannot have written.
func unplain(s string) (text string, ok bool) {
	text, err := strconv.Unquote(`"` + s + `"`)
	return text, err == nil && plain(text) == s
}

package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// Snapshot is one line on what an answer was made from: whose it is, when it was taken,
// how many rules, which Envoy, how large its configuration is.
func Snapshot(name, taken string, files map[string][]byte) string {
	out := []string{Clean(name)}
	if taken != "" {
		out = append(out, "taken "+Clean(taken))
	}
	n, read := 0, false
	for _, part := range []string{"iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		if data, ok := files[part]; ok {
			n, read = n+rules(data), true
		}
	}
	switch _, nft := files["nft.json"]; {
	case read:
		out = append(out, plural(n, "iptables rule"))
	case nft:
		out = append(out, "nftables rules")
	default:
		out = append(out, "no rules read")
	}
	return strings.Join(append(out, proxyWords(files)), ", ")
}

// proxyWords says which Envoy it is and how much of its configuration is there.
func proxyWords(files map[string][]byte) string {
	size := len(files["config_dump.json"])
	for name, data := range files {
		if strings.HasPrefix(name, "config_dump/") {
			size += len(data)
		}
	}
	if size == 0 {
		return "no Envoy configuration read"
	}
	return "envoy" + after(" ", Clean(EnvoyVersion(files["server_info.json"]))) + " configuration of " + Bytes(int64(size))
}

// EnvoyVersion is the version that server_info names, such as 1.40.0: the second part of
// "commit/version/status/type/library" (envoy.admin.v3.ServerInfo). Empty: not known.
func EnvoyVersion(serverInfo []byte) string {
	var info struct{ Version string }
	if json.Unmarshal(serverInfo, &info) != nil {
		return ""
	}
	if f := strings.Split(info.Version, "/"); len(f) > 1 {
		return f[1]
	}
	return ""
}

// rules counts the lines of an iptables-save that append a rule, with or without counters.
func rules(save []byte) int {
	n := 0
	for line := range bytes.Lines(save) {
		if line[0] == '[' {
			if _, rest, ok := bytes.Cut(line, []byte("] ")); ok {
				line = rest
			}
		}
		if bytes.HasPrefix(line, []byte("-A ")) {
			n++
		}
	}
	return n
}

func plural(n int, what string) string { return some(strconv.Itoa(n), what) }

// some is plural of a number that is written already.
func some(n, what string) string {
	if n == "1" {
		return "1 " + what
	}
	return n + " " + what + "s"
}

// Bytes is a size for people, in decimal units.
func Bytes(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/1000, "kB"
	for _, next := range []string{"MB", "GB"} {
		if v < 999.5 {
			break
		}
		v, unit = v/1000, next
	}
	digits := 0
	if v < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}

// NotModelled says that a kind of object was read and is not understood.
func NotModelled(u flow.NotModelled) string {
	s := plural(u.Count, "object") + " not modelled: " + Clean(u.Type)
	if u.Count > 1 && u.Name != "" {
		return s + ", the first is " + Clean(u.Name)
	}
	return s + after(" ", Clean(u.Name))
}

// Parts lists what a snapshot holds, what could not be looked at, and what is not modelled.
func Parts(about string, files map[string][]byte, gaps []flow.Gap, unmodelled []flow.NotModelled) string {
	w := &writer{}
	w.field("snapshot", Clean(about))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.field("part", fmt.Sprintf("%-28s %s", Clean(name), Bytes(int64(len(files[name])))))
	}
	for _, g := range flow.Alike(gaps) {
		w.field("gap", Clean(g.Part)+": "+Clean(g.Reason))
	}
	for _, u := range unmodelled {
		w.field("skipped", NotModelled(u))
	}
	return w.b.String()
}

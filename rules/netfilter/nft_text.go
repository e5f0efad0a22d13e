package netfilter

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"
)

// words is the rule in its tool's language.
func (r *rule) words(t *table) string {
	if t.back != backNative && !r.isNFT() {
		return r.text
	}
	m, _ := anyOf([]byte(r.text)).(map[string]any)
	list, _ := m["expr"].([]any)
	return joinText(list, " ")
}

// isNFT says that the text is nft's JSON; a line of iptables-save begins otherwise.
func (r *rule) isNFT() bool { return strings.HasPrefix(r.text, "{") }

// nftText writes a statement or an expression of the JSON in nft's own language, for eyes
// only. What it does not know it leaves as JSON.
func nftText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case json.Number:
		return string(x)
	case bool:
		if x {
			return "exists"
		}
		return "missing"
	case []any:
		return joinText(x, ",")
	case map[string]any:
		if len(x) == 1 {
			for k, arg := range x {
				if s, ok := objectText(k, arg); ok {
					return s
				}
			}
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(raw)
}

func joinText(list []any, sep string) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = nftText(v)
	}
	return strings.Join(words, sep)
}

// objectText writes an object of one key.
func objectText(k string, arg any) (string, bool) {
	m, _ := arg.(map[string]any)
	list, _ := arg.([]any)
	str := func(key string) string { return nftText(m[key]) }
	switch k {
	case "accept", "drop", "return", "continue", "notrack":
		return k, true
	case "jump", "goto":
		return k + " " + str("target"), true
	case "match":
		return matchText(m), true
	case "meta":
		return metaText(str("key")), true
	case "payload":
		if m["base"] != nil {
			return "@" + str("base") + "," + str("offset") + "," + str("len"), true
		}
		return str("protocol") + " " + str("field"), true
	case "ct":
		return strings.Join(strings.Fields("ct "+str("dir")+" "+str("key")), " "), true
	case "fib":
		flags, ok := m["flags"].([]any)
		if !ok {
			flags = []any{m["flags"]}
		}
		return "fib " + joinText(flags, " . ") + " " + str("result"), true
	case "socket", "rt":
		return k + " " + str("key"), true
	case "numgen":
		return "numgen " + str("mode") + " mod " + str("mod") + offsetText(m), true
	case "jhash", "symhash":
		return strings.Join(strings.Fields(k+" "+str("expr")+" mod "+str("mod")), " "), true
	case "set":
		if list != nil {
			return "{ " + joinElems(list) + " }", true
		}
		return str("op") + " " + str("set") + " { " + str("elem") + " }", true
	case "elem":
		return str("val"), true
	case "concat":
		return joinText(list, " . "), true
	case "range":
		return joinText(list, "-"), true
	case "prefix":
		return str("addr") + "/" + str("len"), true
	case "&", "|", "^", "<<", ">>":
		return joinText(list, " "+k+" "), true
	case "map", "vmap":
		return str("key") + " " + k + " " + str("data"), true
	}
	return statementText(k, arg, m)
}

func offsetText(m map[string]any) string {
	if n, ok := number(m["offset"]); ok && n > 0 {
		return " offset " + strconv.Itoa(n)
	}
	return ""
}

// joinElems writes elements; those of maps are pairs.
func joinElems(list []any) string {
	words := make([]string, len(list))
	for i, v := range list {
		if pair, ok := v.([]any); ok && len(pair) == 2 {
			words[i] = nftText(pair[0]) + " : " + nftText(pair[1])
			continue
		}
		words[i] = nftText(v)
	}
	return strings.Join(words, ", ")
}

func statementText(k string, arg any, m map[string]any) (string, bool) {
	str := func(key string) string { return nftText(m[key]) }
	switch k {
	case "counter":
		if m == nil {
			return strings.TrimSpace("counter " + nftText(arg)), true
		}
		return "counter packets " + str("packets") + " bytes " + str("bytes"), true
	case "mangle":
		return str("key") + " set " + str("value"), true
	case "redirect", "masquerade", "dnat", "snat", "tproxy":
		return natText(k, m), true
	case "reject":
		if m["type"] == "icmpx" && m["expr"] == "port-unreachable" || m == nil {
			return "reject", true
		}
		return strings.TrimSpace("reject with " + str("type") + " " + str("expr")), true
	case "log", "limit", "quota", "ct count":
		return strings.TrimSpace(k + " " + wordsText(arg, m)), true
	case "ct helper", "ct timeout", "ct expectation":
		return k + " set " + nftText(arg), true
	case "tcp option", "exthdr", "ip option":
		return strings.TrimSpace(strings.TrimPrefix(k, "exthdr ") + " " + str("name") + " " + str("field")), true
	case "xt":
		return "xt " + str("type") + " " + str("name"), true
	}
	return "", false
}

func wordsText(arg any, m map[string]any) string {
	if m == nil {
		return nftText(arg)
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var words []string
	if m["inv"] == true {
		words = append(words, "over")
	}
	for _, k := range keys {
		if k == "inv" {
			continue
		}
		words = append(words, k+" "+nftText(m[k]))
	}
	return strings.Join(words, " ")
}

func matchText(m map[string]any) string {
	left, right, op := nftText(m["left"]), nftText(m["right"]), nftText(m["op"])
	if left == "iifname" || left == "oifname" || left == "iif" || left == "oif" {
		if s, ok := m["right"].(string); ok {
			right = strconv.Quote(s)
		}
	}
	if !strings.Contains(left, " & ") && (op == "==" || op == "in" || op == "") {
		return left + " " + right
	}
	return left + " " + op + " " + right
}

func metaText(key string) string {
	switch key {
	case "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup":
		return key
	}
	return "meta " + key
}

func natText(k string, m map[string]any) string {
	s := k
	if f := nftText(m["family"]); f != "" {
		s += " " + f
	}
	addr, port := nftText(m["addr"]), nftText(m["port"])
	if addr != "" || port != "" {
		s += " to "
	}
	if strings.Contains(addr, ":") && port != "" {
		addr = "[" + addr + "]"
	}
	s += addr
	if port != "" {
		s += ":" + port
	}
	if f := nftText(m["flags"]); f != "" {
		s += " " + f
	}
	return s
}

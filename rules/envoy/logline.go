package envoy

import (
	"encoding/json"
	"strings"

	"github.com/meshtop/meshtop/rules/envoy/tree"
)

// lineFormat is how the lines of an access log are made: of one text with operators, or of a
// JSON object with one at each of its values.
type lineFormat struct {
	source string // as it is configured; one logger's format is often another's
	text   []piece
	json   *jsonFormat // nil: a line of text
}

// jsonFormat is one value of a json_format.
type jsonFormat struct {
	members map[string]*jsonFormat // of an object
	list    []*jsonFormat          // of a list
	text    []piece                // of a text
}

// maxLine bounds the line that is taken apart.
const maxLine = 16 << 10

// Read takes a line of one of the files apart: its fields by the operators' names in small
// letters, a request's header field as req_NAME. It is nil for a line that is of no known
// format. A field that can be read in two ways, or differs by the format, is left out: a client
// writes parts of its line itself.
func (l *Logs) Read(path, line string) map[string]string {
	return readAs(l.formats[path], line)
}

// ReadAny takes a line apart that one of the files got, as Read does.
func (l *Logs) ReadAny(line string) map[string]string {
	var all []lineFormat
	for _, path := range l.paths {
		all = append(all, l.formats[path]...)
	}
	return readAs(all, line)
}

func readAs(formats []lineFormat, line string) map[string]string {
	if len(line) > maxLine {
		return nil
	}
	var out map[string]string
	for _, f := range formats {
		got, fits := f.read(line)
		switch {
		case !fits:
		case out == nil:
			out = got
		default:
			for k, v := range out {
				if got[k] != v {
					delete(out, k)
				}
			}
		}
	}
	return out
}

func (f lineFormat) read(line string) (map[string]string, bool) {
	out := map[string]string{}
	if f.json == nil {
		return out, readText(f.text, line, out)
	}
	var v any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return out, f.json.read(v, out)
}

// read takes a value apart. A member that is not there has no value (omit_empty_values); one
// that the format does not have is another format's.
func (f *jsonFormat) read(v any, out map[string]string) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		if f.members == nil {
			return false
		}
		for k, m := range v {
			if f.members[k] == nil || !f.members[k].read(m, out) {
				return false
			}
		}
		return true
	case []any:
		if len(v) != len(f.list) {
			return false
		}
		for i, m := range v {
			if !f.list[i].read(m, out) {
				return false
			}
		}
		return true
	case string:
		return f.text != nil && readText(f.text, v, out)
	case json.Number: // a format that is one operator keeps the kind of its value
		if len(f.text) == 1 && f.text[0].set != nil {
			return readText(f.text, v.String(), out)
		}
	}
	return f.members == nil && f.list == nil // a number or a truth value of the format itself
}

// jsonLine compiles a json_format.
func jsonLine(n tree.Node) lineFormat {
	return lineFormat{source: string(n.Raw()), json: newJSONFormat(n)}
}

func newJSONFormat(n tree.Node) *jsonFormat {
	f := &jsonFormat{}
	switch n.Kind() {
	case tree.Object:
		f.members = map[string]*jsonFormat{}
		for k, v := range n.Members() {
			f.members[k] = newJSONFormat(v)
		}
	case tree.List:
		for _, v := range n.All() {
			f.list = append(f.list, newJSONFormat(v))
		}
	case tree.String:
		f.text = pieces(n.Str())
	}
	return f
}

// textLine compiles a text_format without its line's end.
func textLine(s string) lineFormat { return lineFormat{source: s, text: pieces(s)} }

// piece is one part of a text: its own words, or an operator's value.
type piece struct {
	words string
	set   *charset // the characters that the value can have; nil: words
	field string   // empty: the value is of no use here
}

// charset is a set of bytes.
type charset [256]bool

func chars(has func(byte) bool) *charset {
	var s charset
	for i := range s {
		s[i] = has(byte(i))
	}
	return &s
}

// among are the bytes of a text.
func among(s string) *charset {
	return chars(func(b byte) bool { return strings.IndexByte(s, b) >= 0 })
}

// pieces takes a format apart (config/observability/access_log, "Command operators"). %% is %.
func pieces(s string) []piece {
	out := []piece{}
	words := func(w string) {
		if n := len(out); n > 0 && out[n-1].set == nil {
			out[n-1].words += w
		} else if w != "" {
			out = append(out, piece{words: w})
		}
	}
	anything, nospace := chars(func(byte) bool { return true }), chars(func(b byte) bool { return b > ' ' && b != '"' })
	const digits = "0123456789-."
	flags := chars(func(b byte) bool {
		return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || strings.IndexByte("0123456789,-", b) >= 0
	})
	sets := map[string]*charset{"number": among(digits), "flags": flags, "address": nospace, "word": nospace, "time": among(digits + "TZ:"), "protocol": among(digits + "HTP/")}
	for s != "" {
		before, after, ok := strings.Cut(s, "%")
		words(before)
		if !ok {
			break
		}
		end := operatorEnd(after)
		switch {
		case end < 0:
			words("%" + after)
			return out
		case end == 0:
			words("%")
		default:
			field, set := logField(after[:end])
			p := piece{set: anything, field: field}
			if sets[set] != nil {
				p.set = sets[set]
			}
			out = append(out, p)
		}
		s = after[end+1:]
	}
	return out
}

// logOperators are the operators that are of use, with the kind of their values. A name that
// the configuration or a client chose can be anything.
var logOperators = map[string]string{
	"START_TIME": "time", "RESPONSE_CODE": "number", "RESPONSE_FLAGS": "flags",
	"UPSTREAM_HOST": "address", "UPSTREAM_LOCAL_ADDRESS": "address", "UPSTREAM_REMOTE_ADDRESS": "address",
	"DOWNSTREAM_REMOTE_ADDRESS": "address", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "address", "DOWNSTREAM_LOCAL_ADDRESS": "address",
	"UPSTREAM_CLUSTER": "", "UPSTREAM_CLUSTER_RAW": "", "LISTENER_NAME": "", "FILTER_CHAIN_NAME": "", "ROUTE_NAME": "", "REQUESTED_SERVER_NAME": "",
}

// logField is the field that an operator fills, and the kind of its values. One whose value
// is cut short (":LENGTH") fills none.
func logField(op string) (field, kind string) {
	name, rest, has := strings.Cut(op, "(")
	if !has {
		switch name {
		case "PROTOCOL":
			return "", "protocol"
		case "BYTES_RECEIVED", "BYTES_SENT", "DURATION", "CONNECTION_ID":
			return "", "number"
		}
		kind, known := logOperators[name]
		if !known {
			return "", ""
		}
		return strings.ToLower(name), kind
	}
	arg, rest, _ := strings.Cut(rest, ")")
	if name != "REQ" && name != "REQUEST_HEADER" || rest != "" {
		return "", ""
	}
	switch strings.ToLower(arg) {
	case ":method":
		return "req_method", "word"
	case ":path", "x-envoy-original-path?:path":
		return "req_path", ""
	case ":authority", "host":
		return "req_authority", ""
	}
	return "", ""
}

// readText takes a text apart by its pieces, and says whether it is one of theirs. A field gets
// its value iff there is one way only: every way is followed at once, from both ends.
func readText(list []piece, s string, out map[string]string) bool {
	n := len(s)
	from, to := make([][]bool, len(list)+1), make([][]bool, len(list)+1)
	from[0], to[len(list)] = make([]bool, n+1), make([]bool, n+1)
	from[0][0], to[len(list)][n] = true, true
	for k, p := range list {
		from[k+1] = p.after(s, from[k])
	}
	if !from[len(list)][n] {
		return false
	}
	for k := len(list) - 1; k >= 0; k-- {
		to[k] = list[k].before(s, to[k+1])
	}
	for k, p := range list {
		if p.field == "" {
			continue
		}
		if v, one := p.only(s, from[k], to[k+1]); one {
			if old, twice := out[p.field]; !twice || missing(old) {
				out[p.field] = v
			} else if old != v && !missing(v) {
				out[p.field] = "" // two operators of one field that differ say nothing
			}
		}
	}
	return true
}

// missing says whether a value is how a log writes that there is none.
func missing(v string) bool { return v == "" || v == "-" }

// after are the places at which the piece can end, if it can begin at those of in.
func (p piece) after(s string, in []bool) []bool {
	out, alive := make([]bool, len(in)), false
	for i := range in {
		if p.set == nil {
			if in[i] && strings.HasPrefix(s[i:], p.words) {
				out[i+len(p.words)] = true
			}
			continue
		}
		alive = alive || in[i]
		out[i] = alive
		alive = alive && i < len(s) && p.set[s[i]]
	}
	return out
}

// before are the places at which the piece can begin, if it can end at those of in.
func (p piece) before(s string, in []bool) []bool {
	out := make([]bool, len(in))
	for i := len(s); i >= 0; i-- {
		if p.set == nil {
			out[i] = strings.HasPrefix(s[i:], p.words) && in[i+len(p.words)]
		} else {
			out[i] = in[i] || i < len(s) && p.set[s[i]] && out[i+1]
		}
	}
	return out
}

// only is the piece's value, if there is one way only for it to begin and to end.
func (p piece) only(s string, from, to []bool) (string, bool) {
	ways, ends := make([]int, len(to)), make([]int, len(to)) // from each place on
	total, begin := 0, 0
	for i := len(s); i >= 0; i-- {
		if i < len(s) && p.set[s[i]] {
			ways[i], ends[i] = ways[i+1], ends[i+1]
		}
		if to[i] {
			ways[i]++
			ends[i] = i
		}
		if from[i] && ways[i] > 0 {
			total += ways[i]
			begin = i
		}
	}
	if total != 1 {
		return "", false
	}
	return s[begin:ends[begin]], true
}

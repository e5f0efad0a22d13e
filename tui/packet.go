package tui

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/mask"
	"github.com/meshtop/meshtop/rules/render"
	"github.com/meshtop/meshtop/tui/style"
)

// packetTitle heads the pane of an observation.
func packetTitle(h hop) string {
	switch {
	case h.o == nil:
		return "packet"
	case h.o.Kind == flow.SeenPacket:
		return render.Clean(h.o.Ref + " on " + h.o.Device)
	case h.o.Kind == flow.SeenConntrack:
		return "conntrack"
	case h.o.Kind == flow.SeenSocket:
		return "socket"
	}
	return render.Clean(h.o.Ref)
}

// packetLines are what the pane shows of an observation: its headers, and with payload
// what was kept of the rest; key shows and hides it.
func packetLines(h hop, payload bool, key string, width int) []line {
	switch o := h.o; {
	case o == nil:
		return para(line{}, style.Faint, "nothing is selected here: "+itoa(h.gap)+" observations were let go, since only the first and the newest are kept", width)
	case o.Kind == flow.SeenConntrack:
		return conntrackLines(o, width)
	case o.Kind == flow.SeenPacket:
		return tcpLines(o, payload, key, width)
	case o.Kind == flow.SeenSocket:
		return []line{named("local", addrWords(o.Tuple.Src)), named("peer", addrWords(o.Tuple.Dst)), named("owner", "uid "+utoa(o.UID))}
	}
	return nil
}

// named is a name with its value.
func named(name, value string) line {
	return text(style.Faint, pad(name, 6)+" ").with(style.Plain, value)
}

func conntrackLines(o *flow.Observation, width int) []line {
	out := []line{
		named("event", strings.TrimSpace(render.Clean(o.Event+" "+o.State))),
		named("orig", addrWords(o.Tuple.Src)+" "+style.Arrow+" "+addrWords(o.Tuple.Dst)),
		named("reply", addrWords(o.Reply.Src)+" "+style.Arrow+" "+addrWords(o.Reply.Dst)),
	}
	says := "no translation: answers come from where it was dialled to"
	if o.Reply.Src != o.Tuple.Dst {
		says = "redirected: answers come from " + addrWords(o.Reply.Src)
	}
	return append(out, para(line{}, style.Goes, says, width)...)
}

func tcpLines(o *flow.Observation, payload bool, key string, width int) []line {
	out := []line{text(style.Plain, addrWords(o.Tuple.Src)+" "+style.Arrow+" "+addrWords(o.Tuple.Dst))}
	head := strings.ToUpper(o.Tuple.Proto.String())
	if o.Tuple.Proto == flow.TCP {
		head += " " + flagWords(o.Flags) + "  seq " + utoa(o.Seq) + "  ack " + utoa(o.Ack)
	}
	out = append(out, para(line{}, style.Plain, head+"  payload "+itoa(o.Len), width)...)
	if o.Len == 0 {
		return append(out, text(style.Faint, "no payload"))
	}
	kept := itoa(len(o.Head)) + " of " + itoa(o.Len) + " bytes were kept"
	if payload {
		return append(append(out, text(style.Faint, "payload: "+kept+" · "+key+" hides it")), bytesLines(o.Head, width)...)
	}
	start, fields, whole := httpHead(o.Head)
	if start == "" {
		return append(out, para(line{}, style.Faint, "payload hidden: "+kept+" · "+key+" shows it", width)...)
	}
	out = append(out, text(style.Strong, start))
	for _, f := range fields {
		value := text(style.Faint, render.Clean(f[0])+": ")
		if mask.Secret(f[0]) {
			value = value.with(style.Faint, "hidden")
		} else {
			value = value.with(style.Plain, render.Clean(f[1]))
		}
		out = append(out, value)
	}
	rest := "the body is not shown"
	if !whole {
		rest = "the rest of the head was not kept"
	}
	return append(out, para(line{}, style.Faint, rest+" · "+kept+" · "+key+" shows all of them", width)...)
}

// httpHead takes an HTTP/1 head apart: its first line, its fields, and whether all of it
// is there. A field that was cut is left out.
func httpHead(head []byte) (start string, fields [][2]string, whole bool) {
	start = httpLine(head)
	if start == "" {
		return "", nil, false
	}
	rows := bytes.Split(head, []byte("\r\n"))
	for _, row := range rows[1 : len(rows)-1+b2i(len(rows) == 1)] {
		if len(row) == 0 {
			return start, fields, true
		}
		name, value, ok := bytes.Cut(row, []byte(":"))
		if ok {
			fields = append(fields, [2]string{string(name), strings.TrimSpace(string(value))})
		}
	}
	return start, fields, false
}

// bytesLines are bytes as text where they are text, else as hexadecimal.
func bytesLines(b []byte, width int) []line {
	var out []line
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		for _, l := range strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n") {
			out = append(out, para(line{}, style.Plain, render.Clean(l), width)...)
		}
		return out
	}
	each := 16
	if width < 68 {
		each = 8
	}
	for i := 0; i < len(b); i += each {
		row := b[i:min(i+each, len(b))]
		dots := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, asciiOnly(row))
		out = append(out, text(style.Faint, right(itoa(i), 4)+"  ").with(style.Plain, pad(spaced(hex.EncodeToString(row)), each*3)+" ").with(style.Plain, dots))
	}
	return out
}

// spaced puts a blank after each two characters.
func spaced(s string) string {
	var b strings.Builder
	for i := 0; i+1 < len(s); i += 2 {
		b.WriteString(s[i:i+2] + " ")
	}
	return strings.TrimSpace(b.String())
}

func asciiOnly(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return string(out)
}

// Package mesh makes the config_dump of a sidecar in a mesh of any size, as Istio would
// write it, and requests whose answer follows from the model. The same seed and number of
// services give the same bytes.
package mesh

import (
	"bufio"
	"strconv"
)

// obj is an ordered JSON object: key, value, key, value. arr is a list; a stream is a
// list that is never held whole.
type (
	obj    []any
	arr    []any
	stream func(emit func(any))
)

// writer prints as Envoy's admin interface does: one space a level, and {} and [] where
// nothing is in them.
type writer struct {
	w    *bufio.Writer
	buf  []byte
	deep int
}

func (w *writer) line() {
	w.w.WriteByte('\n')
	for range w.deep {
		w.w.WriteByte(' ')
	}
}

func (w *writer) quote(s string) {
	w.buf = strconv.AppendQuote(w.buf[:0], s) // ASCII only: the same as in JSON
	w.w.Write(w.buf)
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case obj:
		w.object(v)
	case arr:
		w.list(func(emit func(any)) {
			for _, x := range v {
				emit(x)
			}
		})
	case stream:
		w.list(v)
	case string:
		w.quote(v)
	case int:
		w.w.WriteString(strconv.Itoa(v))
	case bool:
		w.w.WriteString(strconv.FormatBool(v))
	}
}

func (w *writer) object(o obj) {
	w.w.WriteByte('{')
	w.deep++
	for i := 0; i < len(o); i += 2 {
		if i > 0 {
			w.w.WriteByte(',')
		}
		w.line()
		w.quote(o[i].(string))
		w.w.WriteString(": ")
		w.value(o[i+1])
	}
	w.deep--
	if len(o) > 0 {
		w.line()
	}
	w.w.WriteByte('}')
}

func (w *writer) list(each stream) {
	w.w.WriteByte('[')
	w.deep++
	n := 0
	each(func(x any) {
		if n > 0 {
			w.w.WriteByte(',')
		}
		n++
		w.line()
		w.value(x)
	})
	w.deep--
	if n > 0 {
		w.line()
	}
	w.w.WriteByte(']')
}

package request

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/rules/flow"
)

// maxBody bounds a body that is given, in bytes. From more than that on curl waits for 100 Continue
// before it sends it.
const maxBody = 1 << 20

// Data gives a request a body as `curl -d` does: it becomes a POST if it has no method, and says
// the body's length and that it is a form, unless a header says another type.
func Data(h *flow.HTTP, body string) error {
	if len(body) > maxBody {
		return fmt.Errorf("a body of %d bytes: at most %d are sent", len(body), maxBody)
	}
	if h.Method == "" || h.Method == "GET" {
		h.Method = "POST"
	}
	h.Body = &flow.Body{Size: len(body), Bytes: []byte(body)}
	addLength(h)
	if !named(h, "content-type") {
		h.Headers = append(h.Headers, [2]string{"Content-Type", "application/x-www-form-urlencoded"})
	}
	return nil
}

// addLength says the body's length, where nothing else does.
func addLength(h *flow.HTTP) {
	if h.Body.Size >= 0 && !named(h, "content-length") && !named(h, "transfer-encoding") {
		h.Headers = append(h.Headers, [2]string{"Content-Length", strconv.Itoa(h.Body.Size)})
	}
}

func named(h *flow.HTTP, name string) bool {
	return slices.ContainsFunc(h.Headers, func(kv [2]string) bool { return strings.EqualFold(kv[0], name) })
}

// setBody reads the body of the JSON form, or the size that stands for one.
func (f *HTTPForm) setBody(h *flow.HTTP) error {
	switch {
	case f.Body != nil && f.BodySize != nil && *f.BodySize != len(*f.Body):
		return fmt.Errorf("bodySize %d: the body has %d bytes", *f.BodySize, len(*f.Body))
	case f.Body != nil && len(*f.Body) > maxBody:
		return fmt.Errorf("a body of %d bytes: at most %d are sent", len(*f.Body), maxBody)
	case f.Body != nil:
		h.Body = &flow.Body{Size: len(*f.Body), Bytes: []byte(*f.Body)}
	case f.BodySize != nil:
		h.Body = &flow.Body{Size: max(-1, *f.BodySize)}
	default:
		return nil
	}
	h.Headers = slices.Clone(h.Headers)
	addLength(h)
	return nil
}

// unread is the body of a curl command that a file holds: nothing of it is known.
const unread = -1

// data reads what -d and its like are given (curl(1)). A file is not read.
func (c *curl) data(name, v string) error {
	file := strings.HasPrefix(v, "@")
	switch name {
	case "data-raw":
		file = false
	case "data-urlencode":
		key, value, pair := strings.Cut(v, "=")
		if !pair {
			key, value = "", v
			file = strings.Contains(v, "@")
		}
		if pair && key != "" {
			key += "="
		}
		v = key + strings.ReplaceAll(url.QueryEscape(value), "%7E", "~")
	}
	if file {
		c.unread = true
	}
	c.body = append(c.body, v)
	return nil
}

// content is the body that the command sends; nil: none.
func (c *curl) content() (*flow.Body, error) {
	switch {
	case c.unread && c.get:
		return nil, fmt.Errorf("-G with data from a file: it becomes the query, and a file is not read: write the query into the URL, or the data instead of @FILE")
	case c.form || c.upload || c.unread && !c.get:
		return &flow.Body{Size: unread}, nil
	case len(c.body) == 0 || c.get:
		return nil, nil
	}
	sep := "&"
	if c.json {
		sep = ""
	}
	b := strings.Join(c.body, sep)
	if len(b) > maxBody {
		return nil, fmt.Errorf("a body of %d bytes: at most %d are sent", len(b), maxBody)
	}
	return &flow.Body{Size: len(b), Bytes: []byte(b)}, nil
}

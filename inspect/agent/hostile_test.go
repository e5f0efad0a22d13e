package agent

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

// dialHostile dials an agent that answers each path with what say gives.
func dialHostile(t *testing.T, say func(path string) string) (*Pod, error) {
	t.Helper()
	here, there := net.Pipe()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := say(r.URL.Path)
		if r.URL.Path == pathHello && text == "" {
			text = `{"Protocol":1}`
		}
		_, _ = io.WriteString(w, text)
	})}
	p := newPipe(there)
	go func() { _ = srv.Serve(&one{conn: p}) }()
	t.Cleanup(func() { _ = srv.Close() })
	pod, err := Dial(t.Context(), here, DialOptions{})
	if err == nil {
		t.Cleanup(func() { _ = pod.Close() })
	}
	return pod, err
}

// An agent stands in a pod that may be hostile: what it says is bounded, and makes a sentence.
func TestHostileAnswers(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"a part of many bytes":      {`{"Part":"x","Bytes":9223372036854775807}` + "\n", "more than 1073741824"},
		"a part of less than none":  {`{"Part":"x","Bytes":-1}` + "\n", "has -1 bytes"},
		"a part that ends early":    {`{"Part":"x","Bytes":10}` + "\nabc", "unexpected EOF"},
		"a line that does not end":  {`{"Part":"` + strings.Repeat("x", maxLine+1), "a line of more than"},
		"no JSON":                   {"<html>\n", "invalid character"},
		"another type":              {`{"Part":7}` + "\n", "cannot unmarshal"},
		"nothing":                   {"", "unexpected EOF"},
		"an end that is no end":     {"{}\n{}\n", "unexpected EOF"},
		"more parts than there are": {strings.Repeat(`{"Part":"x","Bytes":0}`+"\n", 3) + `{"End":{"Error":{"Text":"so be it"}}}` + "\n", "so be it"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := dialHostile(t, func(path string) string {
				if path == pathHello {
					return ""
				}
				return c.answer
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pod.Read(t.Context(), inspect.Want{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("read: %v, want %q", err, c.want)
			}
		})
	}
}

func TestHostileWatch(t *testing.T) {
	pod, err := dialHostile(t, func(path string) string {
		if path == pathHello {
			return ""
		}
		return `{"Ready":true}` + "\n" + `{"Observations":"none"}` + "\n"
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := pod.Observe(t.Context(), []flow.Leg{{}}, inspect.ObserveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range w.C() {
		t.Error("something was seen")
	}
	if loss := w.Loss(); len(loss.Blind) != 1 || !strings.Contains(loss.Blind[0].Reason, "cannot unmarshal") {
		t.Errorf("loss %+v: a watch that broke off proves no absence", loss)
	}
	if err := w.Close(); err == nil {
		t.Error("closed as if nothing had been")
	}
}

// A client is no better trusted than an agent.
func TestHostileQuestions(t *testing.T) {
	pod, _ := pair(t, &fake{})
	for _, path := range []string{pathRead, pathSend, pathResolve, pathObserve, pathApply, pathRenew} {
		if body, err := pod.ask(t.Context(), path, strings.NewReader("{")); err == nil {
			_ = body.Close()
			t.Errorf("%s took half a question", path)
		} else if !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := pod.Send(t.Context(), flow.Request{}); err != nil {
		t.Errorf("the stream is broken after it: %v", err)
	}
}

package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
)

// asker asks Envoy's admin interface by a program of a container: one command a question.
func (in *inside) asker(at netip.AddrPort) http.RoundTripper { return &asker{in, at} }

type asker struct {
	in *inside
	at netip.AddrPort
}

// The programs that can ask, the best first: those of bare ones only the body comes.
var askers = []struct {
	tool string
	bare bool
	argv func(at netip.AddrPort, path, request string) []string
}{
	{"curl", false, func(at netip.AddrPort, path, _ string) []string {
		return []string{"curl", "-q", "-sS", "-i", "--raw", "--http1.1", "--noproxy", "*", "-H", "Host: localhost", "-H", "Connection: close", "http://" + at.String() + path}
	}},
	{"bash", false, func(at netip.AddrPort, _, request string) []string {
		return []string{"bash", "-c", `exec 3<>"/dev/tcp/$0/$1" && printf %s "$2" >&3 && cat <&3`, at.Addr().String(), fmt.Sprint(at.Port()), request}
	}},
	{"pilot-agent", true, func(_ netip.AddrPort, path, _ string) []string {
		return []string{"pilot-agent", "request", "GET", path}
	}},
	{"wget", true, func(at netip.AddrPort, path, _ string) []string {
		return []string{"wget", "-q", "-O", "-", "http://" + at.String() + path}
	}},
	{"nc", false, func(at netip.AddrPort, _, request string) []string {
		return []string{"sh", "-c", `printf %s "$2" | nc "$0" "$1"`, at.Addr().String(), fmt.Sprint(at.Port()), request}
	}},
}

// RoundTrip asks one question. Only GET: whatever changes something is the agent's to do.
func (a *asker) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return nil, errors.New("by exec nothing is changed")
	}
	path := r.URL.RequestURI()
	request := adminRequest(path)
	for _, b := range a.in.boxes {
		for _, k := range askers {
			if b.has(k.tool) && (k.tool != "bash" || b.has("cat")) && (k.tool != "pilot-agent" || a.at.Port() == 15000) {
				return a.ask(r, b, k.bare, k.argv(a.at, path, request))
			}
		}
	}
	return nil, a.in.without("curl, wget, nc, bash or pilot-agent", false)
}

func (a *asker) ask(r *http.Request, b box, bare bool, argv []string) (*http.Response, error) {
	s, err := a.in.cluster.start(a.in.object, b.name, argv, false)
	if err != nil {
		return nil, err
	}
	halt := stopWith(r, s)
	in := bufio.NewReader(s)
	if _, err = in.Peek(1); err != nil { // it said nothing: its end says why
		defer halt()
		defer s.Close()
		if why := s.failed(r.Context()); why != nil {
			return nil, fmt.Errorf("%s in container %s: %w", argv[0], b.name, why)
		}
		return nil, fmt.Errorf("%s in container %s: it printed nothing", argv[0], b.name)
	}
	resp := &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(in), ContentLength: -1, Request: r}
	if !bare {
		if resp, err = http.ReadResponse(in, r); err != nil {
			halt()
			return nil, errors.Join(fmt.Errorf("%s in container %s: no answer of HTTP: %w", argv[0], b.name, err), s.Close())
		}
	}
	resp.Body = &answered{resp.Body, s, r, bare, halt}
	return resp, nil
}

// answered is the body of an answer, which ends its command.
type answered struct {
	io.ReadCloser
	s    *stream
	r    *http.Request
	bare bool
	halt func() bool
}

// Read reads on; where the length is not known, an end is one only if the command says so.
func (a *answered) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	if errors.Is(err, io.EOF) && a.bare {
		if why := a.s.failed(a.r.Context()); why != nil {
			return n, why
		}
	}
	return n, err
}

// Close ends the command.
func (a *answered) Close() error {
	defer a.halt()
	return errors.Join(a.ReadCloser.Close(), a.s.Close())
}

// stopWith ends the command with the question.
func stopWith(r *http.Request, s *stream) func() bool { return context.AfterFunc(r.Context(), s.stop) }

// adminRequest is a question as it goes over a connection.
func adminRequest(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
}

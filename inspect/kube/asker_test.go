package kube

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// The real programs bring a real server's answer whole, chunked as it is, and send what they were
// told to ask.
func TestAskers(t *testing.T) {
	power.Tools(t, "curl", "bash")
	const path, body = "/config_dump?resource=x&name_regex=a%5C.b%7Cc", "{\"a\": \"%s $HOME `id`\"}\n"
	asks := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks <- r.Host + " " + r.URL.RequestURI()
		for _, part := range []string{body[:5], body[5:]} {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
		}
	}))
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	for _, k := range askers {
		if k.tool != "curl" && k.tool != "bash" {
			continue
		}
		argv := k.argv(at, path, adminRequest(path))
		cmd := exec.Command(argv[0], argv[1:]...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(out), nil)
		if err != nil {
			t.Fatalf("%s: %v", k.tool, err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != body || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %q, %v", k.tool, resp.StatusCode, got, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", k.tool, err)
		}
		if asked := <-asks; asked != "localhost "+path {
			t.Errorf("%s asked %q", k.tool, asked)
		}
	}
}

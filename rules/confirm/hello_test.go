package confirm

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

// helloOf is what crypto/tls writes first, in records.
func helloOf(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() //nolint:gosec // it never ends
		client.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// split puts a handshake message into two records (RFC 8446, 5.1).
func split(hello []byte, at int) []byte {
	record := func(b []byte) []byte { return append([]byte{22, 3, 1, byte(len(b) >> 8), byte(len(b))}, b...) }
	return append(record(hello[5:5+at]), record(hello[5+at:])...)
}

func TestServerName(t *testing.T) {
	named, bare := helloOf(t, "a.example"), helloOf(t, "")
	end := bytes.Index(named, []byte("a.example")) + len("a.example")
	for _, c := range []struct {
		what   string
		stream []byte
		name   string
		known  bool
	}{
		{"whole", named, "a.example", true},
		{"kept to the name's end", named[:end], "a.example", true},
		{"cut within the name", named[:end-1], "", false},
		{"cut before it", named[:60], "", false},
		{"none", bare, "", true},
		{"none, cut", bare[:len(bare)-1], "", false},
		{"in two records", split(named, 50), "a.example", true},
		{"no ClientHello", []byte{22, 3, 3, 0, 4, 2, 0, 0, 0}, "", false},
	} {
		if name, known := serverName(c.stream); known != c.known || known && name != c.name {
			t.Errorf("%s: %q %v, want %q %v", c.what, name, known, c.name, c.known)
		}
	}
}

// A connection with another name in its ClientHello is another request: its line of the log
// contradicts nothing, and its upstream confirms nothing. One that was cut off may be it.
func TestAnotherServerName(t *testing.T) {
	tr := watched()
	tr.Request.TLS = &flow.TLS{SNI: "a.example"}
	line := logLine("d", "10.0.0.9:80", "-")
	theirs, same := string(helloOf(t, "b.example")), string(helloOf(t, "A.example"))
	for _, c := range []struct {
		what string
		seen []flow.Observation
		want Word
	}{
		{"another name, its line", append(asks(0, app, theirs), line), NotObserved},
		{"another name, its upstream", slices.Concat(asks(0, app, theirs), dials(2, up, theirs)), NotObserved},
		{"the name", slices.Concat(asks(0, app, same), dials(2, up, same)), Confirmed},
		{"cut off", slices.Concat(asks(0, app, theirs[:60]), dials(2, up, theirs)), Confirmed},
	} {
		r := Check(tr, append(c.seen, counter("http.out.downstream_rq_total", "", 1, 2)), flow.Loss{}, Known{ProxyUID: 1337, HasProxy: true})
		if word(r, 0, 0) != c.want || word(r, 0, 5) != c.want || r.Word == Contradicted {
			t.Errorf("%s: socket %v, endpoint %v %v, want %v", c.what, word(r, 0, 0), word(r, 0, 5), r.Steps[5].Why, c.want)
		}
		if c.want == NotObserved && !strings.Contains(strings.Join(r.Steps[0].Why.Args[:], " "), "b.example") {
			t.Errorf("%s: %v, want it to name what was asked instead", c.what, r.Steps[0].Why)
		}
	}
}

// Whatever a client writes, a name is read from it only as it stands there, and what was kept of
// it tells no other one than the whole does.
func FuzzServerName(f *testing.F) {
	for _, n := range []string{"a.example", ""} {
		b := helloOf(f, n)
		f.Add(b, uint16(len(b)))
		f.Add(b, uint16(130))
	}
	f.Fuzz(func(t *testing.T, b []byte, kept uint16) {
		name, known := serverName(b)
		part, partly := serverName(b[:min(len(b), int(kept))])
		if partly && (!known || part != name) {
			t.Errorf("of %x: %q %v, of %d bytes %q", b, name, known, kept, part)
		}
	})
}

package confirm

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
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

func serverName(b []byte) (string, bool) {
	g := readHello(b)
	return g.name, g.named
}

// envoys is what Envoy 1.40 writes first to an endpoint of Istio's: sni and alpn_protocols as
// Istio sets them.
func envoys(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString("16030100cb010000c703034e1344b300776418968e4f3044453b15df95cfce059697fbbe9d47791c80798700000cc02bcca9c02fcca8c02cc030010000920000003900370000346f7574626f756e645f2e383038305f2e5f2e726576696577732e626f6f6b696e666f2e7376632e636c75737465722e6c6f63616c00170000ff01000100000a00060004001d0017000b00020100002300000010001c001a13697374696f2d706565722d65786368616e676505697374696f000d00140012040308040401050308050501080606010201")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const istiosName, istiosALPN = "outbound_.8080_._.reviews.bookinfo.svc.cluster.local", "istio-peer-exchange,istio"

// The ClientHello of the proxy's own connection shows the name and the protocols that its transport
// socket was configured with; what the snaplen cuts off is said, and proves nothing.
func TestUpstreamHello(t *testing.T) {
	whole := envoys(t)
	alpn := bytes.Index(whole, []byte("istio-peer"))
	for _, c := range []struct {
		what, name, alpn string
		kept             int
		word             Word
		why              flow.ReasonKind
		says             string
	}{
		{"as predicted", istiosName, istiosALPN, len(whole), Confirmed, flow.SeenHello, "SNI " + istiosName + ", ALPN " + istiosALPN},
		{"of another case", strings.ToUpper(istiosName), istiosALPN, len(whole), Confirmed, flow.SeenHello, "SNI " + istiosName},
		{"another name", "outbound_.8080_.v2_.reviews", istiosALPN, len(whole), Contradicted, flow.SeenHello, "SNI " + istiosName},
		{"other protocols", istiosName, "istio", len(whole), Contradicted, flow.SeenHello, istiosALPN},
		{"no protocols expected", istiosName, "", len(whole), Contradicted, flow.SeenHello, istiosALPN},
		{"cut after the protocols", istiosName, istiosALPN, alpn + len("istio-peer-exchange,istio"), Confirmed, flow.SeenHello, istiosALPN},
		{"cut within them", istiosName, istiosALPN, alpn + 5, NotObservable, flow.SeenHelloCut, "SNI " + istiosName},
		{"cut, another name", "x", istiosALPN, alpn + 5, Contradicted, flow.SeenHello, "SNI " + istiosName},
		{"cut before the name", istiosName, istiosALPN, 60, NotObservable, flow.SeenHelloCut, "SNI not known"},
	} {
		tr := watched()
		at := len(tr.Legs[0].Steps)
		tr.Legs[0].Steps = append(slices.Clone(tr.Legs[0].Steps), flow.Step{Stage: flow.TransportSocket, Subject: "upstream", Verdict: flow.Continue,
			Reason: flow.Because(flow.WhyTLSUpstream, c.name), Facts: []flow.Reason{flow.Because(flow.WhyTLSOffers, c.alpn)}})
		theirs := dials(2, up, string(whole))
		theirs[len(theirs)-1].Head = whole[:c.kept]
		r := Check(tr, slices.Concat(asks(0, app, cart), theirs), flow.Loss{}, Known{ProxyUID: 1337, HasProxy: true})
		if got := r.Steps[at]; got.Word != c.word || got.Why.Kind != c.why || !strings.Contains(got.Why.Args[0], c.says) {
			t.Errorf("%s: %v %v", c.what, got.Word, got.Why)
		}
		theirs = theirs[:len(theirs)-1] // nothing was written: the SYN tells no name
		if r := Check(tr, slices.Concat(asks(0, app, cart), theirs), flow.Loss{}, Known{}); r.Steps[at].Word != NotObservable || r.Steps[at].Why.Kind != flow.SeenInside {
			t.Errorf("%s, not written: %v", c.what, r.Steps[at])
		}
	}
}

// Names that were cut off are the reason why none of several connections is taken.
func TestNamesCut(t *testing.T) {
	tr := watched()
	tr.Request.TLS = &flow.TLS{SNI: "a.example"}
	theirs := string(helloOf(t, "b.example"))
	seen := slices.Concat(asks(0, app, theirs), asks(10, client(4002), theirs))
	for i := range seen {
		if len(seen[i].Head) == len(theirs) {
			seen[i].Head = seen[i].Head[:60]
		}
	}
	r := Check(tr, seen, flow.Loss{}, Known{})
	if r.Word != NotObserved || r.Steps[0].Why.Kind != flow.SeenNamesCut {
		t.Errorf("%v %v", r.Word, r.Steps[0].Why)
	}
}

// Whatever a client writes, a name is read from it only as it stands there, and what was kept of
// it tells no other one than the whole does.
func FuzzServerName(f *testing.F) {
	for _, b := range [][]byte{helloOf(f, "a.example"), helloOf(f, ""), envoys(f)} {
		f.Add(b, uint16(len(b)))
		f.Add(b, uint16(130))
	}
	f.Fuzz(func(t *testing.T, b []byte, kept uint16) {
		all, part := readHello(b), readHello(b[:min(len(b), int(kept))])
		if part.named && (!all.named || part.name != all.name) || part.offers && (!all.offers || !slices.Equal(part.alpn, all.alpn)) {
			t.Errorf("of %x: %+v, of %d bytes %+v", b, all, kept, part)
		}
	})
}

// A connection that was open before and carries TLS is not that of a request in plain text, such as
// one between the proxies of a mesh, which keep theirs; one that cannot be read may be.
func TestOpenTLS(t *testing.T) {
	record := func(head string) string { return head + strings.Repeat("\x9a", 32) }
	for _, c := range []struct {
		what, payload string
		want          Word
	}{
		{"application data", record("\x17\x03\x03\x00\x20"), NotObserved},
		{"the largest record", record("\x17\x03\x03\x41\x00"), NotObserved},
		{"longer than a record", record("\x17\x03\x03\x41\x01"), Confirmed},
		{"of no version", record("\x17\x03\x05\x00\x20"), Confirmed},
		{"anything", record("\x80\x03\x03\x00\x20"), Confirmed},
	} {
		seen := []flow.Observation{wrote(1, "lo", app, trap, c.payload), wrote(2, "lo", svc, app, c.payload)}
		r := Check(watched(), seen, flow.Loss{Late: true}, Known{})
		got := word(r, 0, 0)
		if got == Unverifiable {
			got = NotObserved
		}
		if got != c.want {
			t.Errorf("%s: %v %v, want %v", c.what, word(r, 0, 0), r.Steps[0].Why, c.want)
		}
	}
}

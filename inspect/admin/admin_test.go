package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/rules/flow"
)

const twoListeners = `{"listener_statuses":[{"name":"a","local_address":{}},{"name":"b"}]}`

// serve is an admin interface that answers by path; what it does not know is Envoy's 404.
func serve(t *testing.T, answers map[string]http.HandlerFunc) netip.AddrPort {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, ok := answers[r.URL.RequestURI()]; ok {
			f(w, r)
			return
		}
		w.WriteHeader(404)
		fmt.Fprint(w, "invalid path. admin commands are:\n  /: Admin home page\n")
	}))
	t.Cleanup(srv.Close)
	return netip.MustParseAddrPort(srv.Listener.Addr().String())
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
}

// hang answers when the client goes away.
func hang(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func dial(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", a.String())
}

func find(t *testing.T, opt Options, at ...netip.AddrPort) (*Found, error) {
	t.Helper()
	f, _, err := Find(context.Background(), dial, at, opt)
	if err == nil {
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return f, err
}

// An Envoy's process on the usual ports first, then whoever listens there; other ports of an
// Envoy are never asked, since a capture port may loop.
func TestCandidates(t *testing.T) {
	at := func(s, process string) Listening {
		return Listening{Addr: netip.MustParseAddrPort(s), Process: process}
	}
	for _, c := range []struct {
		name string
		in   []Listening
		want string
	}{
		{"nothing", nil, "[]"},
		{"capture ports only", []Listening{at("0.0.0.0:15001", "envoy"), at("0.0.0.0:15006", "envoy")}, "[]"},
		{"the seed's", []Listening{at("0.0.0.0:15001", "envoy"), at("0.0.0.0:9901", "envoy")}, "[127.0.0.1:9901]"},
		{"an app on 15000 does not come first", []Listening{at("0.0.0.0:15000", "app"), at("127.0.0.1:9901", "envoy")}, "[127.0.0.1:9901 127.0.0.1:15000]"},
		{"15000 before 9901", []Listening{at("127.0.0.1:9901", "envoy"), at("127.0.0.1:15000", "envoy")}, "[127.0.0.1:15000 127.0.0.1:9901]"},
		{"pilot-agent", []Listening{at("127.0.0.1:15000", "pilot-agent"), at("0.0.0.0:19000", "")}, "[127.0.0.1:15000 127.0.0.1:19000]"},
		{"both families", []Listening{at("[::]:19000", "envoy"), at("0.0.0.0:19000", "envoy")}, "[127.0.0.1:19000 [::1]:19000]"},
		{"one for each worker", []Listening{at("0.0.0.0:9901", "envoy"), at("0.0.0.0:9901", "envoy")}, "[127.0.0.1:9901]"},
		{"on the pod's address", []Listening{at("10.244.1.7:9901", "envoy")}, "[10.244.1.7:9901]"},
	} {
		if got := fmt.Sprint(Candidates(c.in)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	app := serve(t, map[string]http.HandlerFunc{listenersPath: text("<html>hello</html>")})
	other := serve(t, map[string]http.HandlerFunc{listenersPath: text(`{"pets":[]}`)})
	good := serve(t, map[string]http.HandlerFunc{listenersPath: text(twoListeners)})
	empty := serve(t, map[string]http.HandlerFunc{listenersPath: text("{}\n")})
	f, err := find(t, Options{}, app, other, good)
	if err != nil || f.Addr() != good || !slices.Equal(f.Names, []string{"a", "b"}) {
		t.Fatalf("%v, %v", f, err)
	}
	if f, err = find(t, Options{}, empty); err != nil || len(f.Names) != 0 {
		t.Errorf("an Envoy without listeners: %v", err)
	}
	_, err = find(t, Options{}, app, other)
	if !errors.Is(err, ErrNone) || errors.Is(err, ErrUnclear) || !strings.Contains(err.Error(), app.String()) || !strings.Contains(err.Error(), `"listener_statuses"`) {
		t.Errorf("neither: %v", err)
	}
	if _, err = find(t, Options{}); !errors.Is(err, ErrNone) || errors.Is(err, ErrUnclear) {
		t.Errorf("nothing listens: %v", err)
	}
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	if _, err = find(t, Options{}, closed); !errors.Is(err, ErrNone) || !errors.Is(err, ErrUnclear) || !strings.Contains(err.Error(), "GET 127.0.0.1:1/listeners?format=json: ") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("closed: %v", err)
	}
}

// allow_paths may forbid one path and leave others: what is forbidden is a gap, the rest comes.
func TestForbiddenPaths(t *testing.T) {
	forbidden := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, "request to path %s not allowed\n", r.URL.Path)
	}
	a := serve(t, map[string]http.HandlerFunc{
		listenersPath: forbidden, "/config_dump?include_eds": forbidden,
		"/server_info": text(`{"version":"x/1.40.0/Clean","state":"LIVE"}`), "/runtime": text(`{"layers":[]}`),
	})
	f, err := find(t, Options{}, a)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]string{
		"listeners.json":   fmt.Sprintf(`GET %s/listeners?format=json: status 403 Forbidden: "request to path /listeners not allowed"`, a),
		"config_dump.json": fmt.Sprintf(`GET %s/config_dump?include_eds: status 403 Forbidden: "request to path /config_dump not allowed"`, a),
		"clusters.json":    fmt.Sprintf(`GET %s/clusters?format=json: status 404 Not Found: "invalid path. admin commands are:"`, a),
	} {
		if got := gapOf(s, part); got != want {
			t.Errorf("%s: %q\nwant %q", part, got, want)
		}
	}
	if string(s.Files["runtime.json"]) != `{"layers":[]}` {
		t.Errorf("runtime.json: %q", s.Files["runtime.json"])
	}
}

// A hang costs the patience once: what comes after is not asked.
func TestHang(t *testing.T) {
	a := serve(t, map[string]http.HandlerFunc{listenersPath: text(twoListeners), "/server_info": text(`{}`), "/config_dump?include_eds": hang, "/clusters?format=json": hang})
	f, err := find(t, Options{Patience: time.Second, LongPatience: 50 * time.Millisecond}, a)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Read(context.Background(), inspect.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := gapOf(s, "config_dump.json"), fmt.Sprintf("GET %s/config_dump?include_eds: no answer within 50ms", a); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, part := range []string{"clusters.json", "runtime.json", "stats"} {
		if got, want := gapOf(s, part), fmt.Sprintf("not asked: %s gave no answer before", a); got != want {
			t.Errorf("%s: %q, want %q", part, got, want)
		}
	}
	if len(s.Calls) != 2 {
		t.Errorf("%d calls, want 2: %v", len(s.Calls), s.Calls)
	}
}

// The place itself hangs: found by nobody, with the reason.
func TestFindHang(t *testing.T) {
	a := serve(t, map[string]http.HandlerFunc{listenersPath: hang})
	_, err := find(t, Options{Patience: 50 * time.Millisecond}, a)
	if !errors.Is(err, ErrNone) || !errors.Is(err, ErrHung) || !errors.Is(err, ErrUnclear) {
		t.Errorf("%v", err)
	}
}

// What is no answer is not kept, and the reason is a short text with the place.
func TestBadAnswers(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a text under 200": {text("unable to convert\nmore"), `the answer is not JSON but "unable to convert"`},
		"empty":            {text(""), `the answer is not JSON but ""`},
		"too large":        {text("{" + long), "the answer is larger than 900 bytes"},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("content-length", "800")
			io.WriteString(w, "{"+long[:99])
		}, "the answer broke off after 100 bytes"},
		"hangs in the middle": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "{"+long[:99])
			w.(http.Flusher).Flush()
			hang(w, r)
		}, "no answer: after 200ms it had sent 100 bytes and went on"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "status 302 Found"},
		"control characters": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, "a\x1b]52;c;x\a\nb")
		}, `status 500 Internal Server Error: "a\x1b]52;c;x\a"`},
		"a long line": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, long)
		}, `status 500 Internal Server Error: "` + long[:200] + `..."`},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, map[string]http.HandlerFunc{"/runtime": c.answer})
			cl := New(a, dial, Options{Patience: 200 * time.Millisecond, MaxBytes: 900})
			defer cl.Close()
			data, call, err := cl.Get(context.Background(), "/runtime")
			if data != nil || err == nil || call.Err != err.Error() {
				t.Fatalf("%q, %v, call %+v", data, err, call)
			}
			if got, want := err.Error(), "GET "+a.String()+"/runtime: "+c.want; !strings.HasPrefix(got, want) {
				t.Errorf("%q\nwant %q", got, want)
			}
		})
	}
}

// A large answer goes to a file that nobody else can open, and reads the same.
func TestSpool(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	body := `{"x":"` + strings.Repeat("0123456789", 100_000) + `"}`
	a := serve(t, map[string]http.HandlerFunc{"/runtime": text(body)})
	c := New(a, dial, Options{InMemory: 1000})
	data, _, err := c.Get(context.Background(), "/runtime")
	if err != nil || string(data) != body {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if !c.spools[0].Mapped() {
		t.Fatal("it is in memory")
	}
	st, err := c.spools[0].File().Stat()
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("the file has a name: %v", left)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	// At the edge: as large as fits stays in memory.
	for size, want := range map[int64]bool{int64(len(body)) - 1: true, int64(len(body)): false} {
		c := New(a, dial, Options{InMemory: size})
		if _, _, err := c.Get(context.Background(), "/runtime"); err != nil {
			t.Fatal(err)
		}
		if got := len(c.spools) > 0; got != want {
			t.Errorf("in memory up to %d: a file %v, want %v", size, got, want)
		}
		c.Close()
	}
}

// What is small, or no answer, leaves nothing behind.
func TestSpoolKeepsWhatIsUsed(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	a := serve(t, map[string]http.HandlerFunc{"/runtime": text("{}"), "/config_dump": text(strings.Repeat("no JSON ", 1000))})
	c := New(a, dial, Options{InMemory: 1000})
	defer c.Close()
	if _, _, err := c.Get(context.Background(), "/runtime"); err != nil {
		t.Fatal(err)
	}
	var no *Refusal
	if _, _, err := c.Get(context.Background(), "/config_dump"); !errors.As(err, &no) {
		t.Errorf("a text for JSON: %v", err)
	}
	if len(c.spools) > 0 {
		t.Errorf("%d spools are kept", len(c.spools))
	}
}

// Up to 500 listeners the configuration is read whole, above only what names it, unless all
// of it is asked for.
func TestLarge(t *testing.T) {
	for _, c := range []struct {
		n     int
		full  bool
		whole bool
	}{{Large, false, true}, {Large + 1, false, false}, {Large + 1, true, true}} {
		names := make([]string, c.n)
		for i := range names {
			names[i] = fmt.Sprintf(`{"name":"l%d"}`, i)
		}
		a := serve(t, map[string]http.HandlerFunc{
			listenersPath: text(`{"listener_statuses":[` + strings.Join(names, ",") + `]}`), "/server_info": text("{}"), "/runtime": text("{}"), "/stats": text("a: 1\n"),
			"/config_dump?include_eds": text(`{"configs":[]}`), bootstrapPath: text(`{"configs":[]}`), "/clusters?format=json": text("{}"), "/certs": text("{}"),
		})
		f, err := find(t, Options{}, a)
		if err != nil {
			t.Fatal(err)
		}
		s, err := f.Read(context.Background(), inspect.Want{Full: c.full})
		if err != nil || len(s.Gaps) > 0 {
			t.Fatalf("%v, gaps %v", err, s.Gaps)
		}
		if _, whole := s.Files["config_dump.json"]; whole != c.whole {
			t.Errorf("%d listeners, full %v: whole %v", c.n, c.full, whole)
		}
		if _, certs := s.Files["certs.json"]; certs != c.whole {
			t.Errorf("%d listeners, full %v: certificates %v", c.n, c.full, certs)
		}
		if _, some := s.Files["config_dump/bootstrap.json"]; some == c.whole {
			t.Errorf("%d listeners, full %v: only the bootstrap %v", c.n, c.full, some)
		}
	}
}

// Names are data: as a regex and in a URL they mean themselves.
func TestNeedsAreEscaped(t *testing.T) {
	var asked []string
	a := serve(t, map[string]http.HandlerFunc{listenersPath: text(twoListeners)})
	f, err := find(t, Options{}, a)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Read(context.Background(), inspect.Want{Needs: []flow.Need{{Part: "route", Name: "a.b|c&d=e/f%"}, {Part: "ecds", Name: "f*"}, {Part: "secret", Name: "s"}, {Part: "scope", Name: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.Calls {
		asked = append(asked, strings.TrimPrefix(c.What, "GET "+a.String()))
	}
	want := []string{`/config_dump?mask=dynamic_route_configs,static_route_configs&name_regex=a%5C.b%5C%7Cc%26d%3De%2Ff%25`,
		`/config_dump?mask=ecds_filters&name_regex=f%5C%2A`, `/config_dump?mask=dynamic_active_secrets,static_secrets&name_regex=s`}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
	if g := gapOf(s, "config_dump/dynamic_route_configs,static_route_configs/a.b%7Cc&d=e%2Ff%25.json"); g == "" {
		t.Errorf("gaps %v", s.Gaps)
	}
	if g := gapOf(s, "scope"); !strings.Contains(g, "cannot be asked") {
		t.Errorf("gaps %v", s.Gaps)
	}
}

// The caller's own end of patience is no hang of the admin interface.
func TestCallerGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	a := serve(t, map[string]http.HandlerFunc{"/runtime": func(w http.ResponseWriter, r *http.Request) {
		cancel()
		hang(w, r)
	}})
	c := New(a, dial, Options{})
	defer c.Close()
	if _, _, err := c.Get(ctx, "/runtime"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrHung) {
		t.Errorf("%v", err)
	}
}

// Files of an earlier client live as long as the one that took them over.
func TestAdopt(t *testing.T) {
	a := serve(t, map[string]http.HandlerFunc{"/runtime": text(`{"k":"` + strings.Repeat("v", 4096) + `"}`)})
	old, now := New(a, dial, Options{InMemory: 10}), New(a, dial, Options{})
	data, _, err := old.Get(context.Background(), "/runtime")
	if err != nil {
		t.Fatal(err)
	}
	now.Adopt(old)
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if data[len(data)-1] != '}' {
		t.Error("the answer is gone")
	}
	if err := now.Close(); err != nil {
		t.Error(err)
	}
}

func gapOf(s inspect.Snapshot, part string) string {
	for _, g := range s.Gaps {
		if g.Part == part {
			return g.Reason
		}
	}
	return ""
}

// Whatever stands in for an admin interface may answer anything.
func FuzzListenerNames(f *testing.F) {
	for _, s := range []string{twoListeners, "{}", "{}\n", `{"listener_statuses":null}`, `{"listener_statuses":[{}]}`, `{"listener_statuses":{}}`, "[", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if names, err := listenerNames(b); err != nil && names != nil {
			t.Errorf("both %v and %v", names, err)
		}
	})
}

// What changes something is a POST, which Envoy wants there; its refusal is the error, and
// the call says what was asked.
func TestPost(t *testing.T) {
	only := func(method, answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method {
				w.WriteHeader(405)
				return
			}
			io.WriteString(w, answer)
		}
	}
	a := serve(t, map[string]http.HandlerFunc{
		"/runtime_modify?a=0": only("POST", "OK\n"),
		"/runtime_modify?b=0": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			io.WriteString(w, "No admin layer specified")
		},
		"/stats?filter=x": only("GET", "x: 1\n"),
	})
	c := New(a, dial, Options{})
	defer c.Close()
	call, err := c.Post(context.Background(), "/runtime_modify?a=0")
	if err != nil || call.What != "POST "+a.String()+"/runtime_modify?a=0" {
		t.Errorf("%+v, %v", call, err)
	}
	var no *Refusal
	if _, err := c.Post(context.Background(), "/runtime_modify?b=0"); !errors.As(err, &no) || no.Text != "No admin layer specified" {
		t.Errorf("%v", err)
	}
	if body, _, err := c.Text(context.Background(), "/stats?filter=x"); err != nil || string(body) != "x: 1\n" {
		t.Errorf("%q, %v", body, err)
	}
}

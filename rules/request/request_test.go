package request

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
)

func TestWords(t *testing.T) {
	for in, want := range map[string][]string{
		`curl  -H 'a: b'	x`:     {"curl", "-H", "a: b", "x"},
		`a"b c"'d'\ e`:          {"ab cd e"},
		`'' ""`:                 {"", ""},
		"a \\\n b\\\nc":         {"a", "bc"},
		"a \\\r\n b":            {"a", "b"},
		`"\"\\\$x\y"`:           {`"\$x\y`},
		`$'a\'b\n\x41\u00e9\q'`: {"a'b\nAé\\q"},
	} {
		got, err := Words(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Words(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		`curl 'x`: "not closed", `curl "x`: "not closed", `curl x\`: "backslash", "curl x | sh": "for a shell",
		`curl "$(id)"`: "for a shell", "curl $HOME": "for a shell", `curl $'x`: "not closed", `curl $'\xg'`: "hexadecimal",
	} {
		if _, err := Words(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Words(%q): %v, want %q", in, err, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	a := netip.MustParseAddr
	for in, want := range map[string]Target{
		"10.0.0.1":                  {Addr: a("10.0.0.1"), Port: 80, Authority: "10.0.0.1"},
		"10.0.0.1:8080":             {Addr: a("10.0.0.1"), Port: 8080, Authority: "10.0.0.1:8080"},
		"10.0.0.1:80":               {Addr: a("10.0.0.1"), Port: 80, Authority: "10.0.0.1"},
		"[::1]:443":                 {Addr: a("::1"), Port: 443, Authority: "[::1]:443"},
		"fd00::5":                   {Addr: a("fd00::5"), Port: 80, Authority: "[fd00::5]"},
		"svc":                       {Host: "svc", Port: 80, Authority: "svc"},
		"http://svc.ns:8080/a?b#c":  {Host: "svc.ns", Port: 8080, Scheme: "http", Path: "/a?b", Authority: "svc.ns:8080"},
		"https://u:p%40@svc":        {User: "u:p@", Host: "svc", Port: 443, Scheme: "https", Authority: "svc"},
		"HTTPS://svc:443?x":         {Host: "svc", Port: 443, Scheme: "https", Path: "/?x", Authority: "svc"},
		"http://[2001:db8::1]:81/x": {Addr: a("2001:db8::1"), Port: 81, Scheme: "http", Path: "/x", Authority: "[2001:db8::1]:81"},
	} {
		got, err := ParseTarget(in)
		if err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "10.0.0.300", "a b", "svc:0", "svc:65536", "svc:x", "[::1", "[::1]x", "ftp://x", "http://", "svc\x1b[1m", "1.2.3"} {
		if got, err := ParseTarget(in); err == nil {
			t.Errorf("ParseTarget(%q) = %+v, want an error", in, got)
		}
	}
}

func body(s string) *flow.Body { return &flow.Body{Size: len(s), Bytes: []byte(s)} }

// What a body holds is read and never written: its size stands for it.
func TestBody(t *testing.T) {
	in := `{"dst":"10.0.0.1:80","http":{"method":"POST","authority":"a","path":"/","headers":[],"body":"secret"}}`
	r, err := Parse([]byte(in))
	if err != nil || !reflect.DeepEqual(r.HTTP.Body, body("secret")) || !reflect.DeepEqual(r.HTTP.Headers, [][2]string{{"Content-Length", "6"}}) {
		t.Fatalf("%+v, %v", r.HTTP, err)
	}
	out, err := json.Marshal(FormOf(r))
	if err != nil || strings.Contains(string(out), "secret") || !strings.Contains(string(out), `"bodySize":6`) {
		t.Errorf("%s, %v", out, err)
	}
	if again, err := Parse(out); err != nil || again.HTTP.Body.Size != 6 || again.HTTP.Body.Bytes != nil || len(again.HTTP.Headers) != 1 {
		t.Errorf("%+v, %v", again.HTTP, err)
	}
	if _, err := Parse([]byte(strings.Replace(in, `"body"`, `"bodySize":5,"body"`, 1))); err == nil {
		t.Error("a size of another body")
	}
	long := strings.Repeat("x", maxBody+1)
	if _, err := Curl("curl -d " + long + " http://10.0.0.1/"); err == nil {
		t.Error("a body that is too long")
	}
	h := flow.HTTP{Method: "GET", Headers: [][2]string{{"content-type", "x/y"}}}
	if err := Data(&h, "ab"); err != nil || h.Method != "POST" || !reflect.DeepEqual(h.Headers, [][2]string{{"content-type", "x/y"}, {"Content-Length", "2"}}) {
		t.Errorf("%+v, %v", h, err)
	}
	if err := Data(&h, long); err == nil {
		t.Error("a body that is too long")
	}
}

func TestCurl(t *testing.T) {
	for in, want := range map[string]flow.HTTP{
		`curl http://10.0.0.1/`:                                              {Method: "GET", Authority: "10.0.0.1", Path: "/", Headers: [][2]string{{"User-Agent", CurlAgent}, {"Accept", "*/*"}}},
		`curl -sSI -A x 'http://10.0.0.1:8080/a/../b?c=d'`:                   {Method: "HEAD", Authority: "10.0.0.1:8080", Path: "/b?c=d", Headers: [][2]string{{"User-Agent", "x"}, {"Accept", "*/*"}}},
		`curl -XPUT -H 'Host: a.b' -H Accept: -H 'X;' 10.0.0.1 --path-as-is`: {Method: "PUT", Authority: "a.b", Path: "/", Headers: [][2]string{{"User-Agent", CurlAgent}, {"X", ""}}},
		`curl -d a=1 -d b=2 http://10.0.0.1/x`: {Method: "POST", Authority: "10.0.0.1", Path: "/x", Headers: [][2]string{{"User-Agent", CurlAgent}, {"Accept", "*/*"},
			{"Content-Length", "7"}, {"Content-Type", "application/x-www-form-urlencoded"}}, Body: body("a=1&b=2")},
		`curl -d @f -H 'Content-Type: x/y' http://10.0.0.1/x`: {Method: "POST", Authority: "10.0.0.1", Path: "/x", Headers: [][2]string{{"User-Agent", CurlAgent}, {"Accept", "*/*"}, {"Content-Type", "x/y"}},
			Unsure: []string{"content-length"}, Body: &flow.Body{Size: -1}},
		`curl -X PUT --data-raw @f --data-urlencode 'n=a b~/é' http://10.0.0.1/x`: {Method: "PUT", Authority: "10.0.0.1", Path: "/x", Headers: [][2]string{{"User-Agent", CurlAgent}, {"Accept", "*/*"},
			{"Content-Length", "18"}, {"Content-Type", "application/x-www-form-urlencoded"}}, Body: body("@f&n=a+b~%2F%C3%A9")},
		`curl -d '' http://10.0.0.1/x`: {Method: "POST", Authority: "10.0.0.1", Path: "/x", Headers: [][2]string{{"User-Agent", CurlAgent}, {"Accept", "*/*"},
			{"Content-Length", "0"}, {"Content-Type", "application/x-www-form-urlencoded"}}, Body: body("")},
		`curl -G -d a=1 'http://me:x@10.0.0.1/x?y' --http1.0`: {Method: "GET", Authority: "10.0.0.1", Path: "/x?y&a=1", Version: "1.0",
			Headers: [][2]string{{"Authorization", "Basic bWU6eA=="}, {"User-Agent", CurlAgent}, {"Accept", "*/*"}}},
		`curl --http2-prior-knowledge --json '{}' -H 'User-Agent: z' 10.0.0.1`: {Method: "POST", Authority: "10.0.0.1", Path: "/", Version: "2", Headers: [][2]string{
			{"Accept", "application/json"}, {"Content-Length", "2"}, {"Content-Type", "application/json"}, {"User-Agent", "z"}}, Body: body("{}")},
	} {
		d, err := Curl(in)
		if err != nil || !reflect.DeepEqual(*d.Request.HTTP, want) {
			t.Errorf("Curl(%q) = %+v, %v, want %+v", in, d.Request.HTTP, err, want)
		}
	}
}

func TestCurlTLSAndNames(t *testing.T) {
	d, err := Curl(`curl -k https://svc.example/ --http1.1`)
	if err != nil || d.Host != "svc.example" || d.Request.Dst.Port() != 443 || d.Request.TLS == nil || d.Request.TLS.SNI != "svc.example" ||
		!reflect.DeepEqual(d.Request.TLS.ALPN, []string{"http/1.1"}) || d.Request.HTTP.Version != "" {
		t.Errorf("%+v, %v", d, err)
	}
	if r := d.At(netip.MustParseAddr("10.0.0.9")); r.Dst.String() != "10.0.0.9:443" {
		t.Errorf("resolved to %v", r.Dst)
	}
	for in, want := range map[string]string{
		`curl --resolve svc:80:10.0.0.5 http://svc/`:              "10.0.0.5:80",
		`curl --resolve other:80:10.0.0.5 http://10.0.0.6/`:       "10.0.0.6:80",
		`curl --connect-to svc:80:10.0.0.7:8080 http://svc/`:      "10.0.0.7:8080",
		`curl --connect-to ::10.0.0.8:81 http://10.0.0.9/`:        "10.0.0.8:81",
		`curl --resolve svc:80:10.0.0.5 --interface 10.1.1.1 svc`: "10.0.0.5:80",
	} {
		d, err := Curl(in)
		if err != nil || d.Host != "" || d.Request.Dst.String() != want || d.Request.HTTP.Authority == "" {
			t.Errorf("Curl(%q) goes to %v (%q), %v, want %s", in, d.Request.Dst, d.Host, err, want)
		}
	}
	// SNI is a name, never an address (RFC 6066, 3).
	if d, err := Curl(`curl https://10.0.0.1/`); err != nil || d.Request.TLS.SNI != "" {
		t.Errorf("SNI %q, %v", d.Request.TLS.SNI, err)
	}
}

func TestCurlRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"curl": "no URL", "curl a b": "two URLs", "curl -H": "needs a value", "curl --nope x": "--nope is not known",
		"curl -x p:1 http://a/": "proxy", "curl -Q x": "-Q is not known", "curl a --next b": "one request", "curl -H nocolon a": "want 'Name: value'",
		"curl --http3 a": "HTTP/3", "curl 'a": "not closed", "curl http://10.0.0.300/": "not an IP address", "curl -b jar a": "from a file",
		"curl -G -d @params http://a/x": "write the query into the URL", "curl -d a=1 -d @p -G a": "write the query into the URL", "curl -G --data-urlencode q@p a": "write the query into the URL", "curl --resolve x a": "HOST:PORT:ADDR",
	} {
		if _, err := Curl(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Curl(%q): %v, want %q", in, err, want)
		}
	}
}

// Form and request are the same in both directions.
func TestFormRoundTrip(t *testing.T) {
	for _, in := range []string{
		`{"direction":"inbound","src":"10.0.0.1:5","dst":"[fd00::1]:8080","proto":"udp","uid":1,"gid":2,"mark":3,"in":"eth0","pick":{"a":"b"}}`,
		`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.2:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"a","alpn":["h2"]},"pick":{},"http":{"method":"POST","authority":"x","path":"/y","headers":[["a","b"]],"version":"2"},"payload":""}`,
		`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.2:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[],"cert":false},"pick":{}}`,
		`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.2:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[],"cert":true},"pick":{}}`,
		`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.2:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[],"cert":true,"sans":["spiffe://a/b"]},"pick":{}}`,
	} {
		r, err := Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(FormOf(r))
		if err != nil || string(out) != in {
			t.Errorf("%v\n got %s\nwant %s", err, out, in)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{`: "unexpected EOF", `{"dst":"10.0.0.1:80","dts":1}`: `unknown field "dts"`, `{}`: "dst is missing", `{"dst":"x:1"}`: "dst", `{"dst":"10.0.0.1"}`: "no port",
		`{"dst":"10.0.0.1:80","direction":"up"}`: "outbound or inbound", `{"dst":"10.0.0.1:80","proto":"x"}`: "protocol", `{"dst":"10.0.0.1:80","src":"x"}`: "src",
		`{"dst":"10.0.0.1:80"} {}`: "more text", `{"dst":"10.0.0.1:80","tls":{"cert":false,"sans":["a"]}}`: "cert is false",
		`{"dst":"10.0.0.1:80","tls":{"sans":["a"],"certificate":"x"}}`: "sans cannot stand", `{"dst":"10.0.0.1:80","tls":{"certificate":"x"}}`: "no CERTIFICATE in PEM",
		`{"dst":"10.0.0.1:80","tls":{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}`: "client certificate: x509",
	} {
		if _, err := Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s): %v, want %q", in, err, want)
		}
	}
}

func FuzzCurl(f *testing.F) {
	for _, s := range []string{`curl -H 'a: b' http://10.0.0.1/`, `curl $'\x41' "x`, `curl --connect-to ::a:1 [::1]:80`, `-XPOST -d @- a/../..`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Curl(s)
		if err == nil && (d.Request.HTTP == nil || d.Request.Dst.Port() == 0 || (d.Host == "") != d.Request.Dst.Addr().IsValid()) {
			t.Errorf("%q gives half a request: %+v", s, d)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"dst":"10.0.0.1:80","http":{"headers":[["a","b"]]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Parse(in)
		if err != nil {
			return
		}
		out, err := json.Marshal(FormOf(r))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(out); err != nil || !reflect.DeepEqual(FormOf(again), FormOf(r)) {
			t.Errorf("%s reads back as %s, %v", in, out, err)
		}
	})
}

// Of a file in PEM only certificates are taken, never the key beside them; names said with it
// or without say that one is presented.
func TestCertificates(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("secret")})
	tls := flow.TLS{SANs: []string{"x"}}
	if err := SetCertificate(&tls, slices.Concat(secret, cert, secret, cert)); err != nil || string(tls.Certificate) != string(cert)+string(cert) || tls.Cert != flow.Yes || tls.SANs != nil {
		t.Errorf("%+v, %v", tls, err)
	}
	if err := SetCertificate(&tls, secret); err == nil {
		t.Error("a key alone is taken as a certificate")
	}
	in, _ := json.Marshal(map[string]any{"dst": "10.0.0.1:443", "tls": map[string]any{"certificate": string(cert)}})
	if r, err := Parse(in); err != nil || r.TLS.Cert != flow.Yes || FormOf(r).TLS.Certificate != string(cert) {
		t.Errorf("%+v, %v", r.TLS, err)
	}
	if r, err := Parse([]byte(`{"dst":"10.0.0.1:443","tls":{"sans":["a"]}}`)); err != nil || r.TLS.Cert != flow.Yes {
		t.Errorf("names only: %+v, %v", r.TLS, err)
	}
	for cmd, want := range map[string]flow.Answer{"curl https://a/": flow.No, "curl -E c.pem https://a/": flow.Yes} {
		if d, err := Curl(cmd); err != nil || d.Request.TLS.Cert != want {
			t.Errorf("%s: %+v, %v", cmd, d.Request.TLS, err)
		}
	}
}

// A draft's dst may be a name with a port; where the address came from is read back as written.
func TestParseDraft(t *testing.T) {
	d, err := ParseDraft([]byte(`{"dst":"web.shop:8080","http":{"path":"/"}}`))
	if err != nil || d.Host != "web.shop" || d.Request.Dst.Port() != 8080 || d.Request.Dst.Addr().IsValid() || d.Request.HTTP.Authority != "web.shop" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := ParseDraft([]byte(`{"dst":"10.0.0.1:80"}`)); err != nil || d.Host != "" || d.Request.Dst.String() != "10.0.0.1:80" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, bad := range []string{`{"dst":"web.shop"}`, `{"dst":"10.0.0.300:80"}`, `{"dst":"web shop:80"}`, `{"dst":"web:0"}`, `{"dst":"web:80","x":1}`} {
		if d, err := ParseDraft([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, d)
		}
	}
	if _, err := Parse([]byte(`{"dst":"web.shop:8080"}`)); err == nil {
		t.Error("a name where an address is wanted")
	}
	n := flow.Named{Name: "web", Full: "web.ns.", By: flow.NamedServer, Where: "10.0.0.1:53", Server: netip.MustParseAddrPort("10.0.0.1:53"),
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}, NoRoute: 1, Via: netip.MustParseAddrPort("127.0.0.1:15053"), Picked: true}
	raw, err := json.Marshal(FormOf(d.Named(n)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(raw)
	if err != nil || got.Named == nil || !reflect.DeepEqual(*got.Named, n) {
		t.Errorf("read back as %+v, %v", got.Named, err)
	}
}

package plain

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/meshtop/meshtop/rules/flow"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/pflag"
)

func draft(t *testing.T, args ...string) (request.Draft, error) {
	t.Helper()
	var r requestFlags
	f := pflag.NewFlagSet("x", pflag.ContinueOnError)
	r.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return r.draft()
}

// What the flags say, in the JSON form of the request that they make.
func TestDraft(t *testing.T) {
	const plain = `,"pick":{},"http":{"method":"GET","authority":"10.0.0.1","path":"/","headers":[]}}`
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--to", "10.0.0.1"}, `{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:80","proto":"tcp","uid":0,"gid":0,"mark":0,"in":""` + plain},
		{[]string{"--to", "10.0.0.1", "--uid", "7", "--gid", "8", "--mark", "9", "--src", "10.1.1.1:5"},
			`{"direction":"outbound","src":"10.1.1.1:5","dst":"10.0.0.1:80","proto":"tcp","uid":7,"gid":8,"mark":9,"in":""` + plain},
		{[]string{"--to", "10.0.0.1", "--inbound", "--in", "eth0"}, `{"direction":"inbound","src":"0.0.0.0:0","dst":"10.0.0.1:80","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"eth0"` + plain},
		{[]string{"--to", "[fd00::1]:53", "--proto", "udp"}, `{"direction":"outbound","src":"0.0.0.0:0","dst":"[fd00::1]:53","proto":"udp","uid":0,"gid":0,"mark":0,"in":"","pick":{}}`},
		{[]string{"--to", "10.0.0.1:9", "--raw"}, `{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:9","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","pick":{}}`},
		{[]string{"--to", "10.0.0.1", "-X", "PUT", "-H", "Host: a.b", "-H", "x:  y ", "-H", "e:", "--path", "/p?q", "--alpn", "h2c"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:80","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","pick":{},"http":{"method":"PUT","authority":"a.b","path":"/p?q","headers":[["x","y "],["e",""]],"version":"2"}}`},
		{[]string{"--to", "https://10.0.0.1/x", "--sni", "a", "--alpn", "h2,http/1.1", "--authority", "z"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"a","alpn":["h2","http/1.1"]},"pick":{},"http":{"method":"GET","authority":"z","path":"/x","headers":[]}}`},
		{[]string{"--to", "10.0.0.1:443", "--tls"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[]},"pick":{},"http":{"method":"GET","authority":"10.0.0.1:443","path":"/","headers":[]}}`},
		{[]string{"--to", "10.0.0.1:443", "--tls", "--cert", "none", "--raw"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[],"cert":false},"pick":{}}`},
		{[]string{"--to", "10.0.0.1:443", "--tls", "--san", "a,b", "--san", "spiffe://x", "--raw"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.1:443","proto":"tcp","uid":0,"gid":0,"mark":0,"in":"","tls":{"sni":"","alpn":[],"cert":true,"sans":["a,b","spiffe://x"]},"pick":{}}`},
		{[]string{"--curl", "curl -A c -H Accept: http://10.0.0.1/", "--to", "10.0.0.2:81", "--uid", "3", "-X", "POST"},
			`{"direction":"outbound","src":"0.0.0.0:0","dst":"10.0.0.2:81","proto":"tcp","uid":3,"gid":0,"mark":0,"in":"","pick":{},"http":{"method":"POST","authority":"10.0.0.1","path":"/","headers":[["User-Agent","c"]]}}`},
	} {
		d, err := draft(t, c.args...)
		if err != nil {
			t.Errorf("%v: %v", c.args, err)
			continue
		}
		got, err := json.Marshal(request.FormOf(d.Request))
		if err != nil || string(got) != c.want {
			t.Errorf("%v\n got %s\nwant %s", c.args, got, c.want)
		}
	}
}

// --pick names a choice as the trace does: with blanks, with = in it, quoted or not.
func TestPick(t *testing.T) {
	d, err := draft(t, "--to", "10.0.0.1", "--pick", "random=0.3", "--pick", "ip nat OUTPUT 3=no-match", "--pick", `"a=b c"=d=e`, "--pick", `"endpoint"=1`)
	want := flow.Pick{"random": "0.3", "ip nat OUTPUT 3": "no-match", "a=b c": "d=e", "endpoint": "1"}
	if err != nil || !reflect.DeepEqual(d.Request.Pick, want) {
		t.Errorf("%v, %v, want %v", d.Request.Pick, err, want)
	}
	if _, err := draft(t, "--to", "10.0.0.1", "--pick", "a=1", "--pick", "a=2"); err == nil {
		t.Error("a choice that is pinned to two values is no error")
	}
}

// A name stays a name until the pod is asked for it.
func TestDraftName(t *testing.T) {
	d, err := draft(t, "--to", "https://svc.ns:8443/x")
	if err != nil || d.Host != "svc.ns" || d.Request.Dst.Port() != 8443 || d.Request.TLS.SNI != "svc.ns" || d.Request.HTTP.Authority != "svc.ns:8443" {
		t.Errorf("%+v %+v, %v", d, d.Request.TLS, err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"abc", "abc", 0}, {"trcae", "trace", 2}, {"a", "b", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != got {
			t.Errorf("%q and %q are %d apart, want %d", c.a, c.b, got, c.want)
		}
	}
}

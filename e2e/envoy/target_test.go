package envoy

import (
	"encoding/json"
	"fmt"
	"testing"
)

// oddTargets are request targets in absolute form whose parts are odd: Envoy reads them with
// Chromium's URL parser.
var oddTargets = []string{
	"http://a.test/x", "http://a.test", "http://a.test?x=1", "http://a.test#f", "http://a.test/x?y#f", "http://a.test:80/", "http://a.test:8080/", "http://a.test:443/",
	"https://a.test/", "https://a.test:443/", "https://a.test:80/", "HTTP://A.Test/X", "hTTp://a.test/",
	"http://a.test:/", "http://:80/", "http:///x", "http://", "http:/a.test/x", "http:a.test/x", "http://?x", "http://#x",
	"http://a.test:0/", "http://a.test:00080/", "http://a.test:65535/", "http://a.test:65536/", "http://a.test:x/", "http://a.test:8 0/", "http://a.test:-1/", "http://a.test:80:80/",
	"http://user@a.test/", "http://user:pw@a.test/", "http://@a.test/", "http://user@@a.test/", "http://u@v@a.test/", "http://user@/",
	"http://[::1]/", "http://[::1]:80/", "http://[::1]:/", "http://[::1/", "http://[::01]/", "http://[0:0:0:0:0:0:0:1]/", "http://[zz]/", "http://[]/", "http://[::ffff:1.2.3.4]/",
	"http://10.0.0.1/", "http://010.0.0.1/", "http://0x7f.1/", "http://10.1/", "http://256.1.1.1/", "http://1.2.3.4.5/", "http://1.2.3.4./",
	"http://a.test./", "http://a..test/", "http://.a.test/", "http://a_b.test/", "http://a-b.test/", "http://*.test/", "http://a*c.test/", "http://a%2etest/", "http://a%20b/",
	"http://a%41.test/", "http://a!b/", "http://a$b/", "http://a&b/", "http://a'b/", "http://a(b)/", "http://a+b/", "http://a,b/", "http://a;b/", "http://a=b/", "http://a~b/", "http://%/", "http://a%/", "http://a%zz/",
	"http://a.test/../x", "http://a.test/./x", "http://a.test/%2e%2e/x", "http://a.test//x", "http://a.test/a%41", "http://a.test/a|b", "http://a.test/a\"b", "http://a.test/a<b", "http://a.test/a\\b", "http://a.test\\x", "http:\\\\a.test/x", "http://a.test/{x}", "http://a.test/?q=\"x\"", "http://a.test/x?a'b",
	"ftp://a.test/x", "ftp://a.test:21/x", "ftp://[::1]:/x", "ws://a.test/", "ws://a.test:10000/", "ws://a*c.test:80/", "wss://a.test/", "file:///x", "file://a.test/x", "foo://a.test/x", "foo://a.test:80/x", "foo:///x", "urn:x", "a+b://a.test/", "1a://a.test/", "mailto:a@a.test", "javascript://a.test/", "about://a.test/x", "data://a.test/", "chrome://a.test/", "filesystem:http://a.test/x/y", "filesystem://a.test/", "blob://a.test/", "foo://", "foo://a b/", "foo://[::1]:/x", "foo://a*c.test/", "foo://:80/x", "http://a.test:80http://b.test/", "ftp://a.test:80.http://b/",
	"http://[1]/", "http://[:::]/", "http://[1:2]/", "http://[::1%25lo]/", "http://[::1.2.3.4]/", "http://[1.2.3.4]/", "http://[V1.x]/", "http://[::g]/", "http://[::FFFF]/", "http://[::1]x/", "http://[::1]:080/", "http://x[::1]/", "http://::1/",
	"http://a.test:000000080/", "http://a.test:99999999999/", "http://-a.test/", "http://a-/", "http://-/", "http://./", "http://../x", "http://1/", "http://user:@a.test/", "http://us%er@a.test/", "http://u@[::1]:80/", "http://u@:80/", "http://a@b:80@c/",
}

// connectTargets are those of CONNECT.
var connectTargets = []string{"a.test:80", "A.Test:80", "a.test", "a.test:", ":80", "u@a.test:80", "a.test:0", "a.test:00080", "a.test:000080", "a.test:65535", "a.test:65536", "a.test:x", "a.test:-1", "a.test:80:80", "a.test:80x",
	"a_b.test:80", "a*c.test:80", "a!b:80", "*:80", "*", "/", "//a.test:80", "a%41:80", "%:80", "a b:80", "10.0.0.1:80", "[::1]:80", "[::1]", "[::1]:", "[zz]:80", "[]:80", "[::1:80", "::1:80", "http://a.test:80/", "a.test:80/", "a.test:80/x", "a.test:80?x", "a.test:80#x", "-:80", ".:80", "a..b:80", "a.:80", "a,b:80", "a;b:80"}

// TestTargets sends each of them.
func TestTargets(t *testing.T) {
	if !Isolated(t) {
		return
	}
	b := &Batch{World: World{ID: "targets", Family: "targets", Clusters: usualClusters(12)}}
	methods := []string{"GET", "OPTIONS"}
	l := listener(listenerName(0), acceptAddr(0), acceptPort)
	b.World.Listeners = append(b.World.Listeners, raw(web(oneRoute(routeTo("c1", everything, nil), routeTo("c2", M{"connect_matcher": M{}}, M{"upgrade_configs": A{M{"upgrade_type": "CONNECT"}}})), nil)(l)))
	host := "h.test"
	for i, x := range oddTargets {
		for _, m := range methods {
			b.Requests = append(b.Requests, Request{ID: fmt.Sprint(i, " ", m, " ", x), Accept: acceptAt(0), HTTP: &HTTP{Method: m, Target: x, Host: &host}})
		}
	}
	for i, x := range connectTargets {
		b.Requests = append(b.Requests, Request{ID: fmt.Sprint("c", i, " CONNECT ", x), Accept: acceptAt(0), HTTP: &HTTP{Method: "CONNECT", Target: x, Host: &host}})
	}
	judgeAll(t, b)
}

// judgeAll runs a batch of which every case must agree.
func judgeAll(t *testing.T, b *Batch) {
	t.Helper()
	r := runClear(t, startOracle(t), b)
	cfg, err := loadWhole(r.Files)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Refused) > 0 || len(r.Cases) != len(b.Requests) || len(r.Cases) == 0 {
		t.Fatalf("%d cases of %d requests, refused %v", len(r.Cases), len(b.Requests), r.Refused)
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		if j := judgeCase(t, cfg, c); j.Word != Agree {
			seen, _ := json.Marshal(c.Outcomes[0].Upstream)
			t.Errorf("%s: %s\n%s", c.Request.ID, j.Why, seen)
		}
	}
}

// TestTemplateBytes asks for every byte that a path can hold what * and ** of a path template
// say of it.
func TestTemplateBytes(t *testing.T) {
	if !Isolated(t) {
		return
	}
	template := func(s string) M {
		return M{"path_match_policy": ext("envoy.path.match.uri_template.uri_template_matcher", "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", M{"path_template": s})}
	}
	rc := oneRoute(routeTo("c1", template("/one/{a=*}"), nil), routeTo("c2", template("/rest/**"), nil), routeTo("c3", everything, nil))
	b := &Batch{World: World{ID: "template", Family: "template", Clusters: usualClusters(4)}}
	b.World.Listeners = []json.RawMessage{raw(web(rc, nil)(listener(listenerName(0), acceptAddr(0), acceptPort)))}
	for c := byte('!'); c < 0x7f; c++ {
		for _, p := range []string{"/one/", "/rest/"} {
			q := get("a.test", p+"x"+string(c)+"y")
			q.ID, q.Accept = q.HTTP.Target, acceptAt(0)
			b.Requests = append(b.Requests, q)
		}
	}
	judgeAll(t, b)
}

// TestReferers sends each of them as a Referer, which Envoy drops where it is no URL.
func TestReferers(t *testing.T) {
	if !Isolated(t) {
		return
	}
	b := &Batch{World: World{ID: "referers", Family: "referers", Clusters: usualClusters(4)}}
	rc := oneRoute(routeTo("c1", M{"prefix": "/", "headers": A{M{"name": "referer", "present_match": true}}}, nil), routeTo("c2", everything, nil))
	b.World.Listeners = []json.RawMessage{raw(web(rc, nil)(listener(listenerName(0), acceptAddr(0), acceptPort)))}
	values := append(oddTargets, "", " ", "/x", "a.test", "http://a.test,http://b.test", "android-app://com.google/", "about:blank", "/x:y", "x/:y", ":", "/", "//a.test:80", "?a:b", "a?b", "/#")
	for c := 0x20; c <= 0xff; c++ {
		if c == 0x7f {
			continue
		}
		for _, form := range []string{"x%sy", "/x%sy", "http://a.test/x%sy", "http://a.test/x?x%sy"} {
			values = append(values, fmt.Sprintf(form, string([]byte{byte(c)})))
		}
	}
	for i, x := range values {
		q := get("a.test", "/", [2]string{"referer", x})
		q.ID, q.Accept = fmt.Sprint(i, " ", x), acceptAt(0)
		b.Requests = append(b.Requests, q)
	}
	judgeAll(t, b)
}

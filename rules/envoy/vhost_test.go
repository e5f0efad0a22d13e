package envoy

import (
	"fmt"
	"testing"
)

func indexOf(domains ...string) *vhostIndex {
	var hosts []tableHost
	for _, d := range domains {
		hosts = append(hosts, tableHost{name: d, domains: []string{d}})
	}
	return newVhostIndex(hosts)
}

func TestFindVirtualHost(t *testing.T) {
	all := indexOf("a.example.com", "*.example.com", "*-x.example.com", "*.com", "a.*", "a.example.*", "a.example.com:8080", "a*c.com", "[::1]:80", "A.B.example.com", "*")
	for host, want := range map[string]string{
		"a.example.com": "a.example.com", "a.example.com:8080": "a.example.com:8080",
		// Suffix before prefix, the longest first, and strictly longer than the text.
		"b.example.com": "*.example.com", "b-x.example.com": "*-x.example.com", "-x.example.com": "*.example.com", "x.com": "*.com", ".com": "*",
		"a.example.org": "a.example.*", "a.org": "a.*", "a.": "*",
		// A star in the middle is a character; domains are lower-cased at load.
		"a*c.com": "a*c.com", "abc.com": "*.com", "a.b.example.com": "A.B.example.com", "[::1]:80": "[::1]:80", "[::1]": "*", "": "*",
	} {
		i, _, _ := all.find(host)
		got := [...]string{"a.example.com", "*.example.com", "*-x.example.com", "*.com", "a.*", "a.example.*", "a.example.com:8080", "a*c.com", "[::1]:80", "A.B.example.com", "*"}[i]
		if got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
	if i, kind, _ := indexOf("a", "*b").find("b"); i != -1 || kind != domainNone {
		t.Errorf("b finds %d", i)
	}
	if !indexOf("*").onlyAny() || indexOf("*", "a").onlyAny() || indexOf("a").onlyAny() {
		t.Error("onlyAny is wrong")
	}
}

// Candidates are found by name, not by a walk over all hosts.
func TestVirtualHostCandidates(t *testing.T) {
	x := indexOf("web.shop.svc:8080", "web.other", "db.shop.svc", "*")
	for host, want := range map[string]string{"web.shop.svc": "[0 1]", "web.shop.svc.:9": "[0 1]", "db": "[2]", "nothing": "[]", "10.0.0.1": "[]"} {
		if got := fmt.Sprint(x.candidates(host, 3)); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func TestOneSlip(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"reviews", "revews", true}, {"reviews", "reveiws", true}, {"reviews", "reviewx", true}, {"reviews", "xreviews", true}, {"reviews", "reviews", false}, {"reviews", "rvws", false}, {"ab", "ac", false}, {"abc", "cba", false}, {"", "", false}, {"abc", "abcde", false}} {
		if oneSlip(c.a, c.b) != c.want || oneSlip(c.b, c.a) != c.want {
			t.Errorf("%q %q: want %v", c.a, c.b, c.want)
		}
	}
	hosts := []tableHost{{name: "0", domains: []string{"reviews:80"}}, {name: "1", domains: []string{"*"}}}
	if got := typos(hosts, "revews", 1); len(got) != 1 || got[0] != 0 {
		t.Errorf("typos: %v", got)
	}
}

func TestPorts(t *testing.T) {
	for _, c := range []struct{ host, without, name, port string }{
		{"a:80", "a", "a", "80"}, {"a:", "a", "a:", ""}, {"a:x", "a", "a:x", ""}, {"a:8080.", "a", "a:8080.", ""}, {"a", "a", "a", ""},
		{"[::1]", "[::1]", "[::1]", ""}, {"[::1]:80", "[::1]", "[::1]", "80"}, {"", "", "", ""}, {":1", "", "", "1"},
		{"a:+80", "a", "a", "80"}, {"a:++80", "a", "a:++80", ""}, {"a:-80", "a", "a:-80", ""}, {"a:080", "a", "a", "80"}, {"a:4294967295", "a", "a", "4294967295"}, {"a:4294967296", "a", "a:4294967296", ""},
	} {
		name, port, _ := portOf(c.host)
		if got := withoutPort(c.host); got != c.without || name != c.name || port != c.port {
			t.Errorf("%q: %q, %q %q", c.host, got, name, port)
		}
	}
}

func BenchmarkFindVirtualHost(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		var domains []string
		for i := range n {
			domains = append(domains, fmt.Sprintf("svc-%d.ns.svc.cluster.local", i))
		}
		x := indexOf(append(domains, "*")...)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				x.find("svc-7.ns.svc.cluster.local")
			}
		})
	}
}

package envoy

import (
	"strconv"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/packed"
)

func version(t testing.TB, s string) Version {
	t.Helper()
	var v Version
	for i, f := range strings.SplitN(s, ".", 3) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(s)
		}
		*[...]*int{&v.Major, &v.Minor, &v.Patch}[i] = n
	}
	return v
}

// What real Envoys made of paths (mode -> path as sent -> status, :path seen by the route).
func TestPathVectors(t *testing.T) {
	var vectors map[string]map[string]map[string][2]*string
	packed.JSON(t, "testdata/path_normalize.json.gz", &vectors)
	n := 0
	for ver, modes := range vectors {
		for mode, paths := range modes {
			for name, want := range paths {
				path := vectorPath(name)
				if !strings.HasPrefix(path, "/") || strings.Contains(path, "#") || !printable(path) {
					continue // the codec's business
				}
				n++
				status, got := pathMode(mode, path, version(t, ver))
				seen := "none"
				if want[1] != nil {
					seen = *want[1]
				}
				if status != *want[0] || got != seen {
					t.Errorf("%s %s %q: %s %q, Envoy %s %q", ver, mode, path, status, got, *want[0], seen)
				}
			}
		}
	}
	if n < 2000 {
		t.Errorf("only %d vectors", n)
	}
}

// vectorPath spells out the short names esc2F (/a%2Fb) and raw7C (/a|b).
func vectorPath(name string) string {
	if len(name) == 5 && name[:3] == "esc" {
		return "/a%" + name[3:] + "b"
	}
	if len(name) == 5 && name[:3] == "raw" {
		c, _ := strconv.ParseUint(name[3:], 16, 8)
		return "/a" + string([]byte{byte(c)}) + "b"
	}
	return name
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// pathMode does to a path what the listeners of the probe were configured to do.
func pathMode(mode, path string, v Version) (status, seen string) {
	u, found := unescapeSlashes(path)
	switch {
	case mode == "unesc_rej" && found:
		return "400", "none"
	case mode == "unesc_redir" && found:
		return "307", "Location " + u
	case mode == "unesc_fwd":
		path = u
	}
	if mode == "norm" || mode == "norm_merge" || mode == "unesc_fwd" {
		ok := true
		if path, ok = normalizePath(path, v); !ok {
			return "400", "none"
		}
	}
	if mode == "merge" || mode == "norm_merge" {
		path = mergeSlashes(path)
	}
	return "200", path
}

func TestNormalizePath(t *testing.T) {
	now, old := Version{1, 40, 0}, Version{1, 38, 3}
	for _, c := range []struct {
		v        Version
		in, want string
	}{
		// Parameters do not hide a raw dot segment, from 1.39.3 on; measured on 1.40.0.
		{now, "/..;/a", "/a"}, {old, "/..;/a", "/..;/a"}, {now, "/a/..;x/b", "/b"}, {now, "/a/.;x/b", "/a/b"},
		{now, "/a/..;", "/"}, {now, "/a/.;", "/a/"}, {now, "/a/..;../b", "/b"}, {now, "/..;a\\b", "/"},
		{now, "/a/%2e%2e;x/b", "/a/..;x/b"}, {now, "/a/..%3bx/b", "/a/..%3bx/b"}, {now, "/a/...;x/b", "/a/...;x/b"},
		{now, "/a/b;/./c;/", "/a/b;/c;/"}, {now, "/a;/..;/b;", "/b;"},
		// Above the root stays at the root; empty segments are segments.
		{now, "/../../a", "/a"}, {now, "/a//../b", "/a/b"}, {now, "/a/../..", "/"}, {now, "/", "/"}, {now, "//", "//"},
	} {
		if got, ok := normalizePath(c.in, c.v); !ok || got != c.want {
			t.Errorf("%v %q: %q %v, want %q", c.v, c.in, got, ok, c.want)
		}
	}
	if _, ok := normalizePath("/a%00b?x", now); ok {
		t.Error("%00 is taken")
	}
}

func TestMergeSlashes(t *testing.T) {
	for in, want := range map[string]string{"//": "//", "///": "//", "//a//": "/a/", "/a//": "/a/", "/a///b?x=//": "/a/b?x=//", "//?x": "//?x", "/a/b/": "/a/b/"} {
		if got := mergeSlashes(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestWithoutParameters(t *testing.T) {
	for _, c := range []struct {
		v        Version
		in, want string
	}{
		{Version{1, 40, 0}, "/a;p=1/c;q", "/a/c"}, {Version{}, "/a;p=1/c;q", "/a/c"}, {Version{1, 39, 0}, "/a;p=1/c;q", "/a"},
		{Version{1, 38, 4}, "/a;p=1/c", "/a/c"}, {Version{1, 38, 3}, "/a;p=1/c", "/a"}, {Version{1, 38, 3}, "/a/c", "/a/c"},
	} {
		if got := withoutParameters(c.in, c.v); got != c.want {
			t.Errorf("%v %q: %q, want %q", c.v, c.in, got, c.want)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2E/%00", "\\a\\..;x", "/a%2fb?x=/../", "/.;/..;", "*", "", "/a/./"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mergeSlashes(s)
		unescapeSlashes(s)
		withoutParameters(s, Version{1, 38, 3})
		withoutParameters(s, Version{})
		once, ok := normalizePath(s, Version{1, 38, 0})
		if !ok || !strings.HasPrefix(once, "/") {
			return
		}
		p, _ := splitQuery(once)
		for _, seg := range strings.Split(p, "/") {
			if seg == "." || seg == ".." {
				t.Fatalf("%q -> %q keeps a dot segment", s, once)
			}
		}
		if plainPath(p) {
			if again, ok := normalizePath(once, Version{1, 38, 0}); !ok || again != once {
				t.Fatalf("%q -> %q -> %q", s, once, again)
			}
		}
	})
}

// A Referer that is neither a URL nor a relative reference is dropped.
func TestReferer(t *testing.T) {
	for v, want := range map[string]bool{"": true, "/x": true, "a.test": true, "x?y": true, "/x:y": true, "http://a.test/x": true, "ftp://a.test": true, "http://@a.test/": true, "http://a.test/x@y": true, "//a:80": true,
		"a:b": false, "x\"y": false, "a b": false, "/x#f": false, "[::1]:80": false, "http://u@a.test/": false, "http://a.test#f": false, "http://a.test/a b": false, "http:///x": false, "about:blank": false} {
		if got := validReferer(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

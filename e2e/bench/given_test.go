package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Request files find their dumps by name, in a folder or beside them, the smallest first.
func TestGivenJobs(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for name, size := range map[string]int{"a.json": 20, "a.req": 1, "b.json": 10, "b.req": 1, "c.req": 1} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(other, "only.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct{ requests, dir, want string }{
		{at("a.req"), "", "a.json"},
		{at("a.req"), dir, "a.json"},
		{at("c.req"), at("b.json"), "b.json"},
		{at("c.req"), other, "only.json"},
		{dir, at("a.json"), "a.json a.json a.json"},
		{at("c.req"), "", "error c.json"},
		{dir, dir, "error c.json"},
		{other, dir, "error -requests"},
		{at("none"), dir, "error none"},
	} {
		jobs, err := givenJobs(c.requests, c.dir)
		var got []string
		for _, j := range jobs {
			got = append(got, filepath.Base(j.dump))
		}
		if want, ok := strings.CutPrefix(c.want, "error "); ok {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: %q, error %v", c.requests, c.dir, got, err)
			}
		} else if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %q, error %v, want %s", c.requests, c.dir, got, err, c.want)
		}
	}
	if err := os.Remove(at("c.req")); err != nil {
		t.Fatal(err)
	}
	if jobs, err := givenJobs(dir, ""); err != nil || len(jobs) != 2 || jobs[0].title != "b" {
		t.Errorf("%v %v", jobs, err)
	}
}

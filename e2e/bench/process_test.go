package main

import (
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/bench/mesh"
)

// What ends otherwise than with 0, or answers something else, is no time to compare.
func TestRunTakesOnlyAnswers(t *testing.T) {
	sh := func(script string) command {
		return command{"sh", []string{"/bin/sh", "-c", script}, []string{"right"}}
	}
	for script, want := range map[string]string{
		"echo all right": "", "echo right; exit 1": "exit status 1", "echo right; exit 3": "exit status 3",
		"echo wrong": `does not name "right"`, "true": `does not name "right"`, "echo right >&2": `does not name "right"`,
	} {
		var c cost
		err := c.run(sh(script))
		if want == "" && (err != nil || len(c.cpu) != 1 || len(c.rss) != 1) {
			t.Errorf("%s: %v, %+v", script, err, c)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(c.cpu) > 0) {
			t.Errorf("%s: %v, %+v; want %s", script, err, c, want)
		}
	}
}

// A request that may end at either of two clusters depends, and is not timed.
func TestFirst(t *testing.T) {
	two := mesh.Request{N: 1, Authority: "a", Expect: mesh.Answer{Clusters: []string{"a", "b"}}}
	raw := mesh.Request{N: 2, Expect: mesh.Answer{Clusters: []string{"a"}}}
	none := mesh.Request{N: 3, Authority: "a", Expect: mesh.Answer{Clusters: []string{""}, Code: 404}}
	one := mesh.Request{N: 4, Authority: "a", Expect: mesh.Answer{Clusters: []string{"a"}}}
	if q, err := first([]mesh.Request{two, raw, none, one}); err != nil || q.N != 4 {
		t.Errorf("%+v, %v", q, err)
	}
	if q, err := first([]mesh.Request{two, raw, none}); err != nil || q.N != 2 {
		t.Errorf("%+v, %v", q, err)
	}
	if q, err := first([]mesh.Request{two, none}); err == nil {
		t.Errorf("%+v", q)
	}
}

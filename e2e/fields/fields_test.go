package main

import (
	"os"
	"testing"
)

// The table is that of the descriptors of the go-control-plane that is built with, for the
// fields that are read now.
func TestTableIsMade(t *testing.T) {
	const root = "../.."
	want, err := makeTable(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(root + "/" + output)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what `go run ./e2e/fields` makes: run it", output)
	}
}

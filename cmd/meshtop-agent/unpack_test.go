//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Unpacking says the sum once all is there, replaces what it has made before, and removes nothing
// that somebody else has.
func TestUnpackReplacesItsOwn(t *testing.T) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "usr/bin/x", Mode: 0o755, Size: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(layer.Bytes())
	sum := hex.EncodeToString(digest[:])
	run := func(sum, dir string) (string, error) {
		var said bytes.Buffer
		c := newUnpack()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs([]string{"--sum", sum, dir})
		c.SetIn(bytes.NewReader(layer.Bytes()))
		c.SetOut(&said)
		err := c.Execute()
		return strings.TrimSpace(said.String()), err
	}
	dir := filepath.Join(t.TempDir(), "tools")
	for range 2 {
		if said, err := run(sum, dir); err != nil || said != sum {
			t.Fatalf("it said %q (%v), want %s", said, err, sum)
		}
		if _, err := os.Stat(filepath.Join(dir, "usr/bin/x")); err != nil {
			t.Error(err)
		}
	}
	if said, err := run(strings.Repeat("0", 64), dir); err == nil || said != "" {
		t.Errorf("another sum: it said %q (%v)", said, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("another sum has left something: %v", err)
	}
	theirs := t.TempDir()
	file := filepath.Join(theirs, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sum := range []string{sum, strings.Repeat("0", 64)} {
		if _, err := run(sum, theirs); err == nil || !strings.Contains(err.Error(), "file exists") {
			t.Errorf("somebody's folder: %v", err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

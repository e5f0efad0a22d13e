// Package packed opens the compressed data of tests.
package packed

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/tools/txtar"
)

// Open unpacks gzip's bytes.
func Open(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if data, err = io.ReadAll(z); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return data, nil
}

// Read unpacks a file.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		data, err = Open(data)
	}
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return data
}

// Files are the files of a packed txtar, in order.
func Files(t testing.TB, path string) []txtar.File {
	t.Helper()
	files := txtar.Parse(Read(t, path)).Files
	if len(files) == 0 {
		t.Fatalf("read %s: no files in it", path)
	}
	return files
}

// JSON reads a packed JSON text into v.
func JSON(t testing.TB, path string, v any) {
	t.Helper()
	if err := json.Unmarshal(Read(t, path), v); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
}

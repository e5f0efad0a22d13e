package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMap(t *testing.T) {
	for _, size := range []int{0, 10, mapFrom - 1, mapFrom, mapFrom + 4097} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, want, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := Map(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Bytes, want) || m.Changed() != nil {
			t.Errorf("%d bytes: %d read, changed %v", size, len(m.Bytes), m.Changed())
		}
		if err := m.Close(); err != nil || m.Close() != nil || m.Bytes != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := Map(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A file that shrinks is told, and a look beyond its end is a panic that can be caught.
func TestMapShrinks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 2*mapFrom), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Map(name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(name, 10); err != nil {
		t.Fatal(err)
	}
	if m.Changed() == nil {
		t.Error("a file that shrank is taken for unchanged")
	}
	if !m.mapped {
		return // this system copies
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if _, ok := recover().(runtime.Error); !ok {
			t.Error("no panic beyond the end")
		}
	}()
	t.Log(bytes.Count(m.Bytes, []byte{1}))
}

package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func sample() map[string][]byte {
	return map[string][]byte{
		"iptables-save":                []byte("*nat\nCOMMIT\n"),
		"config_dump/listeners/a.json": []byte("{}\n"),
		"observed/eth0.pcap":           {0, 1, 0xff, '\n'},
		"odd":                          []byte("text\n-- iptables-save --\nmore\n"),
		"empty":                        {},
		"meta.json":                    []byte("{}\n"),
	}
}

// What is written in any form reads back the same.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"a.zip", "a.txtar", "a.txtar.gz", "folder", "folder2/"} {
		path := filepath.Join(t.TempDir(), name)
		if err := Write(path, sample()); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for part, want := range sample() {
			if !bytes.Equal(got[part], want) {
				t.Errorf("%s: %s is %q, want %q", name, part, got[part], want)
			}
		}
		if len(got) != len(sample()) {
			t.Errorf("%s: %d parts, want %d", name, len(got), len(sample()))
		}
	}
}

// The same files give the same bytes.
func TestEncodeIsStable(t *testing.T) {
	for _, form := range []Form{Zip, Txtar, TxtarGz} {
		var a, b bytes.Buffer
		if Encode(&a, form, sample()) != nil || Encode(&b, form, sample()) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("form %d: two encodings differ", form)
		}
	}
}

func zipOf(t *testing.T, parts map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for n, d := range parts {
		w, err := zw.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A name that leads out of the folder, a part twice, and what is no snapshot are refused.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"zip slip":   {zipOf(t, map[string]string{"../iptables-save": "x"}), "not a plain relative path"},
		"absolute":   {zipOf(t, map[string]string{"/etc/passwd": "x"}), "not a plain relative path"},
		"backslash":  {zipOf(t, map[string]string{`..\iptables-save`: "x"}), "not a plain relative path"},
		"txtar slip": {[]byte("-- a/../../iptables-save --\nx\n"), "not a plain relative path"},
		"twice":      {[]byte("-- iptables-save --\n-- iptables-save --\n"), "twice"},
		"no parts":   {[]byte("hello\n"), "not a snapshot"},
		"other":      {[]byte("-- hello.txt --\nx\n"), "not a snapshot"},
		"cut zip":    {zipOf(t, map[string]string{"iptables-save": "x"})[:40], "zip"},
		"gzip":       {[]byte{0x1f, 0x8b, 1}, "gzip"},
		"base64":     {[]byte("-- iptables-save (base64) --\n!!\n"), "base64"},
	} {
		if _, err := Parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// One folder around everything, as zip programs make it, is no part of the names.
func TestUnfold(t *testing.T) {
	got, err := Parse(zipOf(t, map[string]string{"pod/iptables-save": "x", "pod/config_dump/routes/r.json": "{}"}))
	want := map[string][]byte{"iptables-save": []byte("x"), "config_dump/routes/r.json": []byte("{}")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), "gone") != 1 {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(dir); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("an empty folder: %v", err)
	}
	// A link that leads out of the folder is not followed.
	secret := filepath.Join(t.TempDir(), "secret")
	for path, data := range map[string]string{secret: "s", filepath.Join(dir, "iptables-save"): "x"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(dir, "sockets")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if err := Write(dir, sample()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder with files in it: %v", err)
	}
}

// A written file is its owner's alone, and nothing half-written stays.
func TestWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.zip")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := Write(filepath.Join(dir, "gone", "a.zip"), sample()); err == nil {
		t.Error("a missing folder is no error")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a comment\n-- iptables-save --\n*nat\n-- x (base64) --\nAAE=\n"))
	var b bytes.Buffer
	if err := Encode(&b, Zip, sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		files, err := Parse(in)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Encode(&out, Zip, files); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out.Bytes())
		if err != nil || !maps.EqualFunc(files, again, bytes.Equal) {
			t.Errorf("reads back otherwise: %v", err)
		}
	})
}

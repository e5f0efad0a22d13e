package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/meshtop/meshtop/e2e/power"
)

// content is an archive's files and the targets of its links, by name.
func content(t *testing.T, r io.Reader) map[string]string {
	out := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(b)
		if h.Typeflag == tar.TypeSymlink {
			out[h.Name] = "-> " + h.Linkname
		}
	}
}

// An archive is what the OCI image layout says: each blob's name is its sum, the index leads
// to the manifest, that to the layer, and the layer holds what was asked for.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for path, text := range map[string]string{"usr/sbin/real": "#!/bin/sh\n", "data/a/b": "text"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A link of the root is a path below it (update-alternatives makes such).
	for from, to := range map[string]string{"usr/sbin/tool": "/etc/alternatives/tool", "etc/alternatives/tool": "/usr/sbin/real", "sbin": "usr/sbin"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, from)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	args := func(out string) []string {
		return []string{"-o", out, "-name", "example.org/x:7", "-arch", "arm64", "-root", root, "-program", "/sbin/tool",
			"-file", filepath.Join(root, "data") + "=/lib/data", "-link", "/usr/sbin/other=tool", "--", "/sbin/tool", "go"}
	}
	one, two := filepath.Join(dir, "one.tar"), filepath.Join(dir, "two.tar")
	for _, out := range []string{one, two} {
		if err := run(args(out)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same inputs gave other bytes")
	}
	files := content(t, bytes.NewReader(a))
	for name, text := range files {
		if filepath.Dir(name) != "blobs/sha256" {
			continue
		}
		if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != filepath.Base(name) {
			t.Errorf("blob %s has another sum", name)
		}
	}
	var index, manifest struct {
		Manifests, Layers []descriptor
		Config            descriptor
	}
	decode(t, files["index.json"], &index)
	decode(t, files[blob(index.Manifests[0].Digest)], &manifest)
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "example.org/x:7" {
		t.Errorf("its name is %q", got)
	}
	var config struct {
		Architecture string
		Config       struct{ Entrypoint []string }
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	decode(t, files[blob(manifest.Config.Digest)], &config)
	if config.Architecture != "arm64" || len(config.Config.Entrypoint) != 2 || config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Errorf("the configuration is %+v", config)
	}
	layer := content(t, bytes.NewReader([]byte(files[blob(manifest.Layers[0].Digest)])))
	for name, want := range map[string]string{
		"usr/sbin/tool": "#!/bin/sh\n", "usr/sbin/other": "-> tool", "usr/lib/data/a/b": "text", "sbin": "-> usr/sbin", "tmp/": "",
	} {
		if got, ok := layer[name]; !ok || got != want {
			t.Errorf("%s is %q (%t), want %q", name, got, ok, want)
		}
	}
}

// Images for two architectures become one that is called once, and leads to each.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "table") // in both: a blob of the same sum is there once
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-o", filepath.Join(dir, "both.tar"), "-name", "example.org/x:7"}
	for _, arch := range []string{"amd64", "arm64"} {
		one := filepath.Join(dir, arch+".tar")
		if err := run([]string{"-o", one, "-name", "example.org/y:1", "-arch", arch, "-file", file + "=/table"}); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-join", one)
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(args[1])
	if err != nil {
		t.Fatal(err)
	}
	files := content(t, bytes.NewReader(a))
	var index, list struct{ Manifests []descriptor }
	decode(t, files["index.json"], &index)
	top := index.Manifests[0]
	if len(index.Manifests) != 1 || top.MediaType != typeIndex || top.Annotations["io.containerd.image.name"] != "example.org/x:7" {
		t.Errorf("the index names %+v", index.Manifests)
	}
	decode(t, files[blob(top.Digest)], &list)
	for i, arch := range []string{"amd64", "arm64"} {
		m := list.Manifests[i]
		if m.Platform.Architecture != arch || m.Annotations != nil || int64(len(files[blob(m.Digest)])) != m.Size {
			t.Errorf("%s: %+v", arch, m)
		}
		var manifest struct{ Layers []descriptor }
		decode(t, files[blob(m.Digest)], &manifest)
		if layer := content(t, bytes.NewReader([]byte(files[blob(manifest.Layers[0].Digest)]))); layer["table"] != "text" {
			t.Errorf("%s: its layer holds %q", arch, layer)
		}
	}
	if n := strings.Count(string(a), "\x00text\x00"); n != 1 {
		t.Errorf("the layer that both have is there %d times", n)
	}
	if err := run(append(args, "-join", args[1])); err == nil || !strings.Contains(err.Error(), "not of one image for one architecture") {
		t.Errorf("joined again: %v", err)
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// A program brings its linker and its C library, where the machine keeps them.
func TestLibraries(t *testing.T) {
	linker := map[string]string{"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}[runtime.GOARCH]
	power.File(t, "/"+linker, "the GNU C library")
	tree := newTree("/")
	if err := tree.program("/bin/ls"); err != nil {
		t.Fatal(err)
	}
	var libc bool
	for _, n := range tree.names() {
		libc = libc || filepath.Base(n) == "libc.so.6"
	}
	if _, ok := tree.items[linker]; !ok || !libc {
		t.Errorf("the image holds %q", tree.names())
	}
}

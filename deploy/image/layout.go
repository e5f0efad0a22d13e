package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The media types of the OCI image specification.
const (
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
)

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// write writes the layout and gives the digest of the manifest. What is there already is
// replaced once all is written.
func write(out, name, arch string, t *tree, entrypoint []string) (digest string, err error) {
	layer, err := os.CreateTemp(filepath.Dir(out), ".layer")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, layer.Close(), os.Remove(layer.Name())) }()
	sum := sha256.New()
	if err := t.tar(io.MultiWriter(layer, sum)); err != nil {
		return "", err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(filepath.Dir(out), ".image")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	l := &layout{tw: tar.NewWriter(file), has: map[string]bool{}}
	top := l.all(layer, descriptor{MediaType: typeLayer, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: size}, name, arch, entrypoint)
	if err := errors.Join(l.err, l.tw.Close(), file.Chmod(0o644), file.Close()); err != nil {
		return "", err
	}
	return top, os.Rename(file.Name(), out)
}

// layout writes the archive; the first error stays.
type layout struct {
	tw  *tar.Writer
	has map[string]bool // files, by name: images share blobs
	err error
}

func (l *layout) all(layer io.Reader, ld descriptor, name, arch string, entrypoint []string) string {
	l.add(blob(ld.Digest), layer, ld.Size)
	config := l.json(typeConfig, map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{"Entrypoint": entrypoint, "Env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{ld.Digest}},
	})
	m := l.json(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{ld},
	})
	m.Platform = &platform{arch, "linux"}
	l.top(m, name)
	return m.Digest
}

// top writes what leads to the image.
func (l *layout) top(m descriptor, name string) {
	tag := name[strings.LastIndex(name, ":")+1:]
	m.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
	l.text("index.json", marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{m}}))
	l.text("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// json adds a value as a blob.
func (l *layout) json(kind string, v any) descriptor {
	b := marshal(v)
	sum := sha256.Sum256(b)
	d := descriptor{MediaType: kind, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(b))}
	l.text(blob(d.Digest), b)
	return d
}

func (l *layout) text(name string, b []byte) {
	l.add(name, strings.NewReader(string(b)), int64(len(b)))
}

func (l *layout) add(name string, r io.Reader, size int64) {
	if l.err != nil || l.has[name] {
		return
	}
	l.has[name] = true
	if l.err = l.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); l.err == nil {
		_, l.err = io.Copy(l.tw, r)
	}
}

// marshal of what is made here cannot fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

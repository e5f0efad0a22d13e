package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// join writes one archive of several, each of one image for another architecture: a client of a
// registry takes the one that it can run. It gives the digest of the index.
func join(out, name string, archives []string) (digest string, err error) {
	file, err := os.CreateTemp(filepath.Dir(out), ".image")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	l := &layout{tw: tar.NewWriter(file), has: map[string]bool{}}
	var images []descriptor
	for _, a := range archives {
		top, err := l.take(a)
		if err != nil {
			return "", fmt.Errorf("%s: %w", a, err)
		}
		top.Annotations = nil // the index has the name
		images = append(images, top)
	}
	index := l.json(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": images})
	l.top(index, name)
	if err := errors.Join(l.err, l.tw.Close(), file.Chmod(0o644), file.Close()); err != nil {
		return "", err
	}
	return index.Digest, os.Rename(file.Name(), out)
}

// take adds an archive's blobs, and gives its one image.
func (l *layout) take(archive string) (top descriptor, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return top, err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && top.Digest == "":
			return top, errors.New("it has no index.json")
		case errors.Is(err, io.EOF):
			return top, l.err
		case err != nil:
			return top, err
		case filepath.Dir(h.Name) == "blobs/sha256":
			l.add(h.Name, tr, h.Size)
		case h.Name == "index.json":
			var index struct{ Manifests []descriptor }
			if err := json.NewDecoder(tr).Decode(&index); err != nil {
				return top, fmt.Errorf("index.json: %w", err)
			}
			if len(index.Manifests) != 1 || index.Manifests[0].Platform == nil {
				return top, errors.New("it is not of one image for one architecture")
			}
			top = index.Manifests[0]
		}
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meshtop/meshtop/e2e/bench/mesh"
)

// files are the dump and the requests of one rung, made where they are not there.
func files(dir string, mb, services, requests int) (dump, reqs string, err error) {
	dump, reqs = filepath.Join(dir, fmt.Sprintf("%d.json", mb)), filepath.Join(dir, fmt.Sprintf("%d.req", mb))
	m := mesh.Mesh{Seed: 1, Services: services}
	if err = os.MkdirAll(dir, 0o755); err == nil {
		err = once(dump, m.Dump)
	}
	if err == nil {
		err = once(reqs, func(w io.Writer) error {
			e := json.NewEncoder(w)
			for _, q := range m.Requests(requests) {
				if err := e.Encode(q); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return dump, reqs, err
}

// once writes a file that is not there yet.
func once(path string, write func(io.Writer) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// readRequests reads a stream of requests.
func readRequests(path string) (out []mesh.Request, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(bufio.NewReader(f)); ; {
		var q mesh.Request
		if err := d.Decode(&q); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, q)
	}
}

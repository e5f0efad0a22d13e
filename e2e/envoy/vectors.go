package envoy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"testing/fstest"
)

// Case is one recorded request with what a real Envoy did, a line of cases.jsonl. A
// request sent often has the distinct outcomes, each of them right.
type Case struct {
	World    string    `json:"world"` // worlds/WORLD.json.gz holds its configuration
	Family   string    `json:"family"`
	Request  Request   `json:"request"`
	Outcomes []Outcome `json:"outcomes"`
}

// Recorded is the content of worlds/WORLD.json.gz.
type Recorded struct {
	Version string          `json:"version"`
	World   World           `json:"world"`
	Refused []Refused       `json:"refused,omitempty"`
	Dump    json.RawMessage `json:"config_dump"` // GET /config_dump?include_eds
}

// Files are the parts of a snapshot that the record stands for.
func (r *Recorded) Files() map[string][]byte {
	info, _ := json.Marshal(map[string]string{"version": r.Version, "state": "LIVE"})
	return map[string][]byte{"config_dump.json": r.Dump, "server_info.json": info}
}

// Vectors are the cases of one folder. Worlds are read one at a time: 8 MB a thousand cases.
type Vectors struct {
	Name  string
	Cases []Case
	fsys  fs.FS
}

// ReadVectors reads one folder of vectors, or each folder of vectors in a folder.
func ReadVectors(fsys fs.FS) ([]Vectors, error) {
	if _, err := fs.Stat(fsys, "cases.jsonl"); err == nil {
		v, err := readFolder(".", fsys)
		return []Vectors{v}, err
	}
	found, err := fs.Glob(fsys, "*/cases.jsonl")
	if err != nil || len(found) == 0 {
		return nil, errors.Join(errors.New("no cases.jsonl in the folder nor in the folders in it"), err)
	}
	sort.Strings(found)
	var out []Vectors
	for _, f := range found {
		sub, err := fs.Sub(fsys, path.Dir(f))
		if err != nil {
			return nil, err
		}
		v, err := readFolder(path.Dir(f), sub)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func readFolder(name string, fsys fs.FS) (Vectors, error) {
	v := Vectors{Name: name, fsys: fsys}
	b, err := fs.ReadFile(fsys, "cases.jsonl")
	if err != nil {
		return v, err
	}
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var c Case
		if err := d.Decode(&c); err == io.EOF {
			return v, nil
		} else if err != nil {
			return v, fmt.Errorf("%s/cases.jsonl: case %d: %w", name, len(v.Cases)+1, err)
		}
		v.Cases = append(v.Cases, c)
	}
}

// Worlds lists the worlds of the cases in their first order.
func (v Vectors) Worlds() []string {
	seen := map[string]bool{}
	var out []string
	for _, c := range v.Cases {
		if !seen[c.World] {
			seen[c.World] = true
			out = append(out, c.World)
		}
	}
	return out
}

// World reads one world's record.
func (v Vectors) World(id string) (*Recorded, error) {
	b, err := fs.ReadFile(v.fsys, "worlds/"+id+".json.gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("world %s: %w", id, err)
	}
	r := new(Recorded)
	if err := json.NewDecoder(z).Decode(r); err != nil {
		return nil, fmt.Errorf("world %s: %w", id, err)
	}
	return r, nil
}

// OpenTar reads a .tar.gz into memory as a file system.
func OpenTar(name string) (fs.FS, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := fstest.MapFS{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, h.Name, err)
		}
		out[path.Clean(h.Name)] = &fstest.MapFile{Data: b, Mode: 0o444}
	}
}

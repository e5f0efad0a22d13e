package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"github.com/meshtop/meshtop/inspect/archive"
)

// Kept cases are txtar files: the parts of the snapshot, and case.json, the request with
// what Envoy did. A disagreement becomes one and stays.
const (
	KeptDir  = "../../rules/testdata/envoy"
	caseFile = "case.json"
)

// Keep writes one case and the snapshot it was made in.
func Keep(dir, name string, c *Case, files map[string][]byte) (string, error) {
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return "", err
	}
	out := map[string][]byte{caseFile: append(text, '\n')}
	for _, part := range []string{"config_dump.json", "runtime.json", "clusters.json", "server_info.json"} {
		if b := files[part]; b != nil {
			out[part] = lean(b)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".txtar")
	return path, archive.Write(path, out)
}

// lean takes out what makes a part large and decides nothing: the list of all extensions
// that the binary knows, the command line, and access logs.
func lean(part []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(part))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return part
	}
	drop(v, "extensions", "command_line_options", "access_log")
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return part
	}
	return append(b, '\n')
}

func drop(v any, keys ...string) {
	switch v := v.(type) {
	case M:
		for _, k := range keys {
			delete(v, k)
		}
		for _, x := range v {
			drop(x, keys...)
		}
	case A:
		for _, x := range v {
			drop(x, keys...)
		}
	}
}

// Kept is one file that Keep wrote.
type Kept struct {
	Path  string
	Case  Case
	Files map[string][]byte
}

// ReadKept reads all cases of a folder.
func ReadKept(dir string) (out []Kept, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	sort.Strings(paths)
	for _, p := range paths {
		files, err := archive.Read(p)
		if err != nil {
			return nil, err
		}
		k := Kept{Path: p, Files: files}
		if err := json.Unmarshal(files[caseFile], &k.Case); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", p, caseFile, err)
		}
		delete(files, caseFile)
		out = append(out, k)
	}
	return out, nil
}

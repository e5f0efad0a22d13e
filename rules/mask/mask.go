// Package mask takes secrets out of the files of a snapshot before they are written:
// private keys, passwords, tokens, authorization headers. What is masked is said; a part
// that cannot be looked into is left out, never passed through.
package mask

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meshtop/meshtop/rules/flow"
)

// Text stands where a secret stood.
const Text = "[masked]"

// Files gives a copy of files without secrets. Gaps name the parts that were left out,
// since nothing can be said about what they hold. Counts are secrets by part.
func Files(files map[string][]byte) (out map[string][]byte, counts map[string]int, gaps []flow.Gap) {
	out, counts = make(map[string][]byte, len(files)), map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data, n, err := Part(name, files[name])
		if err != nil {
			gaps = append(gaps, flow.Gap{Part: name, Reason: "left out: " + err.Error()})
			continue
		}
		out[name] = data
		if n > 0 {
			counts[name] = n
		}
	}
	return out, counts, gaps
}

// Part masks one part, by the form that its name and its bytes say it has.
func Part(name string, data []byte) ([]byte, int, error) {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, 0, fmt.Errorf("it is not text, so secrets in it cannot be found")
	}
	n := 0
	switch ext := path.Ext(name); {
	case ext == ".yaml" || ext == ".yml":
		masked, k, err := yamlPart(data)
		if err != nil {
			return nil, 0, err
		}
		data, n = masked, k
	case looksJSON(data):
		s := scanner{in: data}
		s.run()
		data, n = s.bytes(), s.count
	}
	data, k := text(data)
	return data, n + k, nil
}

func looksJSON(data []byte) bool {
	t := bytes.TrimLeft(data, " \t\r\n")
	return len(t) > 0 && (t[0] == '{' || t[0] == '[')
}

// secretWords end the name of a field, variable or header whose string is a secret.
var secretWords = []string{"password", "passwd", "passphrase", "token", "secret", "apikey", "accesskey", "privatekey",
	"secretkey", "credential", "credentials", "authorization", "cookie", "signature"}

// plainWords end the name of a field that says where a secret is, not what it is.
var plainWords = []string{"filename", "environmentvariable", "path", "name", "cluster", "type", "typeurl", "namespace", "mountpath"}

// secret says whether a field of this name holds a secret. Case, _ and - do not count:
// Envoy's JSON writes private_key, an operator's YAML privateKey.
func secret(name string) bool {
	n := squash(name)
	for _, w := range secretWords {
		if strings.HasSuffix(n, w) {
			return true
		}
	}
	return false
}

// holder says whether everything below a field of this name is a secret, but for what
// says where it is: DataSource fields of envoy.config.core.v3 stand below these.
func holder(name string) bool {
	switch squash(name) {
	case "privatekey", "password", "sessionticketkeys", "genericsecret", "tokensecret", "hmacsecret", "clientsecret", "users", "credential":
		return true
	}
	return false
}

// Secret says whether a field or header of this name holds a secret.
func Secret(name string) bool { return secret(name) }

func pointer(name string) bool {
	n := squash(name)
	return strings.HasPrefix(n, "@") || slices.Contains(plainWords, n)
}

func squash(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r == '_' || r == '-' || r == '.' || r >= 'A' && r <= 'Z' }) < 0 {
		return name
	}
	// No Replacer: making one costs more than the rest of the scan of a dump.
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == '.':
			return -1
		case r < 0x80:
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}
		return unicode.ToLower(r)
	}, name)
}

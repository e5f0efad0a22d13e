package kube

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// payload is an agent that is sent into a container: the program, and with an image's archive the
// layer with its tools.
type payload struct {
	arch  string // as Go calls it
	agent []byte
	layer []byte // nil: no tools
	sum   string // the sha256 of the layer, else of the agent, in hexadecimal
}

// besideMe is the word of --deliver for the folder that this program lies in.
const besideMe = "beside"

// maxBlob bounds a part of an archive, in bytes.
const maxBlob = 128 << 20

// payloads are the agents that a path of --deliver names: a program, a folder with programs, or
// an image's archive. Each is of another architecture.
func payloads(path string) ([]payload, error) {
	if path == besideMe {
		me, err := os.Executable()
		if err != nil {
			return nil, err
		}
		if me, err = filepath.EvalSymlinks(me); err != nil {
			return nil, err
		}
		path = filepath.Dir(me)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return folder(path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(raw, []byte(elf.ELFMAG)) {
		p, err := onlyAgent(raw)
		return []payload{p}, err
	}
	out, err := archive(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: neither a program nor an image's archive: %w", path, err)
	}
	return out, nil
}

// folder are the programs as a release lays them beside meshtop.
func folder(dir string) ([]payload, error) {
	var out []payload
	for _, arch := range slices.Sorted(maps.Values(machines)) {
		raw, err := os.ReadFile(filepath.Join(dir, program+"-linux-"+arch))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := onlyAgent(raw)
		if err != nil {
			return nil, fmt.Errorf("%s-linux-%s: %w", program, arch, err)
		}
		out = append(out, p)
	}
	if out == nil {
		return nil, fmt.Errorf("%s holds neither %s-linux-amd64 nor %s-linux-arm64", dir, program, program)
	}
	return out, nil
}

var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// machine is the architecture that a program is for, by its first 20 bytes (elf(5)).
func machine(head []byte) (string, error) {
	if len(head) < 20 || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return "", errors.New("not a program")
	}
	m := elf.Machine(uint16(head[18]) | uint16(head[19])<<8)
	if arch := machines[m]; arch != "" && elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2LSB {
		return arch, nil
	}
	return "", fmt.Errorf("a program for %v: the agent is there for amd64 and arm64", m)
}

func onlyAgent(raw []byte) (payload, error) {
	arch, err := machine(raw)
	sum := sha256.Sum256(raw)
	return payload{arch: arch, agent: raw, sum: hex.EncodeToString(sum[:])}, err
}

// descriptor names a part of an image (OCI image specification).
type descriptor struct {
	MediaType, Digest string
	Platform          *struct{ Architecture string }
}

// archive reads an OCI layout as deploy/image writes it.
func archive(raw []byte) ([]payload, error) {
	parts := map[string][]byte{}
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if parts[h.Name], err = io.ReadAll(io.LimitReader(tr, maxBlob)); err != nil {
			return nil, err
		}
	}
	var top struct{ Manifests []descriptor }
	if err := json.Unmarshal(parts["index.json"], &top); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	images := top.Manifests
	if len(images) == 1 && images[0].MediaType == "application/vnd.oci.image.index.v1+json" {
		if err := part(parts, images[0].Digest, &top); err != nil {
			return nil, err
		}
		images = top.Manifests
	}
	var out []payload
	for _, m := range images {
		p, err := image(parts, m.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if out == nil {
		return nil, errors.New("index.json names no image")
	}
	return out, nil
}

// image is the agent of one image, with its layer.
func image(parts map[string][]byte, digest string) (payload, error) {
	var m struct{ Layers []descriptor }
	if err := part(parts, digest, &m); err != nil {
		return payload{}, err
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != "application/vnd.oci.image.layer.v1.tar" {
		return payload{}, fmt.Errorf("image %s: want one layer that is not compressed, as deploy/image/agent makes it", digest)
	}
	layer, err := blob(parts, m.Layers[0].Digest)
	if err != nil {
		return payload{}, err
	}
	for tr := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := tr.Next()
		if err != nil {
			return payload{}, fmt.Errorf("image %s: no usr/bin/%s: %w", digest, program, err)
		}
		if h.Name != "usr/bin/"+program {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(tr, maxBlob))
		if err != nil {
			return payload{}, err
		}
		p, err := onlyAgent(raw)
		p.layer, p.sum = layer, strings.TrimPrefix(m.Layers[0].Digest, "sha256:")
		return p, err
	}
}

func part(parts map[string][]byte, digest string, into any) error {
	raw, err := blob(parts, digest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	return nil
}

// blob is a part whose content is what its name says.
func blob(parts map[string][]byte, digest string) ([]byte, error) {
	raw, ok := parts["blobs/"+strings.Replace(digest, ":", "/", 1)]
	if sum := sha256.Sum256(raw); !ok || digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("blob %s is not there, or has another sum", digest)
	}
	return raw, nil
}

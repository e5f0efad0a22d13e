package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/archive"
	"github.com/meshtop/meshtop/inspect/saved"
	"github.com/meshtop/meshtop/rules/request"
	"github.com/spf13/pflag"
)

// partFlags are the parts of a snapshot that can be given as files of their own.
var partFlags = []struct{ flag, part string }{
	{"config-dump", "config_dump.json"}, {"iptables", "iptables-save"}, {"ip6tables", "ip6tables-save"},
	{"iptables-legacy", "iptables-legacy-save"}, {"ip6tables-legacy", "ip6tables-legacy-save"}, {"nft", "nft.json"},
	{"addr", "addr.json"}, {"sockets", "sockets"}, {"conntrack", "conntrack"}, {"clusters", "clusters.json"},
	{"runtime", "runtime.json"}, {"server-info", "server_info.json"},
}

// parts are the files that the command line names, and where to ask for the others.
type parts struct {
	paths []string
	admin string
	at    netip.AddrPort // admin, once check has read it
	// still: the verb looks at them in this goroutine only, so that a file which is cut off
	// under it is a fault that ends in a sentence. Only then are files mapped.
	still bool
}

func (p *parts) register(f *pflag.FlagSet) {
	p.paths = make([]string, len(partFlags))
	for i, pf := range partFlags {
		f.StringVar(&p.paths[i], pf.flag, "", "read "+pf.part+" from this file")
	}
	f.StringVar(&p.admin, "admin", "", "where Envoy's admin interface is")
}

func (p *parts) given() bool {
	for _, path := range p.paths {
		if path != "" {
			return true
		}
	}
	return false
}

// path says whether the files are enough to trace by: rules or a configuration. The other
// parts only add to these.
func (p *parts) path() bool {
	for i, path := range p.paths {
		switch partFlags[i].part {
		case "config_dump.json", "iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft.json":
			if path != "" {
				return true
			}
		}
	}
	return false
}

// check finds what cannot be: standard input can be read once.
func (p *parts) check(f *pflag.FlagSet) error {
	if f.Changed("admin") {
		var err error
		if p.at, err = adminAddr(p.admin); err != nil {
			return usage("--admin: %w", err)
		}
	}
	first := ""
	for i, path := range p.paths {
		flag := partFlags[i].flag
		if path == "" && f.Changed(flag) {
			return usage("--%s: the file's name is empty", flag)
		}
		if path != "-" {
			continue
		}
		if first != "" {
			return usage("--%s - and --%s -: standard input can be read only once", first, flag)
		}
		first = flag
	}
	return nil
}

// adminAddr reads ADDR:PORT, or a port alone of the loopback.
func adminAddr(s string) (netip.AddrPort, error) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = "127.0.0.1:" + strconv.FormatUint(n, 10)
	}
	a, err := request.Addr(s, 0)
	if err == nil && a.Port() == 0 {
		err = fmt.Errorf("%q: want ADDR:PORT, or a port of 127.0.0.1", s)
	}
	return a, err
}

// read reads the files.
func (p *parts) read(ctx context.Context, a *App) (inspect.Files, error) {
	files := inspect.Files{}
	for i, path := range p.paths {
		if path == "" {
			continue
		}
		data, err := a.input(ctx, path, p.still)
		if err != nil {
			return nil, badInput(fmt.Errorf("--%s: %w", partFlags[i].flag, err))
		}
		if len(data) == 0 && strings.HasSuffix(partFlags[i].part, "-save") {
			a.say(fmt.Errorf("--%s: %s: empty, which is taken as no rules; without root the program that saves them prints nothing, too", partFlags[i].flag, path))
		}
		files[partFlags[i].part] = data
	}
	return files, nil
}

// errInterrupted is reading that the user ended: no fault of what was read.
var errInterrupted = errors.New("interrupted")

// badInput is an input that cannot be read; one that was not waited for says nothing.
func badInput(err error) error {
	if errors.Is(err, errInterrupted) {
		return cannot(err)
	}
	return &failure{ExitUsage, err}
}

// readInput reads a file, or standard input where its name is -.
func (a *App) readInput(ctx context.Context, path string) ([]byte, error) {
	return a.input(ctx, path, false)
}

// input is readInput; a large file may be mapped instead. A pipe that nobody writes into
// blocks without an end, so an interrupt does not wait for it: the goroutine that hangs
// there goes with the program.
func (a *App) input(ctx context.Context, path string, mayMap bool) ([]byte, error) {
	type result struct {
		file *archive.Mapped
		err  error
	}
	done := make(chan result, 1)
	go func() {
		m, err := a.readFile(path, mayMap)
		done <- result{m, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", path, errInterrupted)
	case r := <-done:
		if r.err != nil {
			return nil, brief(path, r.err)
		}
		if mayMap {
			a.mapped = append(a.mapped, r.file)
		}
		return r.file.Bytes, nil
	}
}

func (a *App) readFile(path string, mayMap bool) (*archive.Mapped, error) {
	if path == "-" {
		if a.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		data, err := bounded(a.Stdin, "standard input")
		return &archive.Mapped{Bytes: data}, err
	}
	st, err := os.Stat(path)
	if err == nil && st.IsDir() {
		err = fmt.Errorf("%s: a folder, not a file (a saved snapshot is opened by: file %s)", path, path)
	}
	if err == nil && st.Size() > archive.MaxBytes {
		err = fmt.Errorf("%s: %d bytes, more than the %d that are read", path, st.Size(), archive.MaxBytes)
	}
	if err != nil {
		return nil, err
	}
	if mayMap {
		return archive.Map(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := bounded(f, path)
	return &archive.Mapped{Bytes: data}, err
}

// bounded reads what has an end that is near enough: a device may have none.
func bounded(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, archive.MaxBytes+1))
	if err == nil && len(data) > archive.MaxBytes {
		err = fmt.Errorf("%s: more than %d bytes", name, archive.MaxBytes)
	}
	return data, err
}

// brief is an error of a file with the file's name once.
func brief(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", path, pe.Err)
	}
	return err
}

// pod is the pod that the target and the files make together: files stand before what
// the target itself would give.
func (p *parts) pod(files inspect.Files, under inspect.Pod) inspect.Pod {
	switch {
	case len(files) == 0:
		return under
	case under == nil:
		var names []string
		for i, path := range p.paths {
			if path != "" {
				names = append(names, "--"+partFlags[i].flag)
			}
		}
		return saved.New(strings.Join(names, " "), files)
	}
	return saved.Over(under, files)
}

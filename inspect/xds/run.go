package xds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// RunOptions are a control plane's files and addresses.
type RunOptions struct {
	Bootstrap string         // the file that is served
	Listen    netip.AddrPort // where ADS is served; port 0: any
	Socket    string         // where policies are asked for
	Write     string         // where the bootstrap to start Envoy with is written; empty: nowhere
	Admin     netip.AddrPort // as in Options
	Say       func(string)   // as in Options
}

// Open reads the file, and gives what serves it until ctx ends. At each signal of reload the file
// is read again. An error of Open itself is one of the input.
func Open(opt RunOptions, reload <-chan os.Signal) (serve func(ctx context.Context) error, err error) {
	conf, mode, err := load(opt.Bootstrap)
	if err != nil {
		return nil, err
	}
	s, err := New(conf, Options{Admin: opt.Admin, Say: opt.Say})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.run(ctx, opt, mode, reload) }, nil
}

func (s *Server) run(ctx context.Context, opt RunOptions, mode fs.FileMode, reload <-chan os.Signal) (err error) {
	adsOn, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(opt.Listen))
	if err != nil {
		return fmt.Errorf("serve ADS: %w", err)
	}
	defer adsOn.Close() // Serve closes it; this is for errors before
	at := netip.AddrPortFrom(opt.Listen.Addr(), adsOn.Addr().(*net.TCPAddr).AddrPort().Port())
	if opt.Write != "" {
		if err := writeBootstrap(s.conf, opt, at, mode); err != nil {
			return err
		}
	}
	asksOn, err := listenAsks(opt.Socket)
	if err != nil {
		return err
	}
	made, err := os.Lstat(opt.Socket)
	if err != nil {
		return errors.Join(err, asksOn.Close())
	}
	defer func() {
		if now, e := os.Lstat(opt.Socket); e == nil && os.SameFile(made, now) {
			err = errors.Join(err, os.Remove(opt.Socket))
		}
	}()
	serving, stop := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	defer reloading.Wait()
	defer stop()
	s.say("serving %d listeners and %d clusters of %s at %s; policies are asked for at %s",
		len(s.conf.listeners), len(s.conf.clusters), opt.Bootstrap, at, opt.Socket)
	reloading.Go(func() { s.reloads(serving, opt.Bootstrap, reload) })
	return s.Serve(serving, adsOn, asksOn)
}

// reloads reads the file again each time it is asked to.
func (s *Server) reloads(ctx context.Context, file string, reload <-chan os.Signal) {
	for {
		select {
		case <-reload:
		case <-ctx.Done():
			return
		}
		conf, _, err := load(file)
		if err == nil {
			err = s.Reload(conf)
		}
		if err != nil {
			s.say("%s is not reloaded: %v", file, err)
			continue
		}
		s.say("%s is reloaded: %d listeners and %d clusters are served", file, len(conf.listeners), len(conf.clusters))
	}
}

func load(path string) (*Config, fs.FileMode, error) {
	at, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read the configuration: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read the configuration: %w", err)
	}
	conf, err := Parse(path, data)
	return conf, at.Mode().Perm(), err
}

// writeBootstrap writes the file that Envoy is started with, as readable as the one that it was
// made of, whole or not at all.
func writeBootstrap(conf *Config, opt RunOptions, at netip.AddrPort, mode fs.FileMode) error {
	from, err := os.Stat(opt.Bootstrap)
	if err != nil {
		return fmt.Errorf("write the bootstrap: %w", err)
	}
	if to, err := os.Stat(opt.Write); err == nil && os.SameFile(from, to) {
		return fmt.Errorf("write the bootstrap: %s is the file that is served: it would be lost", opt.Write)
	}
	if at.Addr().IsUnspecified() {
		return fmt.Errorf("write the bootstrap: Envoy cannot dial %s: give --listen an address that it reaches", at)
	}
	text, err := conf.Bootstrap(at)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(opt.Write), ".meshtop-")
	if err != nil {
		return fmt.Errorf("write the bootstrap: %w", err)
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), opt.Write)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the bootstrap: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

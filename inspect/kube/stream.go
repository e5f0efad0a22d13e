package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// stream is a command that runs in a container, as a stream: its standard input and output.
type stream struct {
	in   *io.PipeWriter
	out  *io.PipeReader
	done chan struct{} // closed when the command has ended
	stop context.CancelFunc
	err  error // why it ended, in the transport's words; read after done
	said *tail // its standard error
	once sync.Once
}

// exec starts a command: by WebSocket, and where the API server or a proxy before it speaks
// none, by SPDY. Not by attach: kubelet copies that stream to a log on the node, secrets and all.
func (c *cluster) exec(p *v1.Pod, container string, argv []string) (*stream, error) {
	return c.start(p, container, argv, true)
}

// start is exec; fed: with a standard input.
func (c *cluster) start(p *v1.Pod, container string, argv []string, fed bool) (*stream, error) {
	core, err := c.api.client(pods.group)
	if err != nil {
		return nil, err
	}
	url := core.Post().Resource(pods.plural).Namespace(p.Namespace).Name(p.Name).SubResource("exec").
		VersionedParams(&v1.PodExecOptions{Container: container, Command: argv, Stdin: fed, Stdout: true, Stderr: true}, codecs().parameters).URL()
	spdy, err := remotecommand.NewSPDYExecutor(c.api.config, "POST", url)
	if err != nil {
		return nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(c.api.config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	either, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) // it lives until Close
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	s := &stream{in: stdin, out: stdout, done: make(chan struct{}), stop: stop, said: &tail{}}
	opt := remotecommand.StreamOptions{Stdout: out, Stderr: s.said}
	if fed {
		opt.Stdin = in
	}
	go func() {
		s.err = either.StreamWithContext(ctx, opt)
		close(s.done)
		_ = out.CloseWithError(io.EOF) // the reason is ended's to tell
		_ = in.CloseWithError(io.ErrClosedPipe)
	}()
	return s, nil
}

// Read reads the command's standard output.
func (s *stream) Read(b []byte) (int, error) { return s.out.Read(b) }

// Write writes to its standard input.
func (s *stream) Write(b []byte) (int, error) { return s.in.Write(b) }

// leave is how long the command has to end after its standard input did.
const leave = 2 * time.Second

// Close ends the standard input, upon which the agent ends, and then the stream.
func (s *stream) Close() error {
	s.once.Do(func() {
		_ = s.in.Close()
		go func() {
			select {
			case <-s.done:
			case <-time.After(leave):
			}
			s.stop()
		}()
		_ = s.out.Close()
	})
	return nil
}

// ended says why the stream has ended. The transport's end may be a moment later than that of
// the bytes, and SPDY's says nothing at all where the server went.
func (s *stream) ended() error {
	select {
	case <-s.done:
	case <-time.After(leave):
		return nil
	}
	words := s.said.String()
	switch {
	case s.err == nil && words == "":
		return errors.New("without a word: the agent, kubelet or the API server went")
	case s.err == nil:
		return errors.New(words)
	case words == "":
		return s.err
	}
	return fmt.Errorf("%w: %s", s.err, words)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 2048

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	t.buf = bytes.Clone(t.buf[max(0, len(t.buf)-tailBytes):])
	return len(b), nil
}

// String is it on one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Split(strings.TrimSpace(string(t.buf)), "\n"), "; ")
}

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/meshtop/meshtop/inspect"
)

// Bounds of one tool. 20,000 nat rules take iptables-nft-save 0.5 s and 1.5 MB, `nft -j` 1 s
// and 8 MB.
const (
	toolTime  = 20 * time.Second
	toolBytes = 64 << 20
)

// run runs a program of this machine inside the pod's namespace, bounded in time and size,
// and notes the call.
func (r *reading) run(ctx context.Context, argv ...string) ([]byte, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("%s: no such program on this machine", argv[0])
	}
	within, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	cmd := exec.CommandContext(within, path, argv[1:]...)
	cmd.Args[0] = argv[0]                      // xtables' one binary does what its name says
	cmd.Env = append(os.Environ(), "LC_ALL=C") // errors in one language
	limit := int64(toolBytes)
	if r.want.MaxBytes > 0 {
		limit = min(limit, r.want.MaxBytes)
	}
	out := &bounded{limit: limit, full: cancel}
	said := &bounded{limit: 4 << 10, full: func() {}}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second
	call := inspect.Call{What: strings.Join(argv, " "), Start: time.Now()}
	// The child is made on the thread that is inside; its output may be read from anywhere.
	err = r.pod.space.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	call.Took, call.Bytes = time.Since(call.Start), int64(out.buf.Len())
	switch {
	case out.over:
		err = fmt.Errorf("%s: its output is larger than %d bytes", call.What, limit)
	case ctx.Err() != nil:
		err = ctx.Err()
	case within.Err() != nil:
		err = fmt.Errorf("%s: no end within %s", call.What, toolTime)
	case err != nil:
		err = fmt.Errorf("%s: %w%s", call.What, err, said.line())
	}
	if err != nil {
		call.Err = err.Error()
	}
	r.out.Calls = append(r.out.Calls, call)
	return out.buf.Bytes(), err
}

// tool runs a program whose whole output is one part.
func (r *reading) tool(ctx context.Context, part string, argv ...string) {
	if !r.wants(part) || ctx.Err() != nil {
		return
	}
	data, err := r.run(ctx, argv...)
	if err != nil {
		r.gap(part, err)
		return
	}
	r.keep(part, data)
}

// bounded keeps what is written up to a limit, and then says that it is full.
type bounded struct {
	buf   bytes.Buffer
	limit int64
	over  bool
	full  func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.buf.Len()+len(p)) > b.limit {
		b.over = true
		b.full()
		return 0, errors.New("too much")
	}
	return b.buf.Write(p)
}

// line is the first line of what a failed program said.
func (b *bounded) line() string {
	l, err := b.buf.ReadString('\n')
	if l = strings.TrimSpace(l); l == "" || err != nil && err != io.EOF {
		return ""
	}
	return ": " + l
}

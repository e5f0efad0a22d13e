package plain

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// A pipe that nobody writes into blocks whoever reads it; an interrupt ends that.
func TestInterruptWhileReadingInput(t *testing.T) {
	for _, args := range [][]string{
		{"trace", "--iptables", "-", "--to", "10.0.0.1"},
		{"doctor", "--iptables", "-"},
		{"check", "demo", "mesh", "-"},
	} {
		stdin, writer := io.Pipe()
		ctx, stop := context.WithCancel(context.Background())
		stop()
		var out, errs bytes.Buffer
		code := Run(ctx, App{Stdin: stdin, Stdout: &out, Stderr: &errs}, args)
		if code != ExitUnknown || out.Len() > 0 || !bytes.Contains(errs.Bytes(), []byte("-: interrupted\n")) {
			t.Errorf("%v: status %d, stdout %q, stderr %q", args, code, out.String(), errs.String())
		}
		writer.Close() // whoever still reads is let go
	}
}

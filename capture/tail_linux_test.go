package capture

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// logAt is a log of this machine.
func logAt(path string) LogFile {
	return LogFile{Name: "log", Open: func() (*os.File, error) { return os.Open(path) }}
}

// write adds to a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// looks are the lines of so many looks at a log.
func looks(t *testing.T, l *tail, n int) []string {
	t.Helper()
	out := []string{}
	for range n {
		found, err := l.more(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range found {
			if o.Kind != flow.SeenAccessLog || o.Name != "log" {
				t.Errorf("%+v", o)
			}
			out = append(out, o.Line)
		}
	}
	return out
}

// A log is read from its end on, whole line by whole line, also in the file that takes its
// place and after it was cut.
func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "old\nbegun before ")
	l, err := openTail(logAt(path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.f.Close() }()
	for _, c := range []struct {
		what string
		do   func()
		want []string
	}{
		{"nothing came", func() {}, []string{}},
		{"the rest of a line that had begun", func() { write(t, path, "the watch\none\ntw") }, []string{"one"}},
		{"a line in two parts", func() { write(t, path, "o\n\nthree\n") }, []string{"two", "three"}},
		{"a line that is too long", func() { write(t, path, strings.Repeat("x", maxLogLine+1)+"\nfour\n") }, []string{"four"}},
		{"one that is longer than what is read at once", func() { write(t, path, strings.Repeat("x", 200<<10)); looks(t, l, 1); write(t, path, "x\nfive\n") }, []string{"five"}},
		{"it was cut", func() {
			if err := os.WriteFile(path, []byte("six\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"six"}},
		{"another took its place", func() {
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			looks(t, l, 1) // there is none now
			write(t, path+".1", "seven\n")
			write(t, path, "eight\n")
		}, []string{"seven", "eight"}},
	} {
		c.do()
		if got := looks(t, l, 3); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// More than a bound is not read, and that is said.
func TestTailIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "")
	l, err := openTail(logAt(path))
	if err != nil {
		t.Fatal(err)
	}
	defer l.f.Close()
	write(t, path, strings.Repeat("x\n", maxLogLines+100_000))
	found, err := l.more(time.Now())
	if err == nil || !strings.Contains(err.Error(), "was not read") || len(found) < maxLogLines || len(found) > maxLogLines+64<<10 {
		t.Errorf("%d lines, %v", len(found), err)
	}
}

// A watch gives what was written until it was closed, and says which log it cannot read.
func TestWatchReadsLogs(t *testing.T) {
	inNamespace(t, func() {
		path := filepath.Join(t.TempDir(), "log")
		write(t, path, "old\n")
		gone := LogFile{Name: "gone", Open: func() (*os.File, error) { return nil, os.ErrNotExist }}
		w, err := Open(WatchOptions{Devices: []string{"lo"}, Logs: []LogFile{logAt(path), gone}})
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "new\n")
		_ = w.Close()
		var got []string
		for batch := range w.C() {
			for _, o := range batch {
				if o.Kind == flow.SeenAccessLog {
					got = append(got, o.Line)
				}
			}
		}
		if loss := w.Loss(); !slices.Equal(got, []string{"new"}) || len(loss.Unread) != 1 || loss.Unread[0].Part != "gone" || !slices.Equal(loss.Logs, []string{"log"}) || len(loss.Blind) > 0 {
			t.Errorf("%q, %+v", got, loss)
		}
	})
}

package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/meshtop/meshtop/rules/flow"
)

// LogFile is a file that somebody else writes lines to. Open opens what is there now: a log
// that is rotated is another file then.
type LogFile struct {
	Name string
	Open func() (*os.File, error)
}

// Bounds of reading a log in one watch, and the time between two looks at it.
const (
	maxLogLine  = 16 << 10
	maxLogBytes = 32 << 20
	maxLogLines = 50_000
	logEvery    = 100 * time.Millisecond
)

// tail reads what is added to a log.
type tail struct {
	log   LogFile
	f     *os.File
	rest  []byte // of a line that is not whole yet
	skip  bool   // the rest of this line is not wanted
	bytes int64
	lines int
}

// openTail opens a log at its end. What stands there of a line that is not whole is skipped.
func openTail(l LogFile) (*tail, error) {
	f, err := l.Open()
	if err != nil {
		return nil, err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	t := &tail{log: l, f: f}
	last := []byte{'\n'}
	if end > 0 {
		if _, err := f.ReadAt(last, end-1); err != nil && !errors.Is(err, io.EOF) {
			_ = f.Close()
			return nil, err
		}
	}
	t.skip = last[0] != '\n'
	return t, nil
}

// more are the lines that came since the last look. An error ends the log.
func (t *tail) more(now time.Time) ([]flow.Observation, error) {
	out, err := t.read(now)
	if err != nil || len(out) > 0 {
		return out, err
	}
	return out, t.follow()
}

// read takes the log's lines up to its end.
func (t *tail) read(now time.Time) ([]flow.Observation, error) {
	var out []flow.Observation
	buf := make([]byte, 64<<10)
	for {
		n, err := t.f.Read(buf)
		t.bytes += int64(n)
		t.rest = append(t.rest, buf[:n]...)
		out = t.split(out, now)
		switch {
		case t.bytes > maxLogBytes || t.lines > maxLogLines:
			return out, fmt.Errorf("it grew by more than %d bytes or %d lines; what came later was not read", maxLogBytes, maxLogLines)
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return out, err
		}
	}
}

// split takes the whole lines out of rest.
func (t *tail) split(out []flow.Observation, now time.Time) []flow.Observation {
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			if len(t.rest) > maxLogLine {
				t.rest, t.skip = nil, true
			}
			return out
		}
		if !t.skip && len(line) > 0 && len(line) <= maxLogLine {
			t.lines++
			out = append(out, flow.Observation{Kind: flow.SeenAccessLog, At: now, Name: t.log.Name, Line: string(line),
				Ref: t.log.Name + " line " + strconv.Itoa(t.lines) + " of the watch"})
		}
		t.rest, t.skip = rest, false
	}
}

// follow goes on in the file that has taken this one's place, from its beginning, or at the
// beginning of this one where it was cut.
func (t *tail) follow() error {
	have, err := t.f.Stat()
	if err != nil {
		return err
	}
	if at, err := t.f.Seek(0, io.SeekCurrent); err == nil && have.Size() < at {
		t.rest, t.skip = nil, false
		_, err = t.f.Seek(0, io.SeekStart)
		return err
	}
	f, err := t.log.Open()
	if err != nil {
		return nil // it was moved away, and the new one is not there yet
	}
	now, err := f.Stat()
	if err != nil || os.SameFile(have, now) {
		return f.Close()
	}
	_ = t.f.Close()
	t.f, t.rest, t.skip = f, nil, false
	return nil
}

// openLogs opens the logs of a watch. One that cannot be opened is told by Loss.
func (w *Watch) openLogs() {
	for _, l := range w.opt.Logs {
		t, err := openTail(l)
		if err != nil {
			w.unread(l.Name, err)
			continue
		}
		w.tails, w.loss.Logs = append(w.tails, t), append(w.loss.Logs, l.Name)
	}
}

// followLogs reads the logs until the watch ends, and once more then.
func (w *Watch) followLogs() {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			w.readLogs()
			return
		case <-tick.C:
			w.readLogs()
		}
	}
}

func (w *Watch) readLogs() {
	for i, t := range w.tails {
		if t == nil {
			continue
		}
		found, err := t.more(time.Now())
		if len(found) > 0 {
			w.send(batch{seen: found})
		}
		if err != nil {
			w.unread(t.log.Name, err)
			_ = t.f.Close()
			w.tails[i] = nil
		}
	}
}

func (w *Watch) closeLogs() {
	for _, t := range w.tails {
		if t != nil {
			_ = t.f.Close()
		}
	}
}

func (w *Watch) unread(part string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss.Unread = append(w.loss.Unread, flow.Gap{Part: part, Reason: err.Error()})
}

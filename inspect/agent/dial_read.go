package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/meshtop/meshtop/inspect"
	"github.com/meshtop/meshtop/inspect/spool"
)

// maxLine bounds one line of an answer.
const maxLine = 16 << 20

// Read brings raw parts. It returns what came even beside an error. A large part is in a
// file that Close gives up.
func (p *Pod) Read(ctx context.Context, w inspect.Want) (inspect.Snapshot, error) {
	out := inspect.Snapshot{Files: inspect.Files{}}
	raw, err := json.Marshal(want{w.Parts, w.Needs, w.Full, w.MaxBytes})
	if err != nil {
		return out, err
	}
	body, err := p.ask(ctx, pathRead, bytes.NewReader(raw))
	if err != nil {
		return out, err
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, 64<<10)
	most := int64(maxPart)
	if w.MaxBytes > 0 && w.MaxBytes < most {
		most = w.MaxBytes
	}
	for len(out.Files) < maxParts {
		var e readEvent
		if err := line(in, &e); err != nil {
			return out, p.broken(ctx, fmt.Errorf("read: %w", err))
		}
		switch {
		case e.End != nil:
			out.Gaps, out.Calls = append(out.Gaps, flowGaps(e.End.Gaps)...), append(out.Calls, e.End.Calls...)
			return out, e.End.Error.err()
		case e.Part != "":
			if e.Bytes < 0 || e.Bytes > most {
				return out, fmt.Errorf("read: the agent's %s has %d bytes, more than %d", e.Part, e.Bytes, most)
			}
			data, err := p.part(in, e.Bytes)
			if err != nil {
				return out, p.broken(ctx, fmt.Errorf("read: %s: %w", e.Part, err))
			}
			out.Files[e.Part] = data
		case e.Progress != nil && w.Progress != nil:
			w.Progress(e.Progress.seen())
		}
	}
	return out, fmt.Errorf("read: the agent sends more than %d parts", maxParts)
}

// seen is the progress as a reader tells it.
func (p *progress) seen() inspect.Progress {
	out := inspect.Progress{Part: p.Part, Bytes: p.Bytes, Total: p.Total, Done: p.Done}
	if p.Err != "" {
		out.Err = errors.New(p.Err)
	}
	return out
}

// part takes the bytes of one part.
func (p *Pod) part(in io.Reader, n int64) ([]byte, error) {
	s := &spool.Spool{InMemory: inMemory, Max: n}
	data, err := s.Take(io.LimitReader(in, n))
	if err == nil && s.Size() < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.Mapped() {
		p.mu.Lock()
		p.spools = append(p.spools, s)
		p.mu.Unlock()
	}
	return data, nil
}

// line reads one line of JSON of at most maxLine bytes.
func line(in *bufio.Reader, v any) error {
	var whole []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(whole)+len(part) > maxLine {
			return fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		if err == nil && whole == nil {
			return json.Unmarshal(part, v)
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return json.Unmarshal(bytes.TrimSpace(whole), v)
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

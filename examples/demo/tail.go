package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxLine bounds a line: one batch as OTLP JSON.
const maxLine = 64 << 20

// tail reads the lines that are added to a file.
type tail struct {
	path   string
	offset int64
	rest   []byte // of a line that is not whole yet
}

// lines calls take with each whole line that is new. A file that is not there
// yet has no lines.
func (t *tail) lines(take func(line []byte) error) error {
	file, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil {
		return fmt.Errorf("tail: %w", err)
	} else if info.Size() < t.offset {
		// The file was rotated: this is a new one. The old one's last lines are not looked for.
		t.offset, t.rest = 0, nil
	}
	if _, err := file.Seek(t.offset, io.SeekStart); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	added, err := io.ReadAll(io.LimitReader(file, maxLine))
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	t.offset += int64(len(added))

	data := append(t.rest, added...)
	for {
		line, after, whole := bytes.Cut(data, []byte{'\n'})
		if !whole {
			break
		}
		if err := take(line); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		data = after
	}
	if len(data) > maxLine {
		return fmt.Errorf("%s: a line of more than %d bytes", t.path, maxLine)
	}
	t.rest = bytes.Clone(data)
	return nil
}

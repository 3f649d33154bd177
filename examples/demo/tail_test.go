package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTailReadsWholeLinesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	tailed := tail{path: path}
	read := func() (lines []string) {
		require.NoError(t, tailed.lines(func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		}))
		return lines
	}
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}

	require.Empty(t, read(), "no file yet")
	write("one\ntw")
	require.Equal(t, []string{"one"}, read())
	require.Empty(t, read())
	write("o\nthree\n")
	require.Equal(t, []string{"two", "three"}, read())
	require.Empty(t, read())
	require.NoError(t, os.Rename(path, path+".1"))
	write("new\n")
	require.Equal(t, []string{"new"}, read(), "rotated")
}

func TestTailNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(path, []byte("one\n"), 0o644))
	bad := errors.New("bad")
	err := (&tail{path: path}).lines(func([]byte) error { return bad })
	require.ErrorIs(t, err, bad)
	require.ErrorContains(t, err, path)
}

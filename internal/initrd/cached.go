package initrd

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// staleAfter is the age at which [Cached] removes an older file of the same name. A shorter time could take it from under a
// process that has found it and not yet opened it.
const staleAfter = time.Hour

// Key is the hash of an image's parts: any text that tells them apart, in order.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// KeyOfFile is [Key] of the content of a file.
func KeyOfFile(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return Key(string(content)), nil
}

// Cached returns the path of the file dir/NAME-KEY, which build writes if it is not there. It appears when it is complete.
// A file that is there is returned without any write, so a read-only folder serves. Old files of the same name are removed when
// a new one is made.
func Cached(dir, name, key string, build func(io.Writer) error) (_ string, err error) {
	path := filepath.Join(dir, name+"-"+key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, name+"-partial-*")
	if err != nil {
		return "", err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	if err := build(out); err != nil {
		return "", err
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	if err := f.Chmod(0o644); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", err
	}
	return path, removeStale(dir, name, path)
}

// removeStale removes the files that Cached made long ago for other keys, and what a killed process left half-written.
func removeStale(dir, name, keep string) error {
	files, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || file == keep || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

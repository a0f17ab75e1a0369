package disk

import "fmt"

// Memory is persistent memory, as the processor gives it: words reach it one by one and in any order, until a fence.
type Memory interface {
	// View is all of it.
	View() []byte
	// Stream stores words; off and the length of p are multiples of [WordBytes]. It may fault.
	Stream(p []byte, off int)
	// Fence makes all that this goroutine streamed durable.
	Fence()
	Close() error
}

// WordBytes is what persistent memory stores as a whole or not at all.
const WordBytes = 8

// OnMemory returns a file in persistent memory. At most one goroutine writes to it at a time.
func OnMemory(m Memory) File { return memoryFile{m} }

// memoryFile implements [File].
type memoryFile struct{ Memory }

// WriteAt implements [File]. A fault, as of a page that the device cannot write, is an error.
func (f memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if end := int64(len(f.View()) &^ (WordBytes - 1)); off < 0 || off > end-int64(len(p)) {
		return 0, fmt.Errorf("write %d bytes at %d: beyond the end", len(p), off)
	}
	if err := Guard("write to persistent memory", func() error { f.write(p, int(off)); return nil }); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f memoryFile) write(p []byte, off int) {
	if head := off % WordBytes; head != 0 && len(p) > 0 {
		n := min(len(p), WordBytes-head)
		f.part(p[:n], off)
		p, off = p[n:], off+n
	}
	whole := len(p) &^ (WordBytes - 1)
	if whole > 0 {
		f.Stream(p[:whole], off)
	}
	if whole < len(p) {
		f.part(p[whole:], off+whole)
	}
}

// part stores a part of a word, with what is in the rest of it. So there is one kind of store, and no line of a cache to flush.
func (f memoryFile) part(p []byte, off int) {
	var word [WordBytes]byte
	start := off &^ (WordBytes - 1)
	copy(word[:], f.View()[start:])
	copy(word[off-start:], p)
	f.Stream(word[:], start)
}

// Prepare implements [File]. There is nothing to wait for.
func (f memoryFile) Prepare(int, int) {}

// Sync implements [File].
func (f memoryFile) Sync() error {
	f.Fence()
	return nil
}

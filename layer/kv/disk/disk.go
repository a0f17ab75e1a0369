package disk

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Folder is a directory of files of a fixed size.
type Folder interface {
	// Names returns the names of all files, sorted.
	Names() ([]string, error)
	// Create makes a file that begins with head, has zeros up to size, and is durable with its name, or leaves nothing.
	Create(name string, head []byte, size int64) (File, error)
	// Open opens a file that Create or Replace made.
	Open(name string) (File, error)
	// Replace begins a file that will take the place of the one of that name, if there is one, once it is whole. A name has one at a time.
	Replace(name string) (Replacement, error)
	// Immediate says that a WriteAt and a Sync take about as long as a copy, so that another goroutine to wait for them costs more.
	Immediate() bool
	// Close gives the folder back. Its files are closed before.
	Close() error
}

// File is an open file of a fixed size. WriteAt and Sync may run beside the readers of View.
type File interface {
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes all that was written durable.
	Sync() error
	// View is the content as memory, valid until Close; what WriteAt writes appears in it.
	View() []byte
	// Prepare has n bytes of View read from the medium now, in a system call, so that to look at them is no fault: who waits for one cannot be stopped for Go's
	// collector. It may do nothing.
	Prepare(off, n int)
	Close() error
}

// Replacement is a file that grows until it takes its place. Before that a crash leaves nothing of it.
type Replacement interface {
	io.WriterAt
	// Sync makes what was written so far durable, so that Commit has less to do.
	Sync() error
	// Commit makes all of it durable, gives it its name, and makes that durable. After a crash before it returns, there is the new file or
	// what was there before. It ends the Replacement, as Abandon does.
	Commit() error
	// Abandon leaves what was there before.
	Abandon() error
}

// Guard runs f, and turns a fault in a [File.View] or a [Memory] into an error. what says what f does.
func Guard(what string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = fmt.Errorf("%s: fault of the device: %v", what, r)
		default:
			panic(r)
		}
	}()
	return f()
}

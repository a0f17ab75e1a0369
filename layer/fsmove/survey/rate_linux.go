package survey

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pieceBytes  = 256 << 10 // as a move reads
	sampleBytes = 64 << 20  // of one file
)

// measured is what was read of a sample: the first piece of a file takes as long as it does to open it, what is behind that takes what the bytes take.
type measured struct {
	files, long int           // that were read, and that were longer than a piece
	first       time.Duration // for all first pieces, one after the other
	bytes       int64         // behind first pieces
	rest        time.Duration // for these, one after the other
}

func (m *measured) add(o measured) {
	m.files += o.files
	m.long += o.long
	m.first += o.first
	m.bytes += o.bytes
	m.rest += o.rest
}

// rates are how many files, and how many bytes behind the first pieces of files, can be read in a second by so many workers. 0 is not known.
func (m *measured) rates(workers int) (files, bytes float64) {
	if m.first > 0 {
		files = float64(m.files) / m.first.Seconds() * float64(min(workers, m.files))
	}
	if m.rest > 0 {
		bytes = float64(m.bytes) / m.rest.Seconds() * float64(min(workers, m.long))
	}
	return files, bytes
}

// estimate says how long a move may take, from how quick the walk was and how quick the source is read.
func (s *survey) estimate(ctx context.Context, walked time.Duration) error {
	e, src := &s.report.Estimate, &s.report.Source
	e.EntriesPerSecond = float64(src.Entries) / max(walked.Seconds(), 1e-6)
	e.Seconds = walked.Seconds()
	e.How = fmt.Sprintf("%d entries at %.0f a second, as they were walked", src.Entries, e.EntriesPerSecond)
	if s.Sample == 0 || len(s.sample) == 0 {
		e.How += "; nothing was read"
		return ctx.Err()
	}
	m := s.readSample(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	e.FilesPerSecond, e.BytesPerSecond = m.rates(s.Workers)
	if e.FilesPerSecond > 0 {
		e.Seconds += float64(src.Files) / e.FilesPerSecond
		e.How += fmt.Sprintf(", %d files at %.0f a second", src.Files, e.FilesPerSecond)
	}
	if e.BytesPerSecond > 0 {
		e.Seconds += float64(s.rest) / e.BytesPerSecond
		e.How += fmt.Sprintf(", and %s behind their first %s at %s a second", size(s.rest), size(pieceBytes), size(uint64(e.BytesPerSecond)))
	} else if s.rest > 0 {
		e.How += fmt.Sprintf("; %s behind their first %s are not in that, for none could be read", size(s.rest), size(pieceBytes))
	}
	e.How += fmt.Sprintf(", as %d files of a random sample and the longest were read, %d at once; neither writing nor clients are in that", m.files, s.Workers)
	return nil
}

// readSample reads files of the sample, the longest first, from the disk if the kernel lets go of what it has cached.
func (s *survey) readSample(ctx context.Context) (all measured) {
	ctx, stop := context.WithTimeout(ctx, s.Sample)
	defer stop()
	files := append([]string{s.longest.path}, s.sample...)
	var next atomic.Int64
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range s.Workers {
		workers.Go(func() { // until the sample is read, or ctx ends
			p := make([]byte, pieceBytes)
			for i := int(next.Add(1)) - 1; i < len(files) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				m, err := s.readFile(ctx, files[i], p)
				if err != nil {
					s.unreadable(files[i], err)
					continue
				}
				mu.Lock()
				all.add(m)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return all
}

// readFile reads a file up to its first hole, or the beginning of a long one.
func (s *survey) readFile(ctx context.Context, path string, p []byte) (m measured, err error) {
	began := time.Now()
	fd, err := s.src.At(path, unix.O_RDONLY|unix.O_NOATIME|unix.O_NONBLOCK)
	if err != nil {
		return m, err
	}
	defer unix.Close(fd)
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // else it is quicker than it will be
	n, err := readPiece(fd, p, 0)
	if err != nil {
		return m, err
	}
	m.files, m.first = 1, time.Since(began)
	began = time.Now()
	for off := int64(n); n > 0 && off < sampleBytes && ctx.Err() == nil; off += int64(n) {
		if n, err = readPiece(fd, p, off); err != nil {
			return m, err
		}
		m.bytes += int64(n)
	}
	if m.bytes > 0 {
		m.long, m.rest = 1, time.Since(began)
	}
	return m, nil
}

// readPiece reads data at an offset; 0 bytes are a hole, or the end.
func readPiece(fd int, p []byte, off int64) (int, error) {
	from, err := unix.Seek(fd, off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || err == nil && from > off {
		return 0, nil
	}
	for {
		n, err := unix.Pread(fd, p, off)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

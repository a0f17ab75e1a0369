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

// estimate says how long a move may take, from how quick the walk was and how quick the source is read.
func (s *survey) estimate(ctx context.Context, walked time.Duration) error {
	e, src := &s.report.Estimate, &s.report.Source
	e.EntriesPerSecond = float64(src.Entries) / max(walked.Seconds(), 1e-6)
	if s.Sample == 0 || len(s.sample) == 0 {
		e.Seconds = walked.Seconds()
		e.How = fmt.Sprintf("%d entries at %.0f a second, as they were walked; nothing was read", src.Entries, e.EntriesPerSecond)
		return ctx.Err()
	}
	n, files, took := s.readSample(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	e.BytesPerSecond = float64(n) / max(took.Seconds(), 1e-6)
	content := src.Allocated
	if src.Compresses {
		content = src.Bytes
	}
	e.Seconds = walked.Seconds() + float64(content)/max(e.BytesPerSecond, 1)
	e.How = fmt.Sprintf("%d entries at %.0f a second, as they were walked, and %s at %s a second, as %d files of a random sample were read in %.1f s, %d at once; neither writing nor clients are in that",
		src.Entries, e.EntriesPerSecond, size(content), size(uint64(e.BytesPerSecond)), files, took.Seconds(), s.Workers)
	return nil
}

// readSample reads files of the sample, from the disk if the kernel lets go of what it has cached.
func (s *survey) readSample(ctx context.Context) (n, files int64, took time.Duration) {
	began := time.Now()
	ctx, stop := context.WithDeadline(ctx, began.Add(s.Sample))
	defer stop()
	var next, bytes, read atomic.Int64
	var all sync.WaitGroup
	for range s.Workers {
		all.Go(func() { // until the sample is read, or ctx ends
			p := make([]byte, pieceBytes)
			for i := int(next.Add(1)) - 1; i < len(s.sample) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				n, err := s.readFile(ctx, s.sample[i], p)
				if bytes.Add(n); err != nil {
					s.unreadable(s.sample[i], err)
					continue
				}
				read.Add(1)
			}
		})
	}
	all.Wait()
	return bytes.Load(), read.Load(), time.Since(began)
}

// readFile reads a file, or the beginning of a long one.
func (s *survey) readFile(ctx context.Context, path string, p []byte) (n int64, err error) {
	fd, err := s.src.At(path, unix.O_RDONLY|unix.O_NOATIME|unix.O_NONBLOCK)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // else it is quicker than it will be
	for n < sampleBytes && ctx.Err() == nil {
		from, err := unix.Seek(fd, n, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			return n, nil // the rest is a hole
		case err == nil && from > n:
			return n, nil // what is behind a hole is not worth to be counted apart
		}
		k, err := unix.Pread(fd, p, n)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || k == 0 {
			return n, err
		}
		n += int64(k)
	}
	return n, nil
}

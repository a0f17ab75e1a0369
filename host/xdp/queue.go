package xdp

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// queue is the socket of one queue of the card, with its rings.
type queue struct {
	fd         int
	fill       ring[uint64]
	completion ring[uint64]
	rx, tx     ring[unix.XDPDesc]
	zeroCopy   bool
	unsent     bool // entries of tx that the kernel was not told of
}

// openQueue makes the socket of a queue. The first one brings the memory; the others share it.
func (x *Interface) openQueue(number int) (_ *queue, err error) {
	q := &queue{}
	if q.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.close())
		}
	}()
	address := unix.SockaddrXDP{Ifindex: uint32(x.link.index), QueueID: uint32(number), Flags: unix.XDP_USE_NEED_WAKEUP}
	if len(x.queues) > 0 {
		address.Flags, address.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(x.queues[0].fd)
	} else if err := registerMemory(q.fd, x.cfg.Memory, x.cfg.FrameBytes); err != nil {
		return nil, explainMemory(err, len(x.cfg.Memory))
	}
	if err := q.mapRings(x.cfg.Ring); err != nil {
		return nil, err
	}
	if err := bind(q.fd, &address); err != nil {
		return nil, err
	}
	options, err := unix.GetsockoptInt(q.fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	q.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return q, nil
}

func explainMemory(err error, size int) error {
	err = os.NewSyscallError("setsockopt XDP_UMEM_REG", err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("%w; pinning %d MiB takes root (CAP_IPC_LOCK) or a higher limit, ulimit -l", err, size>>20)
	case errors.Is(err, unix.EFAULT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w; the kernel cannot pin this memory: a mapped file of a file system is none that a card may write to, /dev/daxX.Y is", err)
	}
	return err
}

// bind gives the socket its queue. The kernel takes a queue from a socket that was closed by work that it puts off, and tells nobody when that
// is done: so a queue that is taken is asked for again, for as long as that may last.
func bind(fd int, address *unix.SockaddrXDP) error {
	const patience, pause = 500 * time.Millisecond, 5 * time.Millisecond
	for start := time.Now(); ; time.Sleep(pause) {
		err := os.NewSyscallError("bind", unix.Bind(fd, address))
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if time.Since(start) > patience {
			return fmt.Errorf("%w; another program has this queue", err)
		}
	}
}

// mapRings makes the four rings and maps them.
func (q *queue) mapRings(entries int) error {
	for _, option := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING, unix.XDP_TX_RING} {
		if err := unix.SetsockoptInt(q.fd, unix.SOL_XDP, option, entries); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	off, err := ringOffsets(q.fd)
	if err != nil {
		return err
	}
	return errors.Join(
		mapRing(&q.fill, q.fd, unix.XDP_UMEM_PGOFF_FILL_RING, off.Fr, entries),
		mapRing(&q.completion, q.fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, off.Cr, entries),
		mapRing(&q.rx, q.fd, unix.XDP_PGOFF_RX_RING, off.Rx, entries),
		mapRing(&q.tx, q.fd, unix.XDP_PGOFF_TX_RING, off.Tx, entries),
	)
}

func (q *queue) close() error {
	return os.NewSyscallError("close", errors.Join(q.fill.unmap(), q.completion.unmap(), q.rx.unmap(), q.tx.unmap(), unix.Close(q.fd)))
}

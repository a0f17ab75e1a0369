package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"usui/layer/fsmove/live"
)

// Seat is what a worker sits on, and leaves to the next one.
type Seat struct {
	Device int // of FUSE
	Table  *live.Table
	// Source and Destination are O_PATH descriptors of the directories, which the mount may hide.
	Source, Destination int
	Kept                map[uint64]int // files that have no name any more, by the number that the kernel has for them

	stop func() // a keeper has it called

	mu     sync.Mutex
	socket int // guarded by mu; to the keeper, -1 without one
}

// States of a seat's table.
const (
	Fresh      = iota // nothing is mounted
	Mounted           // clients are served at a mount
	Exchanging        // something is about to take the mount's place, or has
	Gone              // the mount has no place any more; who has a file open is served
)

// Descriptors that a worker begins with.
const (
	deviceFd = 3 + iota
	tableFd
	socketFd
	sourceFd // O_PATH, as the next
	destinationFd
)

// roleEnv says that a process is a worker, and the how many-th.
const roleEnv = "USUI_FSMOVE_WORKER"

// A message between keeper and worker is what it wants and the number of a file, perhaps with its descriptor.
const (
	keepMessage  = 1 // holds this
	dropMessage  = 2 // does not
	readyMessage = 3 // all that was kept has been sent
	stopMessage  = 4 // ends in order

	messageBytes = 16
)

// New makes a seat for what is moved between two directories. Nobody keeps it: a process that ends takes it along.
func New(source, destination string) (_ *Seat, err error) {
	s := &Seat{Device: -1, Source: -1, Destination: -1, socket: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.Source, err = openFolder(source); err != nil {
		return nil, err
	}
	if s.Destination, err = openFolder(destination); err != nil {
		return nil, err
	}
	if s.Device, err = openDevice(); err != nil {
		return nil, err
	}
	s.Table, err = live.New()
	return s, err
}

func openFolder(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func openDevice() (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	return fd, nil
}

// Worker says that a keeper has started this process.
func Worker() bool { return os.Getenv(roleEnv) != "" }

// Restarts is how many workers the keeper has started before this process.
func Restarts() int {
	n, _ := strconv.Atoi(os.Getenv(roleEnv)) // 0 without a keeper
	return max(n-1, 0)
}

// Inherit is the seat that a keeper has for this process, which calls it once. The keeper has stop called when the process is to end in order.
func Inherit(stop func()) (_ *Seat, err error) {
	for fd := deviceFd; fd <= destinationFd; fd++ {
		unix.CloseOnExec(fd)
	}
	s := &Seat{Device: deviceFd, Source: sourceFd, Destination: destinationFd, Kept: map[uint64]int{}, socket: socketFd, stop: stop}
	if s.Table, err = live.Open(tableFd); err != nil {
		return nil, err
	}
	for {
		what, number, fd, err := receive(s.socket)
		switch {
		case err != nil:
			return nil, fmt.Errorf("the keeper: %w", err)
		case what == stopMessage:
			stop()
		case what == readyMessage:
			go s.listen() // until the socket is closed, or the process ends
			return s, nil
		case what == keepMessage && fd >= 0:
			s.Kept[number] = fd
		}
	}
}

// listen does what the keeper asks for.
func (s *Seat) listen() {
	for {
		what, _, _, err := receive(socketFd)
		if err != nil {
			return // the keeper has gone, or this process goes
		}
		if what == stopMessage {
			s.stop()
		}
	}
}

// Keep has an open file outlive this process. Without a keeper there is nothing to do.
func (s *Seat) Keep(number uint64, fd int) error { return s.tell(keepMessage, number, fd) }

// Drop says that a file which was kept is not open any more.
func (s *Seat) Drop(number uint64) error { return s.tell(dropMessage, number, -1) }

func (s *Seat) tell(what, number uint64, fd int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket < 0 {
		return nil
	}
	err := send(s.socket, what, number, fd)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) { // the keeper has been killed
		s.socket = -1
		return errors.New("the process that keeps what this one must not lose has been killed: to go on as before, interrupt this one and start again")
	}
	return err
}

// Close ends this process's part. The kernel ends the connection with the last descriptor of its device.
func (s *Seat) Close() error {
	var err error
	if s.Table != nil {
		err = s.Table.Close()
	}
	for _, fd := range []int{s.Device, s.Source, s.Destination} {
		if fd >= 0 {
			err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	for _, fd := range s.Kept {
		err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd)))
	}
	return err
}

// send sends a message, with a descriptor if fd is one.
func send(socket int, what, number uint64, fd int) error {
	p := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, what), number)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(socket, p, rights, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

// errClosed says that the other side has gone.
var errClosed = errors.New("the other process has gone")

// receive waits for a message. fd is -1 if none came with it.
func receive(socket int) (what, number uint64, fd int, err error) {
	p, rights := make([]byte, messageBytes), make([]byte, unix.CmsgSpace(4))
	n, size := 0, 0
	for {
		n, size, _, _, err = unix.Recvmsg(socket, p, rights, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err != nil:
		return 0, 0, -1, os.NewSyscallError("recvmsg", err)
	case n == 0:
		return 0, 0, -1, errClosed
	case n != messageBytes:
		return 0, 0, -1, fmt.Errorf("a message of %d bytes", n)
	}
	fd = -1
	all, err := unix.ParseSocketControlMessage(rights[:size])
	if err == nil && len(all) == 1 {
		if fds, err := unix.ParseUnixRights(&all[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	return binary.NativeEndian.Uint64(p), binary.NativeEndian.Uint64(p[8:]), fd, err
}

package probe

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// made turns the result of a system call that makes a descriptor into an error, and drops the descriptor.
func made(name string, fd uintptr, errno unix.Errno) error {
	if errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return unix.Close(int(fd))
}

func tryUserfaultfd() error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	return made("userfaultfd", fd, errno)
}

// tryURing makes a ring of one entry.
func tryURing() error {
	// struct io_uring_params of include/uapi/linux/io_uring.h has 120 bytes; zero asks for nothing special.
	var params [120]byte
	// SAFETY: the kernel writes within the 120 bytes; the conversion stands in the call expression.
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	return made("io_uring_setup", fd, errno)
}

// tryBPF makes an array of one element.
func tryBPF() error {
	// The first fields of union bpf_attr for BPF_MAP_CREATE; see include/uapi/linux/bpf.h.
	attr := struct{ mapType, keySize, valueSize, maxEntries uint32 }{2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1}
	const mapCreate = 0 // BPF_MAP_CREATE
	// SAFETY: the kernel reads the attr's own size only; the conversion stands in the call expression.
	fd, _, errno := unix.Syscall(unix.SYS_BPF, mapCreate, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&attr)
	return made("bpf", fd, errno)
}

// lsmIDBPF is LSM_ID_BPF of include/uapi/linux/lsm.h.
const lsmIDBPF = 109

// listLSMs returns the numbers of the active security modules.
func listLSMs() ([]uint64, error) {
	var ids [32]uint64 // the kernel has 14
	size := uint32(unsafe.Sizeof(ids))
	// SAFETY: the kernel writes at most size bytes to ids and the used size to size; the conversions stand in
	// the call expression.
	n, _, errno := unix.Syscall(unix.SYS_LSM_LIST_MODULES, uintptr(unsafe.Pointer(&ids)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("lsm_list_modules", errno)
	}
	return ids[:min(int(n), len(ids))], nil
}

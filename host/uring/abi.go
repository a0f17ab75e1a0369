package uring

// Numbers of include/uapi/linux/io_uring.h.
const (
	opNop       = 0
	opReadv     = 1
	opWritev    = 2
	opFsync     = 3
	opFallocate = 17
	opRead      = 22
	opWrite     = 23

	sqeFixedFile = 1 << 0 // IOSQE_FIXED_FILE: fd is an index into the registered files

	fsyncDatasync = 1 << 0 // IORING_FSYNC_DATASYNC

	setupClamp     = 1 << 4 // IORING_SETUP_CLAMP: too many entries become the kernel's maximum
	setupSubmitAll = 1 << 7 // IORING_SETUP_SUBMIT_ALL, Linux 5.18: a bad request does not end the batch

	featSingleMmap  = 1 << 0 // Linux 5.4: both rings are in one mapping
	featNoDrop      = 1 << 1 // Linux 5.5
	featPoll32Bits  = 1 << 6 // Linux 5.9, the last feature bit before 5.10; it implies read, write and fallocate
	featuresAtLeast = featSingleMmap | featNoDrop | featPoll32Bits

	offSQRing = 0          // IORING_OFF_SQ_RING
	offSQEs   = 0x10000000 // IORING_OFF_SQES

	enterGetEvents = 1 << 0 // IORING_ENTER_GETEVENTS

	registerFiles   = 2 // IORING_REGISTER_FILES
	unregisterFiles = 3 // IORING_UNREGISTER_FILES
)

// sqe is struct io_uring_sqe.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64
	addr     uint64
	len      uint32
	opFlags  uint32
	userData uint64
	bufIndex uint16
	person   uint16
	fileIdx  uint32
	addr3    uint64
	_        uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
	userAddr                                                        uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
	userAddr                                                        uint64
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

// iovec is struct iovec. Its base is a plain number: the table lies outside Go's heap, where a pointer would hide its
// target from the garbage collector anyway.
type iovec struct {
	base uintptr
	len  uint64
}

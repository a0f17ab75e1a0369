package vhostuser

import (
	"encoding/binary"
	"fmt"
)

// Request is the kind of a message. Replies carry that of what they answer.
type Request uint32

// The messages of a front end that are used here.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	SetMemTable         Request = 5
	SetVringNum         Request = 8
	SetVringAddr        Request = 9
	SetVringBase        Request = 10
	GetVringBase        Request = 11
	SetVringKick        Request = 12
	SetVringCall        Request = 13
	GetProtocolFeatures Request = 15
	SetProtocolFeatures Request = 16
	GetQueueNum         Request = 17
	SetVringEnable      Request = 18
)

var requestNames = map[Request]string{
	GetFeatures: "GET_FEATURES", SetFeatures: "SET_FEATURES", SetOwner: "SET_OWNER", SetMemTable: "SET_MEM_TABLE",
	SetVringNum: "SET_VRING_NUM", SetVringAddr: "SET_VRING_ADDR", SetVringBase: "SET_VRING_BASE", GetVringBase: "GET_VRING_BASE",
	SetVringKick: "SET_VRING_KICK", SetVringCall: "SET_VRING_CALL", GetProtocolFeatures: "GET_PROTOCOL_FEATURES",
	SetProtocolFeatures: "SET_PROTOCOL_FEATURES", GetQueueNum: "GET_QUEUE_NUM", SetVringEnable: "SET_VRING_ENABLE",
}

// String is the protocol's own name.
func (r Request) String() string {
	if name := requestNames[r]; name != "" {
		return name
	}
	return fmt.Sprintf("request %d", uint32(r))
}

// Features. The first is a bit of GET_FEATURES that no driver sees; the others are bits of GET_PROTOCOL_FEATURES.
const (
	FeatureProtocol = 1 << 30 // there are protocol features, and rings wait for SET_VRING_ENABLE

	ProtocolMQ       = 1 << 0 // GET_QUEUE_NUM
	ProtocolReplyAck = 1 << 3 // FlagNeedReply
)

// Sizes and bits of a message: a header of three words (request, flags, size of the payload), then the payload.
const (
	HeaderSize    = 12
	ReplySize     = 8 // of the payload of every reply: a number, or the index and the number of a ring
	Version       = 1
	FlagReply     = 1 << 2
	FlagNeedReply = 1 << 3

	// RingIndexMask are the bits of SET_VRING_KICK and SET_VRING_CALL that say which ring is meant; NoFile says that no descriptor comes along.
	RingIndexMask = 0xff
	NoFile        = 1 << 8
)

// MaxRegions is how many regions of memory a back end must accept.
const MaxRegions = 8

// Region is a range of the guest's memory.
type Region struct {
	Guest  uint64 // address in the guest
	Size   uint64
	User   uint64 // address in this process, by which rings are named
	Offset uint64 // in the file
}

// Ring is one queue.
type Ring struct {
	Index             int
	Size, Base        uint16 // entries; the available entry to begin with
	Desc, Avail, Used uint64 // addresses in this process
	Kick, Call        int    // eventfds: the driver's, and the one that interrupts it; -1 if it polls
}

// message begins a message with a payload of words to be appended.
func message(r Request, flags uint32) []byte {
	b := make([]byte, 0, HeaderSize+8+32*MaxRegions)
	b = binary.LittleEndian.AppendUint32(b, uint32(r))
	b = binary.LittleEndian.AppendUint32(b, Version|flags)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// finish writes the size of the payload into the header.
func finish(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-HeaderSize))
	return b
}

// words is a payload of 64-bit words.
func words(v ...uint64) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// ringState is the payload that names a ring and a number.
func ringState(index int, num uint32) []byte {
	return words(uint64(num)<<32 | uint64(uint32(index)))
}

// memTable is the payload of SET_MEM_TABLE.
func memTable(regions []Region) []byte {
	b := words(uint64(len(regions)))
	for _, r := range regions {
		b = append(b, words(r.Guest, r.Size, r.User, r.Offset)...)
	}
	return b
}

// ringAddresses is the payload of SET_VRING_ADDR: without flags, and without an address for a log.
func ringAddresses(r Ring) []byte {
	return words(uint64(uint32(r.Index)), r.Desc, r.Used, r.Avail, 0)
}

// checkReply checks the header of a reply. want is 0 when nothing was asked.
func checkReply(header [HeaderSize]byte, want Request) error {
	request := Request(binary.LittleEndian.Uint32(header[:]))
	flags, size := binary.LittleEndian.Uint32(header[4:]), binary.LittleEndian.Uint32(header[8:])
	switch {
	case want == 0:
		return fmt.Errorf("the back end says %v, and nobody asked", request)
	case request != want:
		return fmt.Errorf("the back end answers %v to %v", request, want)
	case flags != Version|FlagReply:
		return fmt.Errorf("the back end answers %v with flags %#x, want %#x", want, flags, Version|FlagReply)
	case size != ReplySize:
		return fmt.Errorf("the back end answers %v with %d bytes, want %d", want, size, ReplySize)
	}
	return nil
}

package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// program decides in the kernel which packets come here, and by which socket.
type program struct {
	sockets *ebpf.Map // XSKMAP: the socket of each queue
	code    *ebpf.Program
	link    link.Link
	place   string // where in the kernel it runs
}

// load makes the program. It runs nowhere yet.
func load(f Filter, queues int) (_ *program, err error) {
	p := &program{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	p.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "usui_sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)})
	if err != nil {
		return nil, explainLoad(err)
	}
	p.code, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "usui_filter", Type: ebpf.XDP, Instructions: instructions(f, p.sockets.FD()), License: "Apache-2.0"})
	return p, explainLoad(err)
}

func explainLoad(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w; it takes root (CAP_NET_ADMIN and CAP_BPF)", err)
	}
	return err
}

// direct has the packets of a queue go to a socket.
func (p *program) direct(queue, socket int) error {
	return p.sockets.Put(uint32(queue), uint32(socket))
}

// attach runs the program for all packets of an interface: in its driver if that can, else behind it.
func (p *program) attach(index int) (err error) {
	for _, at := range []struct {
		flags link.XDPAttachFlags
		place string
	}{{link.XDPDriverMode, "native"}, {link.XDPGenericMode, "generic"}} {
		p.link, err = link.AttachXDP(link.XDPOptions{Program: p.code, Interface: index, Flags: at.flags})
		if p.place = at.place; !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, ebpf.ErrNotSupported) {
			break
		}
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w; another XDP program is there, ip link shows it", err)
	}
	return err
}

func (p *program) close() error {
	var err error
	if p.link != nil {
		err = p.link.Close()
	}
	if p.code != nil {
		err = errors.Join(err, p.code.Close())
	}
	if p.sockets != nil {
		err = errors.Join(err, p.sockets.Close())
	}
	return err
}

// Offsets in a frame of Ethernet with IPv4 without options or with ARP (RFC 894, 791, 793, 792, 826).
const (
	atEtherType   = 12
	atVersion     = 14
	atFragment    = 20
	atProtocol    = 23
	atDestination = 30
	atICMPType    = 34
	atPort        = 36
	atARPTarget   = 38
	shortest      = 42 // of ARP and of an ICMP echo; a TCP packet is longer
)

// Fields of struct xdp_md (include/uapi/linux/bpf.h), and of its results.
const (
	contextData    = 0
	contextDataEnd = 4
	contextQueue   = 16
	xdpPass        = 2
)

// instructions are the filter. Registers: R2 is the frame, R3 its end, R5 what is looked at.
func instructions(f Filter, sockets int) asm.Instructions {
	is := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, contextData, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, contextDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, shortest),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, atEtherType, asm.Half),
	}
	if f.Own {
		is = append(is, asm.JEq.Imm(asm.R5, wire16(unix.ETH_P_ARP), "arp"))
	}
	is = append(is,
		asm.JNE.Imm(asm.R5, wire16(unix.ETH_P_IP), "pass"),
		asm.LoadMem(asm.R5, asm.R2, atVersion, asm.Byte),
		asm.JNE.Imm(asm.R5, 0x45, "pass"), // version 4, 20 bytes of header
	)
	is = append(is, isAddress(f, atDestination)...)
	is = append(is,
		asm.LoadMem(asm.R5, asm.R2, atFragment, asm.Half),
		asm.And.Imm(asm.R5, wire16(0x3fff)),
		asm.JNE.Imm(asm.R5, 0, "pass"), // a part of a packet
		asm.LoadMem(asm.R5, asm.R2, atProtocol, asm.Byte),
	)
	if f.Own {
		is = append(is, asm.JEq.Imm(asm.R5, unix.IPPROTO_ICMP, "icmp"))
	}
	is = append(is,
		asm.JNE.Imm(asm.R5, unix.IPPROTO_TCP, "pass"),
		asm.LoadMem(asm.R5, asm.R2, atPort, asm.Half),
		asm.JNE.Imm(asm.R5, wire16(f.Port), "pass"),
		asm.Ja.Label("take"),
	)
	if f.Own {
		is = append(is,
			asm.LoadMem(asm.R5, asm.R2, atICMPType, asm.Byte).WithSymbol("icmp"),
			asm.JNE.Imm(asm.R5, 8, "pass"), // echo request
			asm.Ja.Label("take"),
		)
		arp := isAddress(f, atARPTarget)
		arp[0] = arp[0].WithSymbol("arp")
		is = append(is, arp...)
	}
	return append(is,
		asm.LoadMem(asm.R2, asm.R1, contextQueue, asm.Word).WithSymbol("take"),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Imm(asm.R3, xdpPass), // where there is no socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	)
}

// isAddress passes frames whose address at an offset is another one.
func isAddress(f Filter, at int16) asm.Instructions {
	a := f.Address.As4()
	return asm.Instructions{
		asm.LoadMem(asm.R5, asm.R2, at, asm.Word),
		asm.Mov.Imm32(asm.R0, int32(binary.NativeEndian.Uint32(a[:]))), // 32 bits: an immediate is extended by its sign
		asm.JNE.Reg(asm.R5, asm.R0, "pass"),
	}
}

// wire16 is v as it is read from a frame.
func wire16(v uint16) int32 {
	return int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)))
}

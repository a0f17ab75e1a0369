// Package xdp is Linux's AF_XDP: frames that the network card puts into memory of the caller's, past the kernel's network stack.
//
// # Place
//
// Stratum host; the only user of github.com/cilium/ebpf. Package host/tcp makes connections of the frames. Source: the kernel's
// Documentation/networking/af_xdp.rst, include/uapi/linux/if_xdp.h and net/xdp.
//
// # Idea
//
// The caller's memory is cut into frames of one size. Frames that are free lie in the fill ring of a queue; the card, or the kernel for it,
// writes what it receives into one and puts it into the receive ring. A frame to send goes through the transmit ring and comes back by the
// completion ring. There are such rings for every queue of the card, all over the same memory, so that a frame is wherever it is needed
// and never copied.
//
// A program at the first place where the kernel sees a packet (XDP) decides which ones come here: TCP to one address and port; if the
// address is not the kernel's, also what keeps an address alive, ARP and echo requests. All else goes to the kernel as before.
//
// Frames are counted: who gets one holds it, [Interface.Hold] holds it once more, and with the last [Interface.Release] it is free. The
// transmit ring holds what it sends. So a frame that was received can stay where it is for as long as somebody needs its bytes.
//
// # Invariants
//
//   - An entry that the kernel wrote is checked against what this side knows of the frame: one that the kernel did not have, or that
//     reaches beyond its frame, is counted and dropped. An impossible index of a ring ends the interface with an error.
//   - A packet that is not for the filter goes to the kernel, as does one for a queue without a socket.
//   - Close gives everything back: first the program leaves the interface, then the sockets the memory. A process that is killed
//     leaves nothing either, as program and sockets are descriptors.
//   - [Interface.Mode] says whether the driver works without copies and at which place the program is; nothing is chosen silently.
//
// # Limits
//
// IPv4 without options, untagged frames; packets of several frames (XDP_USE_SG) and offloads of checksums are not used. Frames leave by the
// first queue. One goroutine owns an Interface. A packet may be as long as a frame less 256 bytes, which the kernel keeps in front of it.
package xdp

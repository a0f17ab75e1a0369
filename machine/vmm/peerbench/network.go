package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// netLoads is how much the loads of a network card carry.
type netLoads struct {
	MiB        int // of a stream
	RoundTrips int
}

// netLoad is one load. Operations are MiB or round trips.
type netLoad struct {
	name  string
	op    byte
	ops   int
	bytes int64
}

func (n netLoads) loads() []netLoad {
	stream := int64(n.MiB) << 20
	return []netLoad{
		{"TCP, host to guest", opSink, n.MiB, stream},
		{"TCP, guest to host", opSource, n.MiB, stream},
		{"64-byte request and answer", opEcho, n.RoundTrips, int64(n.RoundTrips) * 2 * requestSize},
	}
}

// netNames are the monitors whose network cards are compared.
func netNames() []string { return []string{usui, withRTC, usuiVhost, qemuVhost} }

// tapName is the one tap that all of them use, one after the other.
const tapName = "peerbench0"

// tapUp makes a tap with the host's address that stays when its users go.
func tapUp() error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", tapName)); err == nil {
		return nil
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return fmt.Errorf("make tap %s: %w", tapName, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep tap %s: %w", tapName, err)
	}
	return bringUp(tapName, hostAddr)
}

// network boots a guest with a network card and loads it from here.
func (in *inside) network(ctx context.Context, r *netRun) error {
	if err := tapUp(); err != nil {
		return err
	}
	vhost := r.Monitor == usuiVhost || r.Monitor == qemuVhost
	words := "rdinit=" + loadInit + " " + wordTask + "=" + taskNet
	c, err := startChild(in.monitor(r.Monitor), system{kernel: in.plan.Kernel, initrd: in.plan.LoadInitrd, words: words, tap: tapName, vhost: vhost})
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := guestLine(ctx, c, lineReady); err != nil {
		return err
	}
	r.Up = time.Since(c.began)
	for _, l := range in.plan.Net.loads() {
		result, err := in.measureNet(ctx, c, l, r.Traced)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		r.Loads = append(r.Loads, result)
	}
	return nil
}

// netWarmUp is carried before each load, uncounted: addresses are resolved, windows are open.
const netWarmUp = 64

// measureNet runs one load on a connection of its own.
func (in *inside) measureNet(ctx context.Context, c *child, l netLoad, traced bool) (result loadResult, err error) {
	if _, err := runNet(ctx, netLoad{op: opEcho, ops: netWarmUp}); err != nil {
		return result, err
	}
	before, err := readCounters(debugKVM, in.idle)
	if err != nil {
		return result, err
	}
	calls := func() (uint64, error) { return 0, nil }
	if traced {
		if calls, err = countCalls(c.pid()); err != nil {
			return result, err
		}
	}
	took, err := runNet(ctx, l)
	if err != nil {
		return result, err
	}
	if result.Calls, err = calls(); err != nil {
		return result, err
	}
	after, err := readCounters(debugKVM, in.idle)
	if err != nil {
		return result, err
	}
	result.Exits = after.minus(before)
	result.loadCount = loadCount{Load: l.name, Ops: l.ops, Bytes: l.bytes, Time: took}
	return result, nil
}

// runNet is the host's side of a load.
func runNet(ctx context.Context, l netLoad) (time.Duration, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(guestAddr, netPort).String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	n := uint64(l.bytes)
	if l.op == opEcho {
		n = uint64(l.ops)
	}
	buf := make([]byte, 128<<10)
	began := time.Now()
	if _, err := conn.Write(binary.LittleEndian.AppendUint64([]byte{l.op}, n)); err != nil {
		return 0, err
	}
	switch l.op {
	case opSink:
		if err := writeBytes(conn, buf, l.bytes); err != nil {
			return 0, err
		}
		_, err = io.ReadFull(conn, buf[:1])
	case opSource:
		for left := l.bytes; left > 0 && err == nil; {
			var m int
			m, err = conn.Read(buf[:min(int64(len(buf)), left)])
			left -= int64(m)
		}
	case opEcho:
		for range l.ops {
			if _, err = conn.Write(buf[:requestSize]); err != nil {
				break
			}
			if _, err = io.ReadFull(conn, buf[:requestSize]); err != nil {
				break
			}
		}
	}
	return time.Since(began), err
}

package net

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"usui/machine/virtio"
	"usui/machine/virtio/virtiotest"
)

// benchmarkSizes are a small frame, an ordinary one, and a large packet.
var benchmarkSizes = []int{60, 1514, largeFrame - headerSize}

func BenchmarkToGuest(b *testing.B) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			k := boot(b, 1, virtiotest.Config{Features: FeatureMrgRxBuf | virtio.FeatureEventIdx, Size: 256})
			posted := chainsOf{}
			for k.rx(0).Free() > 0 {
				k.offer(k.rx(0), posted, 1536)
			}
			k.rx(0).Publish()
			peer, m := k.peers[0], frame(size, 1)
			unix.SetsockoptInt(peer, unix.SOL_SOCKET, unix.SO_SNDBUF, 212992)
			go func() { // ends with the socket
				for {
					if _, err := unix.Write(peer, m); err != nil {
						return
					}
				}
			}()
			b.SetBytes(int64(size))
			interrupts := k.rx(0).Interrupts()
			for b.Loop() {
				for n := 0; n < len(m); {
					head, part, ok := k.rx(0).Wait()
					if !ok {
						b.Fatal(k.Broken())
					}
					k.rx(0).Again(head, 1)
					n += int(part)
				}
			}
			b.ReportMetric(float64(k.rx(0).Interrupts()-interrupts)/float64(b.N), "irqs/op")
			unix.Shutdown(peer, unix.SHUT_RDWR)
		})
	}
}

func BenchmarkFromGuest(b *testing.B) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			k := boot(b, 1, virtiotest.Config{Features: virtio.FeatureEventIdx, Size: 256})
			peer, m := k.peers[0], frame(size, 1)
			go func() { // ends with the socket
				p := make([]byte, 1<<17)
				for n, err := unix.Read(peer, p); n > 0 && err == nil; n, err = unix.Read(peer, p) {
				}
			}()
			out := k.Out(m)
			for k.tx(0).Free() > 0 {
				k.tx(0).Put(out)
			}
			k.tx(0).Publish()
			b.SetBytes(int64(size))
			for b.Loop() {
				head, _, ok := k.tx(0).Wait()
				if !ok {
					b.Fatal(k.Broken())
				}
				k.tx(0).Again(head, 1)
			}
			b.ReportMetric(float64(k.tx(0).Kicks())/float64(b.N), "kicks/op")
			unix.Shutdown(peer, unix.SHUT_RDWR)
		})
	}
}

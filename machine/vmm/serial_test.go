package vmm

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// countedLine counts edges.
type countedLine struct{ pulses int }

func (l *countedLine) Pulse() { l.pulses++ }

// uart is a serial port with its ends in the test's hands.
type uart struct {
	*serial
	out bytes.Buffer
	irq countedLine
}

func newUART() *uart {
	u := &uart{}
	u.serial = newSerial(&u.out, &u.irq)
	return u
}

func (u *uart) in(reg uint64) byte {
	p := []byte{0xee}
	u.Read(reg, p)
	return p[0]
}

func (u *uart) set(reg uint64, v byte) { u.Write(reg, []byte{v}) }

func TestSerialTransmitsAtOnce(t *testing.T) {
	u := newUART()
	for _, c := range []byte("boot\n") {
		if got := u.in(uartLSR); got&lsrTxIdle != lsrTxIdle {
			t.Fatalf("LSR = %#x, want an idle transmitter", got)
		}
		u.set(uartData, c)
	}
	u.finish()
	u.drain()
	if got, want := u.out.String(), "boot\n"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
	if u.irq.pulses != 0 {
		t.Errorf("%d interrupts with all of them disabled, want 0", u.irq.pulses)
	}
}

func TestSerialDivisorHidesBehindDLAB(t *testing.T) {
	u := newUART()
	u.set(uartLCR, lcrDLAB|3)
	u.set(uartData, 0x34)
	u.set(uartIER, 0x12)
	if lo, hi := u.in(uartData), u.in(uartIER); lo != 0x34 || hi != 0x12 {
		t.Errorf("divisor = %#x %#x, want 0x12 0x34", hi, lo)
	}
	u.set(uartLCR, 3)
	if got := u.in(uartIER); got != 0 {
		t.Errorf("IER = %#x after the divisor was set, want 0", got)
	}
	if len(u.tx) != 0 {
		t.Errorf("the divisor was transmitted: %q", u.tx)
	}
}

// TestSerialLooksLikeA16550A goes through the probe of Linux's drivers/tty/serial/8250 (autoconfig): IER, scratch, loop-back, FIFO.
func TestSerialLooksLikeA16550A(t *testing.T) {
	u := newUART()
	u.set(uartIER, 0)
	if got := u.in(uartIER); got != 0 {
		t.Errorf("IER = %#x, want 0", got)
	}
	u.set(uartIER, 0x0f)
	if got := u.in(uartIER); got != 0x0f {
		t.Errorf("IER = %#x, want 0x0f", got)
	}
	u.set(uartIER, 0)
	u.set(uartMCR, mcrLoop|0x0a) // OUT2 and RTS
	if got := u.in(uartMSR) & 0xf0; got != 0x90 {
		t.Errorf("MSR in loop-back = %#x, want 0x90 (DCD and CTS)", got)
	}
	u.set(uartData, 'x')
	if got := u.in(uartData); got != 'x' || len(u.tx) != 0 {
		t.Errorf("loop-back gave %q and sent %q, want x and nothing", got, u.tx)
	}
	u.set(uartMCR, 0)
	u.set(uartIIR, fcrEnable)
	if got := u.in(uartIIR); got != iirFIFO|iirNone {
		t.Errorf("IIR = %#x, want %#x: FIFOs on, nothing pending", got, iirFIFO|iirNone)
	}
	u.set(uartSCR, 0x5a)
	if got := u.in(uartSCR); got != 0x5a {
		t.Errorf("scratch = %#x, want 0x5a", got)
	}
}

func TestSerialInterrupts(t *testing.T) {
	u := newUART()
	u.set(uartIIR, fcrEnable)
	u.set(uartMCR, mcrOut2)
	u.set(uartIER, ierRx|ierTx)
	if got := u.in(uartIIR); got != iirFIFO|iirTx || u.irq.pulses == 0 {
		t.Errorf("IIR = %#x after %d interrupts, want %#x: the transmitter is empty", got, u.irq.pulses, iirFIFO|iirTx)
	}
	if got := u.in(uartIIR); got != iirFIFO|iirNone {
		t.Errorf("IIR = %#x on the second read, want nothing pending", got)
	}
	before := u.irq.pulses
	if err := u.feed([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if u.irq.pulses == before {
		t.Error("no interrupt for received bytes")
	}
	for _, want := range []byte("ab") {
		if got := u.in(uartIIR); got != iirFIFO|iirRx {
			t.Errorf("IIR = %#x, want received data", got)
		}
		if got := u.in(uartData); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	if got := u.in(uartLSR); got&lsrRx != 0 {
		t.Errorf("LSR = %#x, want no data left", got)
	}
}

// TestSerialInputWaitsForTheGuest sends far more than the queue holds and reads it as slowly as a guest that polls.
func TestSerialInputWaitsForTheGuest(t *testing.T) {
	u := newUART()
	sent := bytes.Repeat([]byte("0123456789"), 100)
	var feeder sync.WaitGroup
	var fed error
	feeder.Go(func() { fed = u.feed(sent) })
	var got []byte
	for len(got) < len(sent) {
		if u.in(uartLSR)&lsrRx != 0 {
			got = append(got, u.in(uartData))
		}
	}
	feeder.Wait()
	if fed != nil || !bytes.Equal(got, sent) {
		t.Errorf("feed = %v; the guest read %d bytes, equal %v", fed, len(got), bytes.Equal(got, sent))
	}
	feeder.Go(func() { fed = u.feed(sent) })
	u.close()
	feeder.Wait()
	if !errors.Is(fed, io.ErrClosedPipe) {
		t.Errorf("feed on a closed port = %v, want io.ErrClosedPipe", fed)
	}
}

// TestSerialOutputWaitsForItsReader fills the queue before anybody reads, then reads all of it.
func TestSerialOutputWaitsForItsReader(t *testing.T) {
	u := newUART()
	want := bytes.Repeat([]byte("0123456789abcdef"), 3*txQueue/16)
	var guest, reader sync.WaitGroup
	guest.Go(func() {
		for _, c := range want {
			u.set(uartData, c)
		}
	})
	reader.Go(u.drain)
	guest.Wait()
	u.finish()
	reader.Wait()
	if !bytes.Equal(u.out.Bytes(), want) {
		t.Errorf("%d bytes were written, want the %d that the guest sent", u.out.Len(), len(want))
	}
}

// TestSerialEndsWithoutItsReader sends more than the queue holds while nobody reads: finish must let the guest go.
func TestSerialEndsWithoutItsReader(t *testing.T) {
	u := newUART()
	var guest sync.WaitGroup
	guest.Go(func() {
		for range 2 * txQueue {
			u.set(uartData, 'x')
		}
	})
	u.finish()
	guest.Wait()
	if len(u.tx) != txQueue {
		t.Errorf("%d bytes are queued, want a full queue of %d", len(u.tx), txQueue)
	}
}

func FuzzSerial(f *testing.F) {
	f.Add([]byte{3, 0x83, 0, 1, 3, 3, 1, 15, 4, 0x1f, 0, 'x', 0x80, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		u := newUART()
		u.finish() // nobody reads
		for i := 0; i+1 < len(script); i += 2 {
			off, wide := uint64(script[i]&0x0f), 1+int(script[i]>>4&7)
			p := bytes.Repeat([]byte{script[i+1]}, wide)
			if script[i]&0x80 != 0 {
				u.Read(off, p)
			} else {
				u.Write(off, p)
			}
		}
		if len(u.rx) > uartFIFO {
			t.Fatalf("%d bytes queued, want at most %d", len(u.rx), uartFIFO)
		}
	})
}

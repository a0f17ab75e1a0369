package vmm

import (
	"io"
	"sync"
	"time"
)

// Registers and bits of the 16550A UART (National Semiconductor PC16550D, 1995, section 8). Offsets from the base port.
const (
	uartData = 0 // RBR on read, THR on write; divisor low byte when DLAB is set
	uartIER  = 1 // interrupt enable; divisor high byte when DLAB is set
	uartIIR  = 2 // interrupt identification on read, FIFO control on write
	uartLCR  = 3 // line control
	uartMCR  = 4 // modem control
	uartLSR  = 5 // line status
	uartMSR  = 6 // modem status
	uartSCR  = 7 // scratch

	ierRx, ierTx = 0x01, 0x02
	ierMask      = 0x0f

	iirNone, iirTx, iirRx = 0x01, 0x02, 0x04
	iirFIFO               = 0xc0 // FIFOs are on: what tells a 16550A from a 16450

	fcrEnable, fcrClearRx = 0x01, 0x02

	lcrDLAB = 0x80

	mcrOut2 = 0x08 // gates the interrupt line on PCs
	mcrLoop = 0x10
	mcrMask = 0x1f

	lsrRx      = 0x01
	lsrTxIdle  = 0x60     // holding register and shift register empty: our transmitter is never busy
	msrCarrier = 0xb0     // DCD, DSR, CTS: the other end is always there
	txQueue    = 64 << 10 // bytes sent and not written yet, before the guest waits
	txBatch    = 1 << 10  // bytes that are written without waiting for the end of a line
	uartFIFO   = 64       // receive bytes held for the guest; the 16550A has 16, a longer queue is invisible to it
)

// serial is a 16550A UART: what a guest kernel has before any driver of its own, and so where its first and last words go.
// Output goes through a bounded queue to a writer; input comes from feed, which blocks while the receive queue is full.
type serial struct {
	out io.Writer // called by drain alone
	irq Line

	mu                      sync.Mutex // guards all below
	ier, lcr, mcr, scr, fcr byte
	divisor                 uint16
	txPending               bool // a THR-empty interrupt is owed (8.4: set when the holding register empties or IER bit 1 is set)
	rx                      []byte
	space                   sync.Cond // rx has room, or the port is closed
	closed                  bool
	tx                      []byte      // sent by the guest, not written to out yet
	sent                    sync.Cond   // tx has room or bytes, or nobody waits for it any more
	due                     bool        // tx is to be written now
	late                    *time.Timer // makes a line due that does not end
	ended                   bool        // the machine does not run: bytes that find no room are dropped
}

// Line is an edge of an interrupt line into the guest.
type Line interface {
	Pulse()
}

func newSerial(out io.Writer, irq Line) *serial {
	s := &serial{out: out, irq: irq, divisor: 1, rx: make([]byte, 0, uartFIFO), tx: make([]byte, 0, txQueue)}
	s.space.L, s.sent.L = &s.mu, &s.mu
	s.late = time.AfterFunc(txTime, s.flush)
	return s
}

// Read implements [Device]. Every register is one byte; wider accesses read the registers that follow, as an ISA bus splits them.
func (s *serial) Read(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p {
		p[i] = s.readRegister(off + uint64(i))
	}
}

// Write implements [Device].
func (s *serial) Write(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range p {
		s.writeRegister(off+uint64(i), v)
	}
	s.interrupt()
}

func (s *serial) readRegister(off uint64) byte {
	dlab := s.lcr&lcrDLAB != 0
	switch {
	case off == uartData && dlab:
		return byte(s.divisor)
	case off == uartData:
		return s.receive()
	case off == uartIER && dlab:
		return byte(s.divisor >> 8)
	case off == uartIER:
		return s.ier
	case off == uartIIR:
		return s.identify()
	case off == uartLCR:
		return s.lcr
	case off == uartMCR:
		return s.mcr
	case off == uartLSR:
		if len(s.rx) > 0 {
			return lsrTxIdle | lsrRx
		}
		return lsrTxIdle
	case off == uartMSR:
		return s.modemStatus()
	case off == uartSCR:
		return s.scr
	}
	return 0xff
}

func (s *serial) writeRegister(off uint64, v byte) {
	dlab := s.lcr&lcrDLAB != 0
	switch {
	case off == uartData && dlab:
		s.divisor = s.divisor&0xff00 | uint16(v)
	case off == uartData:
		s.transmit(v)
	case off == uartIER && dlab:
		s.divisor = s.divisor&0x00ff | uint16(v)<<8
	case off == uartIER:
		if v&ierTx != 0 && s.ier&ierTx == 0 {
			s.txPending = true
		}
		s.ier = v & ierMask
	case off == uartIIR:
		s.fcr = v
		if v&fcrClearRx != 0 {
			s.rx = s.rx[:0]
			s.space.Broadcast()
		}
	case off == uartLCR:
		s.lcr = v
	case off == uartMCR:
		s.mcr = v & mcrMask
	case off == uartSCR:
		s.scr = v
	}
}

// transmit sends one byte, or in loop-back mode hands it to the receiver (the self-test that drivers make).
func (s *serial) transmit(v byte) {
	if s.mcr&mcrLoop != 0 {
		if len(s.rx) < uartFIFO {
			s.rx = append(s.rx, v)
		}
		return
	}
	for len(s.tx) == txQueue && !s.ended { // a reader that is slow sets the guest's pace
		s.sent.Wait()
	}
	if len(s.tx) < txQueue {
		s.tx = append(s.tx, v)
	}
	switch { // a wake-up for each byte would cost the guest more than its exit
	case v == '\n' || len(s.tx) >= txBatch:
		s.due = true
		s.sent.Broadcast()
	case len(s.tx) == 1:
		s.late.Reset(txTime)
	}
	s.txPending = true
}

// receive takes the oldest byte for the guest.
func (s *serial) receive() byte {
	if len(s.rx) == 0 {
		return 0
	}
	v := s.rx[0]
	s.rx = s.rx[:copy(s.rx, s.rx[1:])]
	s.space.Broadcast()
	return v
}

// identify answers IIR: the pending interrupt of highest priority. Reading it ends a THR-empty interrupt.
func (s *serial) identify() byte {
	id := byte(0)
	if s.fcr&fcrEnable != 0 {
		id = iirFIFO
	}
	switch {
	case s.ier&ierRx != 0 && len(s.rx) > 0:
		return id | iirRx
	case s.ier&ierTx != 0 && s.txPending:
		s.txPending = false
		return id | iirTx
	}
	return id | iirNone
}

// modemStatus is a ready peer, or in loop-back mode our own modem control outputs (8.6: OUT2, OUT1, DTR, RTS to DCD, RI, DSR, CTS).
func (s *serial) modemStatus() byte {
	if s.mcr&mcrLoop == 0 {
		return msrCarrier
	}
	m := s.mcr
	return m&0x02<<3 | m&0x01<<5 | m&0x04<<4 | m&0x08<<4
}

// interrupt pulses the line while a cause is pending and the guest wants to hear of it. Spurious edges are harmless: the guest
// asks IIR what happened.
func (s *serial) interrupt() {
	if s.mcr&mcrOut2 == 0 || s.mcr&mcrLoop != 0 {
		return
	}
	if s.ier&ierRx != 0 && len(s.rx) > 0 || s.ier&ierTx != 0 && s.txPending {
		s.irq.Pulse()
	}
}

// feed hands p to the guest's receiver and blocks while its queue is full. It returns io.ErrClosedPipe after close.
func (s *serial) feed(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		for len(s.rx) == uartFIFO && !s.closed {
			s.space.Wait()
		}
		if s.closed {
			return io.ErrClosedPipe
		}
		n := copy(s.rx[len(s.rx):uartFIFO], p)
		s.rx = s.rx[:len(s.rx)+n]
		p = p[n:]
		s.interrupt()
	}
	return nil
}

// drain writes what the guest sends to out until finish was called and all is written. The vCPUs never wait for out longer than it takes
// to end the machine: a write that blocks holds only drain.
func (s *serial) drain() {
	var batch []byte
	for {
		s.mu.Lock()
		for !s.ended && (len(s.tx) == 0 || !s.due) {
			s.sent.Wait()
		}
		s.due = false
		batch = append(batch[:0], s.tx...)
		s.tx = s.tx[:0]
		s.sent.Broadcast()
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		// The wire does not report errors: when the other end is gone, what the guest says is lost, as on a real line.
		_, _ = s.out.Write(batch)
	}
}

// txTime is how long a line that does not end, such as a prompt, waits for more.
const txTime = 5 * time.Millisecond

// flush makes what is queued due.
func (s *serial) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = true
	s.sent.Broadcast()
}

// finish lets vCPUs go that wait for room, and drain end when all is written.
func (s *serial) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.sent.Broadcast()
}

// close wakes a blocked feed for good.
func (s *serial) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.space.Broadcast()
}

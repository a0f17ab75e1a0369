package bench

import (
	"usui/machine/kvm"
	"usui/machine/tinyguest"
)

// recipe says how to do a case's operation: in a guest (op), by calls of the host (call), or from a thread beside a running
// guest (fire).
type recipe struct {
	// op adds the operation to the guest's code. It may use RAX, RCX, RDX, R8 and R9, and the registers below as they are
	// meant. Where it matters what is in RAX, RCX or RDX, it leaves that as it is: see registers.
	op           func(c code)
	around       func(c code) // what op needs each time and what is not measured; nil is nothing
	aroundCount  float64      // instructions of around
	instructions float64      // of op and its handlers, which is what a software KVM counts
	spins        bool         // op waits in a loop, so there are more
	exits        span         // of op, as a processor's KVM counts them
	user         span         // of those, how many reach user space

	mode      tinyguest.Mode         // of the guest; 0 is Long, as no case needs real mode
	setup     func(c code)           // guest code that runs once, first
	handlers  func(c code)           // guest code behind the loops
	vectors   map[uint8]string       // see tinyguest.Config
	handled   bool                   // each op ends in one interrupt, which its handler counts in handledReg
	registers func(r *kvm.Regs)      // what each batch begins with
	extra     func(*rig) error       // makes memory for the guest beside its megabyte
	prepare   func(vm *kvm.VM) error // before there are vCPUs
	opened    func(r *rig) error     // before the first instruction
	second    bool                   // a second vCPU runs the label "second", on another thread
	halts     bool                   // the vCPU of that label waits in HLT, and each operation wakes it
	reset     func(r *rig) error     // before each batch, not timed
	verify    func(r *rig, n int) error
	limit     int    // operations in a batch; 0 is defaultLimit
	whole     bool   // batches have exactly limit operations
	misfit    string // why another count means that this host cannot do it, rather than an error

	call func(r *rig) (func() error, error) // returns the operation
	fire func(r *rig) (func() error, error) // returns what makes the running guest count; see duel
	ends bool                               // fire ends Run, rather than making the guest count
}

// code is where a case puts its instructions. An operation is assembled more than once, so its labels have a suffix.
type code struct {
	*tinyguest.Asm
	suffix string
	amd    bool // the processor has AMD's instructions
}

func (c code) local(label string) string { return label + c.suffix }

// Registers that the loops and the operations agree on.
const (
	countReg   = tinyguest.R15 // operations that are left
	walkReg    = tinyguest.R14 // the operation's own, set by recipe.registers
	deviceReg  = tinyguest.R13 // deviceAddr
	stampReg   = tinyguest.R12 // time stamp before the operation
	backReg    = tinyguest.R11 // where a handler goes when it is done
	handledReg = tinyguest.R10 // interrupts that were handled
	samplesReg = tinyguest.RBP // where the next time stamps go
	nextReg    = tinyguest.RBX // the loop that is next
	firstRAX   = tinyguest.RSI // what recipe.registers put into RAX
	firstRDX   = tinyguest.RDI // and into RDX
)

// The guest's addresses and ports that the cases use.
const (
	deviceAddr  = 0xd0000000 // no memory there
	extraAddr   = 0x40000000 // recipe.extra's memory
	sharedAddr  = 0x20000    // words that guest and host, or two vCPUs, tell each other
	samplesAddr = 0x30000    // time stamps before and after each operation, 16 bytes
	maxStamps   = 4096       // of a batch
	donePort    = 0xed       // a loop has ended
	userPort    = 0x42       // served by nobody but us
)

// cases returns all cases, in the order of the report.
func cases() []Case {
	var all []Case
	for _, group := range [][]Case{
		instructionCases(), portCases(), memoryCases(), registerCases(), pageCases(), interruptCases(), nestedCases(), hostCases(),
	} {
		all = append(all, group...)
	}
	return all
}

package bench

import "usui/machine/tinyguest"

// instructionCases are instructions that a processor leaves guest mode for, or not.
func instructionCases() []Case {
	const group = "instructions"
	return []Case{
		{"cpuid", group, "CPUID, which every processor leaves the guest for", recipe{
			op:           func(c code) { c.Cpuid() },
			instructions: 1, exits: exactly(1),
		}},
		{"pause", group, "PAUSE, 16 in a row, as a loop that waits has them", recipe{
			op: func(c code) {
				for range 16 {
					c.Pause()
				}
			},
			instructions: 16, exits: span{0, 1},
		}},
		{"invlpg", group, "INVLPG of one page", recipe{
			op:           func(c code) { c.Raw(0x41, 0x0f, 0x01, 0x7d, 0) }, // invlpg [r13]
			instructions: 1, exits: span{0, 1},
		}},
		{"tsc-read", group, "RDTSC", recipe{
			op:           func(c code) { c.Rdtsc() },
			instructions: 1, exits: span{0, 1},
		}},
	}
}

// portCases are accesses to I/O ports.
func portCases() []Case {
	const group = "ports"
	return []Case{
		{"port-out-user", group, "OUT to a port that this program serves", recipe{
			op:           func(c code) { c.Out(userPort, 1) },
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
		{"port-in-user", group, "IN from a port that this program serves", recipe{
			op:           func(c code) { c.In(userPort, 1) },
			instructions: 1, exits: exactly(1), user: exactly(1),
		}},
	}
}

func memoryCases() []Case    { return nil }
func registerCases() []Case  { return nil }
func pageCases() []Case      { return nil }
func interruptCases() []Case { return nil }
func hostCases() []Case      { return nil }

var _ = tinyguest.RAX

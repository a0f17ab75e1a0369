package boot

// machine is the architecture that this binary runs guests of.
const machine = archARM64

//go:build !amd64

package disk

// canStream says that this processor has no instructions here that make memory persistent; [Open] refuses it then.
const canStream = false

func stream(_, _ []byte) { panic("BUG: persistent memory on an architecture that was refused") }
func fence()             { panic("BUG: persistent memory on an architecture that was refused") }
func writeBack(_ []byte) { panic("BUG: persistent memory on an architecture that was refused") }
